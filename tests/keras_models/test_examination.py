"""Each kind of trouble, rebuilt with today's Keras: it is found, and nothing else; mended, none."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from bn_tutorial import mnist
from bn_tutorial.exercises.museum import torch_state
from bn_tutorial.keras_models import examine, recalibrate
from bn_tutorial.keras_models.ailments import AILMENTS
from bn_tutorial.keras_models.model import shared_seed
from tests.exercises.programs import SOLVED, UNSOLVED

BATCH = 64


@pytest.fixture(scope="module")
def data():
    """The digits, int32 labels; nothing here hands out batches."""
    train = mnist.load_mnist(source="digits").train
    return train.images[:640], train.classes[:640].astype(np.int32)


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


def network(*, first=(), between=(), bias=False, **settings):
    """784-16-16-10 with two BN layers, "first" and "second"."""
    settings = {"momentum": 0.7} | settings
    return keras.Sequential(
        [
            keras.Input([784]),
            *first,
            layers.Dense(16, use_bias=bias, name="hidden"),
            layers.BatchNormalization(name="first", **settings),
            layers.ReLU(),
            *between,
            layers.Dense(16, use_bias=False),
            layers.BatchNormalization(name="second", **settings),
            layers.ReLU(),
            layers.Dense(10),
        ]
    )


def compiled(model, eager=True):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=eager)
    return model


def fit(model, data, epochs=2):
    model.fit(*data, BATCH, epochs, verbose=0)
    return model


def trained(data, **settings):
    """20 steps, each run at once: for so few, quicker than to build a graph."""
    return fit(compiled(network(**settings)), data)


def pretended(model):
    """As if it had been trained for 20 steps."""
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(20)
    return model


@pytest.fixture(scope="module")
def weights(data):
    keras.utils.set_random_seed(0)
    return trained(data).get_weights()


@pytest.fixture
def healthy(weights):
    """A network after 20 steps, with nothing wrong."""
    model = compiled(network())
    model.set_weights(weights)
    return pretended(model)


def kinds(model, dataset):
    return {finding.kind for finding in examine(model, dataset)}


def batches(data, size):
    images, labels = data
    return [(images[i : i + size], labels[i : i + size]) for i in range(0, 10 * size, size)]


def train_by_hand(model, data, training):
    """A loop of one's own; `training` is what the model is called with."""
    optimizer = keras.optimizers.Adam(1e-2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    variables = model.trainable_variables
    step = tf.function(lambda x, y: _step(model, optimizer, loss, variables, x, y, training))
    optimizer.build(variables)
    for _ in range(3):
        for images, labels in batches(data, 64):
            step(tf.constant(images), tf.constant(labels))


def _step(model, optimizer, loss, variables, images, labels, training):
    with tf.GradientTape() as tape:
        value = loss(labels, model(images, training=training))
    optimizer.apply(tape.gradient(value, variables), variables)


def test_healthy(data, healthy):
    """With labels and without; as arrays, one-hot, in batches, as a tf.data.Dataset."""
    images, labels = data
    one_hot = np.eye(10, dtype=np.float32)[labels]
    dataset = tf.data.Dataset.from_tensor_slices(data).shuffle(640, seed=0).batch(BATCH)
    for form in (data, (images, one_hot), images, batches(data, 32), dataset, dataset.repeat()):
        assert kinds(healthy, form) == set()


def test_untrained(data):
    for model in (network(), compiled(network()), network(between=[layers.Dense(3)])):
        assert kinds(model, data) == set()


def test_never_updated(data):
    model = network()
    train_by_hand(model, data, training=False)
    assert kinds(model, data) == {"never-updated"}
    model = network()
    train_by_hand(model, data, training=True)
    assert kinds(model, data) == set()


def test_never_updated_in_fit(data):
    """A layer that was frozen from the start."""
    model = network()
    model.get_layer("second").trainable = False
    fit(compiled(model), data)
    findings = examine(model, data)
    assert [(f.kind, f.layer, f.value) for f in findings] == [("never-updated", "second", 20)]


def test_lagging(data, healthy):
    """New data are prepared in another way: in [0, 255], and the training's in [0, 1]."""
    model = healthy
    images, labels = data
    assert kinds(model, (images, labels)) == set()
    assert kinds(model, (images * 255, labels)) == {"lagging"}
    recalibrate(model, images * 255)
    assert kinds(model, (images * 255, labels)) == set()


def test_lagging_that_only_the_accuracy_shows(generator):
    """0.45 deviations are not far, but the question is which inputs are above the mean."""
    inputs = generator.normal(3.0, 2.0, [1000, 1])
    labels = (inputs > 3).astype(np.int32)
    model = keras.Sequential([keras.Input([1]), layers.BatchNormalization(), layers.Dense(1)])
    bn, dense = model.layers
    dense.set_weights([np.ones([1, 1]), np.zeros([1])])
    bn.moving_mean.assign([3 + 0.45 * 2])
    bn.moving_variance.assign([4])
    dataset = batches((inputs, labels), 50) * 2
    findings = examine(model, dataset)
    assert [(f.kind, f.layer) for f in findings] == [("lagging", model.name)]
    assert findings[0].value == pytest.approx(0.174, abs=0.12)  # P(0 < z < 0.45), less noise
    recalibrate(model, inputs)
    assert kinds(model, dataset) == set()


def test_tiny_batch(data, healthy):
    model = healthy
    findings = examine(model, batches(data, 4))
    assert [(f.kind, f.layer, f.value) for f in findings] == [
        ("tiny-batch", "first", 4),
        ("tiny-batch", "second", 4),
    ]
    assert kinds(model, batches(data, 32)) == set()


def test_positions_count_as_values(data):
    images = data[0].reshape(-1, 28, 28, 1)
    model = keras.Sequential(
        [keras.Input([28, 28, 1]), layers.Conv2D(2, 3, 4), layers.BatchNormalization()]
    )
    assert kinds(model, [images[:1]]) == set()


def test_frozen_affine(data, healthy):
    model = healthy
    for bn in (model.get_layer("first"), model.get_layer("second")):
        bn.gamma.trainable = bn.beta.trainable = False
    compiled(model)
    before = model.get_layer("first").moving_mean.numpy()
    fit(model, data, epochs=1)
    assert not np.array_equal(before, model.get_layer("first").moving_mean)
    assert kinds(model, data) == {"frozen-affine"}
    for bn in (model.get_layer("first"), model.get_layer("second")):
        bn.trainable = False
    compiled(model)
    assert kinds(model, data) == set()


def test_frozen_after_compile(data):
    """At this rate the other layer's statistics may really lag; that is not asked here."""
    model = fit(compiled(network(), eager=False), data)
    bn = model.get_layer("first")
    bn.trainable = False
    before = [variable.numpy() for variable in bn.variables]
    fit(model, data, epochs=1)
    changed = [not np.array_equal(a, b) for a, b in zip(before, bn.variables, strict=True)]
    assert all(changed)  # gamma, beta and the statistics
    found = [(f.layer, f.value) for f in examine(model, data) if f.kind == "frozen-after-compile"]
    assert found == [("first", 2)]
    compiled(model)
    before = [variable.numpy() for variable in bn.variables]
    fit(model, data)
    assert "frozen-after-compile" not in kinds(model, data)
    for a, b in zip(before, bn.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_frozen_between_compile_and_fit_is_frozen(data):
    """Keras asks that one compile after; what counts is what the first fit sees."""
    model = compiled(network())
    model.get_layer("first").trainable = False
    fit(model, data, epochs=1)
    assert "frozen-after-compile" not in kinds(model, data)


def test_dead_channel_by_its_data(data):
    """The digits have pixels that are always 0."""
    model = trained(data, first=[layers.BatchNormalization(momentum=0.7, name="pixels")])
    found = [f for f in examine(model, data) if f.layer == "pixels"]
    assert {f.kind for f in found} == {"dead-channel"}
    assert found[0].value == np.sum(data[0][:640].std(axis=0) == 0) > 0


def test_dead_channel_by_its_gamma(data, healthy):
    """Channels pruned as in network slimming."""
    model = healthy
    gamma = model.get_layer("second").gamma
    gamma.assign(np.where(np.arange(16) < 3, 0, gamma))
    findings = examine(model, data)
    assert [(f.kind, f.layer, f.value) for f in findings] == [("dead-channel", "second", 3)]
    gamma.assign(np.where(np.arange(16) < 3, 1, gamma))
    assert kinds(model, data) == set()


def test_useless_bias(data):
    """It costs nothing, so it is no finding."""
    biased = pretended(compiled(network(bias=True)))
    recalibrate(biased, data[0])
    findings = examine(biased, data)
    assert findings == []
    remarks = [(f.kind, f.layer, f.value) for f in findings.remarks]
    assert remarks == [("useless-bias", "hidden", 16)]
    assert examine(network(), data).remarks == []


def test_dropout_before(data):
    model = trained(data, between=[layers.Dropout(0.5)])
    findings = examine(model, data)
    assert [(f.kind, f.layer) for f in findings] == [("dropout-before", "second")]
    assert findings[0].value > 1.25
    recalibrate(model, data[0])
    assert kinds(model, data) == set()


def test_epsilon_dominates(data):
    images, labels = data
    small = (images * 1e-3, labels)
    model = trained(small, momentum=0.5)
    assert kinds(model, small) == {"epsilon-dominates"}
    for bn in (model.get_layer("first"), model.get_layer("second")):
        bn.epsilon = 1e-9
    recalibrate(model, small[0])
    assert kinds(model, small) == set()


def test_slow_momentum(data):
    findings = examine(trained(data, momentum=0.999), data)
    assert {(f.kind, f.layer) for f in findings} == {
        ("slow-momentum", "first"),
        ("slow-momentum", "second"),
    }
    assert findings[0].value == pytest.approx(0.999**20)


def test_mode_gap(data, healthy):
    """Batches of one class each, from data that are sorted and not shuffled."""
    images, labels = data
    order = np.argsort(labels, kind="stable")
    findings = examine(healthy, batches((images[order], labels[order]), BATCH))
    assert [(f.kind, f.layer) for f in findings] == [("mode-gap", healthy.name)]
    assert findings[0].value < -0.3
    assert kinds(healthy, batches(data, BATCH)) == set()


def test_not_finite(data, healthy):
    """One batch with a NaN, whose step was skipped; BN has seen it nevertheless."""
    spoilt = data[0][:BATCH].copy()
    spoilt[3, 5] = np.nan
    healthy(spoilt, training=True)
    findings = examine(healthy, data)
    assert [(f.kind, f.layer, f.value) for f in findings] == [
        ("invalid-statistics", "first", 32),
        ("invalid-statistics", "second", 32),
    ]
    assert np.isnan(healthy(data[0])).all()
    recalibrate(healthy, data[0])
    assert kinds(healthy, data) == set()


def test_mixed_precision(data):
    model = network()
    for layer in model.layers:
        layer.dtype_policy = "mixed_float16"
    fit(compiled(model, eager=False), data)
    assert kinds(model, data) == set()


# The report.


def test_reads(data):
    findings = examine(pretended(compiled(network(bias=True))), data)
    text, table = str(findings), findings._repr_markdown_()
    assert repr(findings) == text
    assert text.startswith('2 findings in "')
    assert "2 BN layers, 640 samples in 11 batches." in text
    assert text.count("never-updated: first, second\n") == 1
    for finding in findings:
        for part in (finding.kind, finding.layer, finding.remedy, finding.chapter):
            assert part in text
            assert part in table
    assert "Remark (useless-bias): hidden" in text
    assert "https://github.com/keras-team/keras/issues/6752" in table


def test_nothing_found_is_said(data, healthy):
    findings = examine(healthy, data[0])
    assert findings == []
    assert str(findings).startswith("Nothing found in ")
    assert "Not looked for: mode-gap" in str(findings)


def test_many_layers_are_one_paragraph(generator):
    pairs = [(layers.Dense(3, name=f"d{n}"), layers.BatchNormalization()) for n in range(5)]
    model = keras.Sequential([keras.Input([4]), *(layer for pair in pairs for layer in pair)])
    findings = examine(model, generator.normal(size=[60, 4]))
    assert [f.kind for f in findings.remarks] == ["useless-bias"] * 5
    assert "d0, …, d4 (5 layers)" in str(findings)


@pytest.mark.parametrize("ailment", AILMENTS.values(), ids=AILMENTS)
def test_each_ailment_is_shown_in_a_notebook(ailment):
    notebook = Path(__file__).parents[2] / "notebooks" / f"{ailment.chapter}.ipynb"
    assert notebook.exists()


# Models of other kinds.


def conv_block(name, dropout=0.0, bias=False):
    return keras.Sequential(
        [
            layers.Conv2D(4, 3, use_bias=bias, name=f"{name}_conv"),
            layers.BatchNormalization(name=f"{name}_bn"),
            layers.ReLU(),
            layers.SpatialDropout2D(dropout),
        ],
        name=name,
    )


@pytest.fixture
def images(data):
    return data[0][:128].reshape(-1, 28, 28, 1)


def test_through_the_borders_of_models_inside(images):
    """A block in a block; one called twice; a residual branch."""
    inputs = keras.Input([28, 28, 1])
    hidden = conv_block("lower", dropout=0.4, bias=True)(inputs)
    inner_inputs = keras.Input([26, 26, 4])
    inner = keras.Model(inner_inputs, conv_block("upper")(inner_inputs), name="inner")
    hidden = layers.Add()([inner(hidden), inner(hidden[:, ::-1])])
    outputs = layers.Dense(10)(layers.Flatten()(hidden))
    findings = examine(keras.Model(inputs, outputs), images)
    assert [(f.kind, f.layer) for f in findings] == [("dropout-before", "upper_bn")]
    assert [(f.kind, f.layer) for f in findings.remarks] == [("useless-bias", "lower_conv")]


def test_a_bias_that_counts_elsewhere(images):
    inputs = keras.Input([28, 28, 1])
    hidden = layers.Conv2D(4, 3, name="shared")(inputs)
    normalized = layers.BatchNormalization()(hidden)
    model = keras.Model(inputs, [normalized, hidden])
    assert examine(model, images).remarks == []
    activated = [layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()]
    model = keras.Sequential([keras.Input([28, 28, 1]), *activated])
    assert examine(model, images).remarks == []
    other_axis = [layers.Conv2D(4, 3), layers.BatchNormalization(axis=1)]
    noise = np.random.default_rng(0).normal(size=images.shape)
    model = keras.Sequential([keras.Input([28, 28, 1]), *other_axis])
    assert examine(model, noise).remarks == []


class Subclassed(keras.Model):
    """No graph; the body is called through a method of its own."""

    def __init__(self, training=None):
        super().__init__()
        self.body = conv_block("body", dropout=0.5, bias=True)
        self.flatten = layers.Flatten()
        self.head = layers.Dense(10)
        self.fixed = training

    def call(self, inputs, training=None):
        mode = training if self.fixed is None else self.fixed
        return self.head(self.flatten(self.body(inputs, training=mode)))


def test_subclassed(images, data):
    model = compiled(Subclassed())
    model.fit(images, data[1][:128], BATCH, epochs=1, verbose=0)
    findings = examine(model, (images, data[1][:128]))
    assert {f.kind for f in findings} == {"slow-momentum"}
    assert "dropout-before and useless-bias: no graph leads to body_bn" in str(findings)


def test_always_at_inference(images, data):
    """A body called with training=False keeps its statistics, whatever they are."""
    model = Subclassed(training=False)
    model(images)
    bn = model.body.layers[1]
    bn.moving_mean.assign(np.full(4, 9))
    bn.gamma.assign(np.full(4, 2))
    assert kinds(model, (images, data[1][:128])) == set()


# What it leaves behind.


def state(model):
    flags = [(layer.name, layer.trainable) for layer in model._flatten_layers()]
    variables = [*model.variables, *model.optimizer.variables]
    names = sorted(name for layer in model._flatten_layers() for name in vars(layer))
    return flags, [v.trainable for v in variables], names, [v.numpy() for v in variables]


def assert_same(before, after):
    assert before[:3] == after[:3]
    for a, b in zip(before[3], after[3], strict=True):
        np.testing.assert_array_equal(a, b)


class SharedNoise(layers.Layer):
    """Draws by the seed that all without one share."""

    def call(self, inputs):
        return inputs + 0.1 * keras.random.normal(keras.ops.shape(inputs))


def test_leaves_the_model_as_it_was(data):
    noise = [layers.Dropout(0.5), layers.GaussianNoise(0.1), SharedNoise()]
    model = compiled(network(between=noise))
    fit(model, data, epochs=1)
    (seed,) = shared_seed()
    before = seed.numpy()
    expected = keras.random.normal([1]).numpy()
    seed.assign(before)
    step, before = model.train_function, state(model)
    assert any("seed" in variable.path for variable in model.variables)
    examine(model, data)
    assert_same(before, state(model))
    assert model.train_function is step
    assert keras.random.normal([1]).numpy() == expected


def test_leaves_the_model_as_it_was_when_interrupted(data, healthy, monkeypatch):
    before = state(healthy)
    calls = []

    def interrupted(self, inputs):
        calls.append(inputs)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return inputs

    monkeypatch.setattr(layers.ReLU, "call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        examine(healthy, data)
    assert_same(before, state(healthy))


@pytest.mark.parametrize(
    ("model", "dataset", "settings", "message"),
    [
        (network, [], {}, "expected batches, found an empty dataset"),
        (lambda: keras.Sequential([layers.Dense(2)]), [], {}, "a model that is built"),
        (lambda: keras.Sequential([keras.Input([2]), layers.Dense(2)]), [], {}, "found none"),
        (network, [np.zeros([2, 784])], {"batches": 0}, "batches must be 1 or more, found 0"),
    ],
)
def test_bad_arguments(model, dataset, settings, message):
    with pytest.raises(ValueError, match=message):
        examine(model(), dataset, **settings)


# What people have, and what looks like it.


def always_by_batch():
    inputs = keras.Input([784])
    hidden = layers.Dense(16, use_bias=False)(inputs)
    hidden = layers.BatchNormalization(momentum=0.7, name="always")(hidden, training=True)
    return keras.Model(inputs, layers.Dense(10)(layers.ReLU()(hidden)))


class AlwaysByBatch(layers.BatchNormalization):
    """Whatever it is told."""

    def call(self, inputs, training=None, mask=None):  # noqa: ARG002
        return super().call(inputs, training=True, mask=mask)


def test_batch_at_inference(data):
    findings = examine(fit(compiled(always_by_batch()), data), data)
    assert [(f.kind, f.layer, f.value) for f in findings] == [("batch-at-inference", "always", 60)]
    own = keras.Sequential(
        [keras.Input([784]), layers.Dense(16), AlwaysByBatch(momentum=0.7), layers.Dense(10)]
    )
    assert kinds(fit(compiled(own), data), data) == {"batch-at-inference"}


def shared_by_two(one, other):
    """One BN for two inputs, of which the second is `other` times the first."""
    left, right = keras.Input([784]), keras.Input([784])
    norm, dense = layers.BatchNormalization(momentum=0.7, name="shared"), layers.Dense(16)
    hidden = [norm(dense(left * one)), norm(dense(right * other))]
    return keras.Model([left, right], layers.Dense(10)(layers.ReLU()(layers.Add()(hidden))))


@pytest.mark.slow
def test_shared_between_distributions(data):
    """Recalibrating does not help, and a BN for each does; equal distributions are fine."""
    images, labels = data
    pair = (images, images[::-1])
    model = compiled(shared_by_two(1, 10))
    model.fit(pair, labels, BATCH, 2, verbose=0)
    for _ in range(2):
        findings = examine(model, (pair, labels))
        assert [(f.kind, f.layer) for f in findings] == [("shared-between-distributions", "shared")]
        recalibrate(model, pair)
    model = compiled(shared_by_two(1, 1))
    model.fit(pair, labels, BATCH, 2, verbose=0)
    assert kinds(model, (pair, labels)) == set()


def test_frozen_before_its_first_step(data):
    """Without an optimizer of its own, as a backbone has it: a bias that has moved tells."""
    model = network(bias=True)
    model.get_layer("first").trainable = model.get_layer("second").trainable = False
    assert kinds(model, data) == set()
    model.get_layer("hidden").bias.assign(np.full(16, 0.3))
    assert kinds(model, data) == {"never-updated"}
    for name in ("first", "second"):
        model.get_layer(name).trainable = True
    recalibrate(model, data[0])
    model.trainable = False
    assert kinds(model, data) == set()


def test_a_negative_variance(data, healthy):
    variance = healthy.get_layer("second").moving_variance
    variance.assign(np.where(np.arange(16) == 3, -0.1, variance))
    findings = examine(healthy, data)
    assert [(f.kind, f.layer, f.value) for f in findings] == [("invalid-statistics", "second", 1)]


@pytest.mark.slow
def test_a_gamma_of_zero(data):
    """On purpose while nothing has been trained; stuck if training has not moved it."""
    model = compiled(network(gamma_initializer="zeros"))
    assert kinds(model, data) == set()
    assert "dead-channel" in kinds(fit(model, data), data)
    model.get_layer("first").gamma.assign(np.ones(16))
    model.get_layer("second").gamma.assign(np.ones(16))
    assert "dead-channel" not in kinds(fit(model, data), data)


@pytest.mark.parametrize(
    "task",
    [
        "regression",
        pytest.param("two outputs", marks=pytest.mark.slow),
        pytest.param("multi-label", marks=pytest.mark.slow),
    ],
)
def test_mode_gap_without_classes(data, task):
    """Sorted data again, judged by the model's own loss."""
    images, labels = data
    order = np.argsort(labels, kind="stable")
    images, labels = images[order], labels[order]
    body = network()
    if task == "regression":
        outputs, loss, goal = layers.Dense(1), "mse", labels[:, np.newaxis] / 10
    else:
        bits = (labels[:, np.newaxis] >> np.arange(3) & 1).astype(np.float32)
        outputs, loss, goal = layers.Dense(3, activation="sigmoid"), "binary_crossentropy", bits
    answer = outputs(body.layers[-2].output)
    if task == "two outputs":
        answer, loss = {"a": answer, "b": layers.Dense(10)(answer)}, {"a": loss, "b": "mse"}
        goal = {"a": goal, "b": np.eye(10, dtype=np.float32)[labels]}
    model = keras.Model(body.inputs[0], answer)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(images, goal, BATCH, 8, verbose=0)
    sliced = [
        keras.tree.map_structure(lambda part, at=start: part[at : at + BATCH], (images, goal))
        for start in range(0, 640, BATCH)
    ]
    findings = examine(model, sliced)
    assert [f.kind for f in findings] == ["mode-gap"]
    assert findings[0].value < -0.3


def test_a_model_with_a_loss_that_does_not_fit_is_judged_by_its_accuracy(data, healthy):
    healthy.compile(loss=lambda labels, outputs: 1 / 0)  # noqa: ARG005
    images, labels = data
    order = np.argsort(labels, kind="stable")
    assert kinds(healthy, batches((images[order], labels[order]), BATCH)) == {"mode-gap"}


def test_a_last_batch_of_one(data, healthy):
    """Of batches as they come; of arrays a single sample joins the others."""
    images, labels = data
    ones = [(images[:64], labels[:64]), (images[64:65], labels[64:65])]
    findings = examine(healthy, ones)
    assert {(f.kind, f.value) for f in findings} == {("tiny-batch", 1)}
    assert kinds(healthy, (images[:601], labels[:601])) == set()


class Batches(keras.utils.PyDataset):
    def __init__(self, arrays):
        super().__init__()
        self.batches = batches(arrays, BATCH)

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, number):
        return self.batches[number]


def test_py_dataset(data, healthy):
    assert "640 samples in 10 batches" in str(examine(healthy, Batches(data)))


@pytest.mark.filterwarnings("error")
def test_a_batch_that_is_masked_as_a_whole(generator):
    series = generator.normal(2.0, 3.0, (60, 7, 6)).astype(np.float32)
    layer = layers.BatchNormalization(momentum=0.5)
    model = keras.Sequential([keras.Input([7, 6]), layers.Masking(), layer, layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(series, np.zeros([60, 7, 1]), 20, 4, verbose=0)
    assert kinds(model, [series, np.zeros_like(series)]) == set()


@pytest.mark.slow
def test_mixed_precision_with_a_scaled_loss(data):
    """The optimizer inside the one that scales the loss knows what is trained."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = compiled(network(), eager=False)
    finally:
        keras.config.set_dtype_policy("float32")
    fit(model, data)
    assert type(model.optimizer).__name__ == "LossScaleOptimizer"
    assert kinds(model, data) == set()
    model.get_layer("first").trainable = False
    assert kinds(model, data) == {"frozen-after-compile"}


def test_batches_count_by_their_size(generator):
    """The moving variance of a layer tends to the mean of its batches, each by its values."""
    values = [generator.normal(0, scale, (count, 1)) for scale, count in ((1.0, 300), (5.0, 20))]
    model = keras.Sequential([keras.Input([1]), layers.BatchNormalization(), layers.Dense(1)])
    pretended(compiled(model))
    model.layers[0].moving_variance.assign([np.average([1, 25], weights=[300, 20])])
    assert kinds(model, [value.astype(np.float32) for value in values]) == set()


def test_float64(generator):
    """What a frozen layer is given is measured in its own precision, too."""
    inputs = generator.normal(1e6, 0.001, (300, 2))  # constant, as far as float32 can tell
    layer = layers.BatchNormalization(epsilon=1e-6, dtype="float64", trainable=False)
    model = keras.Sequential([keras.Input([2], dtype="float64"), layer])
    layer.moving_mean.assign(inputs.mean(0))
    layer.moving_variance.assign(inputs.var(0))
    assert kinds(model, inputs) == set()


# The museum of the last chapter.


@pytest.fixture(scope="module", params=["broken", "mended"])
def program(request):
    broken = request.param == "broken"
    return UNSOLVED if broken else SOLVED, broken


def first_kind(broken, kind):
    return {kind} if broken else set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "kind"),
    [
        ("build_stuck", "dead-channel"),
        ("build_bad_in_evaluation", "shared-between-distributions"),
        ("build_one_class", "batch-at-inference"),
    ],
)
def test_museum_of_models(program, data, build, kind):
    names, broken = program
    keras.utils.set_random_seed(0)
    model = fit(compiled(names[build](), eager=False), data, epochs=6)
    assert kinds(model, data) == first_kind(broken, kind)


@pytest.mark.slow
def test_museum_of_a_checkpoint(program, data, tmp_path):
    names, broken = program
    trained_one, restored = trained(data), network()
    names["save"](trained_one, tmp_path)
    restored = names["restore"](restored, tmp_path) or restored
    assert kinds(restored, data) == first_kind(broken, "never-updated")


@pytest.mark.slow
def test_museum_of_fine_tuning(program, data):
    """The images of the new task are darker; those of the old one show what has moved."""
    names, broken = program
    images, labels = data
    body, head = network(), keras.Sequential([keras.Input([10]), layers.Dense(10)])
    fit(compiled(keras.Sequential([body, head]), eager=False), data, epochs=4)
    names["fine_tune"](body, head, np.tile(0.5 + 0.5 * images, (3, 1)), np.tile(labels, 3))
    assert kinds(body, data) == first_kind(broken, "lagging")


@pytest.mark.slow
def test_museum_of_a_last_batch(program, data, healthy):
    names, broken = program
    parts = names["split"](np.arange(601), 60)
    found = kinds(healthy, [(data[0][part], data[1][part]) for part in parts])
    assert found == first_kind(broken, "tiny-batch")


@pytest.mark.slow
def test_museum_of_two_frameworks(program, data):
    names, broken = program
    model = names["to_keras"](torch_state(mnist.load_mnist(source="digits")))
    assert kinds(model, data[0]) == first_kind(broken, "epsilon-dominates")
