"""Each kind of trouble, rebuilt with today's Keras: it is found, and nothing else; mended, none."""

import re
from pathlib import Path

import keras
import nbformat
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
from tests.keras_models.models import Subclassed, stays_as_it_was
from tests.variables import unchanged, values

BATCH = 64
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def data():
    """The digits, int32 labels; nothing here hands out batches."""
    train = mnist.load_mnist(source="digits").train
    return train.images[:640], train.classes[:640].astype(np.int32)


@pytest.fixture(scope="module")
def by_class(data):
    """Batches of one class each, from data that are sorted and not shuffled."""
    order = np.argsort(data[1], kind="stable")
    return batches([part[order] for part in data], BATCH)


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


def norms(model):
    return [model.get_layer("first"), model.get_layer("second")]


def compiled(model, eager=True):
    model.compile(keras.optimizers.SGD(0.1), LOSS, run_eagerly=eager)
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


def found(model, dataset):
    """The kind, the layer and the value of each finding."""
    return [(finding.kind, finding.layer, finding.value) for finding in examine(model, dataset)]


def kinds(model, dataset):
    return {kind for kind, *_ in found(model, dataset)}


def remarks(model, dataset):
    return [(each.kind, each.layer, each.value) for each in examine(model, dataset).remarks]


def batches(data, size):
    images, labels = data
    return [(images[i : i + size], labels[i : i + size]) for i in range(0, 10 * size, size)]


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
    """A loop of one's own, in which the model is called with training=False."""
    for training, expected in ((False, {"never-updated"}), (True, set())):
        model, optimizer = network(), keras.optimizers.Adam(1e-2)
        for images, labels in batches(data, BATCH) * 2:
            with tf.GradientTape() as tape:
                value = LOSS(labels, model(images, training=training))
            gradients = tape.gradient(value, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
        assert kinds(model, data) == expected


def test_never_updated_in_fit(data):
    """A layer that was frozen from the start."""
    model = network()
    model.get_layer("second").trainable = False
    assert found(fit(compiled(model), data), data) == [("never-updated", "second", 20)]


def test_frozen_before_its_first_step(data):
    """Without an optimizer of its own, as a backbone has it: a bias that has moved tells."""
    model = network(bias=True)
    model.trainable = False
    assert kinds(model, data) == set()
    model.get_layer("hidden").bias.assign(np.full(16, 0.3))
    assert kinds(model, data) == {"never-updated"}
    model.trainable = True
    recalibrate(model, data[0])
    model.trainable = False
    assert kinds(model, data) == set()


def test_lagging(data, healthy):
    """New data are prepared in another way: in [0, 255], and the training's in [0, 1]."""
    images, labels = data
    assert kinds(healthy, (images * 255, labels)) == {"lagging"}
    recalibrate(healthy, images * 255)
    assert kinds(healthy, (images * 255, labels)) == set()


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
    ((kind, layer, value),) = found(model, dataset)
    assert (kind, layer) == ("lagging", model.name)
    assert value == pytest.approx(0.174, abs=0.12)  # P(0 < z < 0.45), less noise
    recalibrate(model, inputs)
    assert kinds(model, dataset) == set()


def test_tiny_batch(data, healthy):
    images, labels = data
    tiny = [("tiny-batch", "first", 4), ("tiny-batch", "second", 4)]
    assert found(healthy, batches(data, 4)) == tiny
    one_is_left = [(images[:64], labels[:64]), (images[64:65], labels[64:65])]
    assert {(kind, value) for kind, _, value in found(healthy, one_is_left)} == {("tiny-batch", 1)}
    assert kinds(healthy, (images[:601], labels[:601])) == set()  # of arrays it joins the others


def test_positions_count_as_values(images):
    model = keras.Sequential(
        [keras.Input([28, 28, 1]), layers.Conv2D(2, 3, 4), layers.BatchNormalization()]
    )
    assert kinds(model, [images[:1]]) == set()


def test_frozen_affine(data, healthy):
    for bn in norms(healthy):
        bn.gamma.trainable = bn.beta.trainable = False
    before = healthy.get_layer("first").moving_mean.numpy()
    fit(compiled(healthy), data, epochs=1)
    assert not np.array_equal(before, healthy.get_layer("first").moving_mean)
    assert kinds(healthy, data) == {"frozen-affine"}
    for bn in norms(healthy):
        bn.trainable = False
    assert kinds(compiled(healthy), data) == set()


def test_frozen_after_compile(data):
    """At this rate the other layer's statistics may really lag; that is not asked here."""

    def frozen():
        return [each[1:] for each in found(model, data) if each[0] == "frozen-after-compile"]

    model = compiled(network(), eager=False)
    bn = model.get_layer("first")
    bn.trainable = False  # Keras asks to compile after this; what counts is what `fit` sees first
    fit(model, data)
    assert frozen() == []
    bn.trainable = True
    fit(compiled(model, eager=False), data)
    bn.trainable = False
    before = values(bn.variables)
    fit(model, data, epochs=1)
    changed = [not np.array_equal(a, b) for a, b in zip(before, bn.variables, strict=True)]
    assert all(changed)  # gamma, beta and the statistics
    assert frozen() == [("first", 2)]
    with unchanged(bn.variables):
        fit(compiled(model), data)
    assert frozen() == []


def test_dead_channel_by_its_data(data):
    """The digits have pixels that are always 0."""
    model = trained(data, first=[layers.BatchNormalization(momentum=0.7, name="pixels")])
    constant = np.sum(data[0].std(axis=0) == 0)
    of_pixels = [each for each in found(model, data) if each[1] == "pixels"]
    assert of_pixels == [("dead-channel", "pixels", constant)]
    assert constant > 0


def test_dead_channel_by_its_gamma(data, healthy):
    """Channels pruned as in network slimming."""
    gamma = healthy.get_layer("second").gamma
    gamma.assign(np.where(np.arange(16) < 3, 0, gamma))
    assert found(healthy, data) == [("dead-channel", "second", 3)]
    gamma.assign(np.where(np.arange(16) < 3, 1, gamma))
    assert kinds(healthy, data) == set()


@pytest.mark.slow
def test_a_gamma_of_zero(data):
    """On purpose while nothing has been trained; stuck if training has not moved it."""
    model = compiled(network(gamma_initializer="zeros"))
    assert kinds(model, data) == set()
    assert "dead-channel" in kinds(fit(model, data), data)
    for bn in norms(model):
        bn.gamma.assign(np.ones(16))
    assert "dead-channel" not in kinds(fit(model, data), data)


def test_useless_bias(data):
    """It costs nothing, so it is no finding."""
    biased = pretended(compiled(network(bias=True)))
    recalibrate(biased, data[0])
    assert kinds(biased, data) == set()
    assert remarks(biased, data) == [("useless-bias", "hidden", 16)]
    assert remarks(network(), data) == []


def test_dropout_before(data):
    model = trained(data, between=[layers.Dropout(0.5)])
    ((kind, layer, value),) = found(model, data)
    assert (kind, layer) == ("dropout-before", "second")
    assert value > 1.25
    recalibrate(model, data[0])
    assert kinds(model, data) == set()


def test_epsilon_dominates(data):
    images, labels = data
    small = (images * 1e-3, labels)
    model = trained(small, momentum=0.5)
    assert kinds(model, small) == {"epsilon-dominates"}
    for bn in norms(model):
        bn.epsilon = 1e-9
    recalibrate(model, small[0])
    assert kinds(model, small) == set()


def test_slow_momentum(data):
    first, second = found(trained(data, momentum=0.999), data)
    assert first == ("slow-momentum", "first", pytest.approx(0.999**20))
    assert second[:2] == ("slow-momentum", "second")


def test_invalid_statistics(data, healthy):
    """One batch with a NaN, whose step was skipped; BN has seen it nevertheless."""
    spoilt = data[0][:BATCH].copy()
    spoilt[3, 5] = np.nan
    healthy(spoilt, training=True)
    invalid = [("invalid-statistics", "first", 32), ("invalid-statistics", "second", 32)]
    assert found(healthy, data) == invalid
    assert np.isnan(healthy(data[0])).all()
    recalibrate(healthy, data[0])
    assert kinds(healthy, data) == set()
    variance = healthy.get_layer("second").moving_variance
    variance.assign(np.where(np.arange(16) == 3, -0.1, variance))
    assert found(healthy, data) == [("invalid-statistics", "second", 1)]


class AlwaysByBatch(layers.BatchNormalization):
    """Whatever it is told."""

    def call(self, inputs, training=None, mask=None):  # noqa: ARG002
        return super().call(inputs, training=True, mask=mask)


def test_batch_at_inference(data):
    inputs = keras.Input([784])
    hidden = layers.Dense(16, use_bias=False)(inputs)
    hidden = layers.BatchNormalization(momentum=0.7, name="always")(hidden, training=True)
    model = keras.Model(inputs, layers.Dense(10)(layers.ReLU()(hidden)))
    assert found(fit(compiled(model), data), data) == [("batch-at-inference", "always", 60)]
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
    model = fit(compiled(shared_by_two(1, 10)), (pair, labels))
    for _ in range(2):
        ((kind, layer, _),) = found(model, (pair, labels))
        assert (kind, layer) == ("shared-between-distributions", "shared")
        recalibrate(model, pair)
    model = fit(compiled(shared_by_two(1, 1)), (pair, labels))
    assert kinds(model, (pair, labels)) == set()


# Answers that differ between the modes.


def test_mode_gap(data, by_class, healthy):
    ((kind, layer, value),) = found(healthy, by_class)
    assert (kind, layer) == ("mode-gap", healthy.name)
    assert value < -0.3
    assert kinds(healthy, batches(data, BATCH)) == set()


def test_a_model_with_a_loss_that_does_not_fit_is_judged_by_its_accuracy(by_class, healthy):
    healthy.compile(loss=lambda labels, outputs: 1 / 0)  # noqa: ARG005
    (finding,) = examine(healthy, by_class)
    assert finding.kind == "mode-gap"
    assert "accuracy" in finding.quantity


def regression():
    return layers.Dense(1), "mse", lambda labels: labels[:, np.newaxis] / 10


def bits(labels):
    return (labels[:, np.newaxis] >> np.arange(3) & 1).astype(np.float32)


def multi_label():
    return layers.Dense(3, activation="sigmoid"), "binary_crossentropy", bits


def two_outputs():
    one, other = layers.Dense(3, activation="sigmoid"), layers.Dense(10)

    def goals(labels):
        return {"a": bits(labels), "b": np.eye(10, dtype=np.float32)[labels]}

    loss = {"a": "binary_crossentropy", "b": "mse"}
    return (lambda hidden: {"a": one(hidden), "b": other(one(hidden))}), loss, goals


@pytest.mark.parametrize(
    ("task", "metrics", "names"),
    [
        (regression, ["mae"], {"mae"}),
        pytest.param(multi_label, [keras.metrics.AUC(name="area"), "accuracy"],
                     {"area", "accuracy"}, marks=pytest.mark.slow),
        pytest.param(two_outputs, None, {"a_loss", "b_loss"}, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_mode_gap_without_classes(data, by_class, task, metrics, names):
    """Sorted data again, judged by the model's own loss; its metrics are told beside it."""
    head, loss, goals = task()
    body = network()
    model = keras.Model(body.inputs[0], head(body.layers[-2].output))
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=metrics)
    images, labels = (np.concatenate(parts) for parts in zip(*by_class, strict=True))
    labels = goals(labels)
    model.fit(images, labels, BATCH, 8, verbose=0)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH)
    with unchanged(model.metrics_variables):
        (finding,) = examine(model, dataset)
    assert finding.kind == "mode-gap"
    assert finding.value < -0.3
    parts = finding.quantity.split(": ", 1)[1].split("; ")
    reported = {part.split()[0]: [float(part.split()[i]) for i in (1, 5)] for part in parts}
    assert set(reported) == {"loss", *names}
    by_moving = model.evaluate(images, labels, BATCH, verbose=0, return_dict=True)
    for name in reported:
        assert reported[name][1] == pytest.approx(by_moving[name], rel=0.01)


# The report.


def test_reads(data):
    findings = examine(pretended(compiled(network(bias=True))), data)
    text, table = str(findings), findings._repr_markdown_()
    assert repr(findings) == text
    assert re.search(r"\b2 .*\b640 .*\b11 ", text)  # BN layers, samples and batches
    assert text.count("never-updated") == 1  # for both layers
    for finding in findings:
        for part in (finding.kind, finding.layer, finding.remedy, finding.chapter):
            assert part in text
            assert part in table
    assert re.search("useless-bias.*hidden", text)
    assert re.search(r"\]\(https://github\.com/[^/ ]+/[^/ ]+/issues/\d+\)", table)


def test_what_can_not_be_looked_for_is_said(data, healthy):
    assert "mode-gap" in str(examine(healthy, data[0]))


def test_many_layers_are_one_paragraph(generator):
    pairs = [(layers.Dense(3, name=f"d{n}"), layers.BatchNormalization()) for n in range(5)]
    model = keras.Sequential([keras.Input([4]), *(layer for pair in pairs for layer in pair)])
    assert re.search(r"\bd0\b.*\bd4\b.*\b5\b", str(examine(model, generator.normal(size=[60, 4]))))


@pytest.mark.parametrize("ailment", AILMENTS.values(), ids=AILMENTS)
def test_each_ailment_is_shown_in_a_section_of_a_notebook(ailment):
    notebook = Path(__file__).parents[2] / "notebooks" / f"{ailment.chapter}.ipynb"
    cells = nbformat.read(notebook, as_version=4).cells
    assert any(re.search(f"^#+ {re.escape(ailment.section)}$", c.source, re.M) for c in cells)


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
    model = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(hidden)))
    ((kind, layer, _),) = found(model, images)
    assert (kind, layer) == ("dropout-before", "upper_bn")
    assert remarks(model, images) == [("useless-bias", "lower_conv", 4)]


@pytest.mark.parametrize(
    ("activation", "axis", "is_output"), [(None, -1, True), ("relu", -1, False), (None, 1, False)]
)
def test_a_bias_that_counts_elsewhere(activation, axis, is_output, generator):
    inputs = keras.Input([28, 28, 1])
    hidden = layers.Conv2D(4, 3, activation=activation)(inputs)
    normalized = layers.BatchNormalization(axis)(hidden)
    model = keras.Model(inputs, [normalized, hidden] if is_output else normalized)
    assert remarks(model, generator.normal(size=(128, 28, 28, 1))) == []


def subclassed(training=None):
    body = [conv_block("body", dropout=0.5, bias=True), layers.Flatten(), layers.Dense(10)]
    return Subclassed(keras.Sequential(body), training)


def test_subclassed(images, data):
    labelled = (images, data[1][:128])
    findings = examine(fit(compiled(subclassed()), labelled, epochs=1), labelled)
    assert {f.kind for f in findings} == {"slow-momentum"}
    assert re.search("dropout-before and useless-bias.* body_bn", str(findings))


def test_always_at_inference(images, data):
    """A body called with training=False keeps its statistics, whatever they are."""
    model = subclassed(training=False)
    model(images)
    bn = model.body.layers[0].layers[1]
    bn.moving_mean.assign(np.full(4, 9))
    bn.gamma.assign(np.full(4, 2))
    assert kinds(model, (images, data[1][:128])) == set()


@pytest.mark.filterwarnings("error")
def test_a_batch_that_is_masked_as_a_whole(generator):
    series = generator.normal(2.0, 3.0, (60, 7, 6)).astype(np.float32)
    layer = layers.BatchNormalization(momentum=0.5)
    model = keras.Sequential([keras.Input([7, 6]), layers.Masking(), layer, layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(series, np.zeros([60, 7, 1]), 20, 4, verbose=0)
    assert kinds(model, [series, np.zeros_like(series)]) == set()


def test_mixed_precision_with_a_scaled_loss(data):
    """The optimizer inside the one that scales the loss knows what is trained."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = compiled(network(), eager=False)
    finally:
        keras.config.set_dtype_policy("float32")
    assert type(fit(model, data).optimizer).__name__ == "LossScaleOptimizer"
    assert kinds(model, data) == set()
    model.get_layer("first").trainable = False
    assert kinds(model, data) == {"frozen-after-compile"}


def test_float64(generator):
    """What a frozen layer is given is measured in its own precision, too."""
    inputs = generator.normal(1e6, 0.001, (300, 2))  # constant, as far as float32 can tell
    layer = layers.BatchNormalization(epsilon=1e-6, dtype="float64", trainable=False)
    model = keras.Sequential([keras.Input([2], dtype="float64"), layer])
    layer.moving_mean.assign(inputs.mean(0))
    layer.moving_variance.assign(inputs.var(0))
    assert kinds(model, inputs) == set()


def test_batches_count_by_their_size(generator):
    """The moving variance of a layer tends to the mean of its batches, each by its values."""
    values = [generator.normal(0, scale, (count, 1)) for scale, count in ((1.0, 300), (5.0, 20))]
    model = keras.Sequential([keras.Input([1]), layers.BatchNormalization(), layers.Dense(1)])
    pretended(compiled(model))
    model.layers[0].moving_variance.assign([np.average([1, 25], weights=[300, 20])])
    assert kinds(model, [value.astype(np.float32) for value in values]) == set()


# What it leaves behind.


class SharedNoise(layers.Layer):
    """Draws by the seed that all without one share."""

    def call(self, inputs):
        return inputs + 0.1 * keras.random.normal(keras.ops.shape(inputs))


def test_leaves_the_model_as_it_was(data):
    noise = [layers.Dropout(0.5), layers.GaussianNoise(0.1), SharedNoise()]
    model = fit(compiled(network(between=noise)), data, epochs=1)
    (seed,) = shared_seed()
    before = seed.numpy()
    assert any("seed" in variable.path for variable in model.variables)
    with stays_as_it_was(model):
        examine(model, data)
    np.testing.assert_array_equal(seed, before)


def test_leaves_the_model_as_it_was_when_interrupted(data, healthy, monkeypatch):
    calls = []

    def interrupted(self, inputs):
        calls.append(inputs)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return inputs

    monkeypatch.setattr(layers.ReLU, "call", interrupted)
    with stays_as_it_was(healthy), pytest.raises(KeyboardInterrupt):
        examine(healthy, data)


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


# The museum of the last chapter, where its programs differ from the models above: each gives a
# model, and the data to examine it with.


def one_layer_at_three_depths(names, data, _):
    model = compiled(names["build_bad_in_evaluation"](), eager=False)
    return fit(model, data, epochs=6), data


def a_checkpoint(names, data, folder):
    trained_one, restored = trained(data), network()
    names["save"](trained_one, folder)
    return names["restore"](restored, folder) or restored, data


def fine_tuning(names, data, _):
    """The images of the new task are darker; those of the old one show what has moved."""
    images, labels = data
    body, head = network(), keras.Sequential([keras.Input([10]), layers.Dense(10)])
    fit(compiled(keras.Sequential([body, head]), eager=False), data, epochs=4)
    names["fine_tune"](body, head, np.tile(0.5 + 0.5 * images, (3, 1)), np.tile(labels, 3))
    return body, data


def two_frameworks(names, data, _):
    return names["to_keras"](torch_state(mnist.load_mnist(source="digits"))), data[0]


@pytest.mark.slow
@pytest.mark.parametrize("broken", [True, False])
@pytest.mark.parametrize(
    ("program", "kind"),
    [
        (one_layer_at_three_depths, "shared-between-distributions"),
        (a_checkpoint, "never-updated"),
        (fine_tuning, "lagging"),
        (two_frameworks, "epsilon-dominates"),
    ],
)
def test_museum(program, kind, broken, data, tmp_path):
    model, dataset = program(UNSOLVED if broken else SOLVED, data, tmp_path)
    assert kinds(model, dataset) == ({kind} if broken else set())
