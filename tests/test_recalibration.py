import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from bn_tutorial import networks, population, recalibration
from bn_tutorial.population import recalibrate


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    """BN in a layer inside a model that has no graph."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(4)
        self.inner = keras.Sequential([layers.BatchNormalization(), layers.Activation("relu")])

    def call(self, inputs, training=None):
        return self.inner(self.dense(inputs), training=training)


def randomized(model, seed=0):
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        if "seed" in variable.path:
            continue
        low = 0.5 if "variance" in variable.path or "gamma" in variable.path else -1.0
        variable.assign(generator.uniform(low, 1.5, variable.shape))
    return model


@pytest.fixture
def inputs(generator):
    return generator.normal(2.0, 3.0, (130, 6)).astype(np.float32)


@pytest.fixture
def model():
    return randomized(
        keras.Sequential(
            [
                keras.Input([6]),
                layers.Dense(5),
                layers.BatchNormalization(momentum=0.7, name="first"),
                layers.Activation("sigmoid"),
                layers.Dropout(0.5, seed=3),
                layers.Dense(4),
                layers.BatchNormalization(epsilon=0.01, center=False, name="second"),
            ]
        )
    )


def pooled(batches):
    """Mean and variance of each channel of all batches together, `[batch, ..., channels]`."""
    values = np.concatenate([batch.reshape(-1, batch.shape[-1]) for batch in batches])
    return values.mean(axis=0), values.var(axis=0)


def normalized(values, epsilon):
    axes = tuple(range(values.ndim - 1))
    return (values - values.mean(axes)) / np.sqrt(values.var(axes) + epsilon)


def assert_statistics(layer, mean, variance):
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-4, atol=1e-6)


def values_of(variables):
    return [variable.numpy() for variable in variables]


def assert_same(before, variables):
    for a, b in zip(before, variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_both_layers_against_numpy(model, inputs):
    """In one pass, the second layer behind the first's batch statistics; the last batch is 10."""
    recalibrate(model, inputs)
    dense, first, _, _, other, second = model.layers
    z1 = [inputs[i : i + 60] @ dense.kernel + dense.bias for i in (0, 60, 120)]
    assert_statistics(first, *pooled([np.array(z) for z in z1]))
    hidden = [
        1 / (1 + np.exp(-(normalized(np.array(z), 1e-3) * first.gamma + first.beta))) for z in z1
    ]
    assert_statistics(second, *pooled([np.array(h @ other.kernel + other.bias) for h in hidden]))


@pytest.mark.parametrize("axis", [1, -1])
def test_convolutional_layers_of_any_axis(axis, generator):
    images = generator.normal(3.0, 2.0, (20, 4, 5, 3)).astype(np.float32)
    model = randomized(keras.Sequential([keras.Input([4, 5, 3]), layers.BatchNormalization(axis)]))
    recalibrate(model, images)
    assert_statistics(model.layers[0], *pooled([np.moveaxis(images, axis, -1)]))


def test_as_the_articles_network(digits):
    """The network of notebook 2, in Keras: the same statistics as `estimate_population`'s."""
    weights = networks.initial_weights(1, "glorot")
    ours = networks.BatchNormNetwork(weights)
    hidden = [
        layer
        for _ in weights[:-1]
        for layer in (
            layers.Dense(100, use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("sigmoid"),
        )
    ]
    model = keras.Sequential([keras.Input([784]), *hidden, layers.Dense(10)])
    for layer, matrix in zip(model.layers[::3], weights, strict=True):
        layer.kernel.assign(matrix)
    indices = np.arange(600).reshape(10, 60)
    recalibrate(model, (digits.train.images[batch] for batch in indices))
    digits.train.next_indices = lambda size: np.arange(size, dtype=np.int32)
    population.estimate_population(ours, digits.train, 60, 10, "pooled")
    for layer, theirs in zip(ours.layers, model.layers[1::3], strict=True):
        assert_statistics(theirs, layer.batch_norm.pop_mean, layer.batch_norm.pop_var)


def forms(inputs):
    labels = np.zeros(len(inputs))
    batches = [(inputs[i : i + 60], labels[i : i + 60]) for i in (0, 60, 120)]

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return batches[index]

    return {
        "array": inputs,
        "tensor": tf.constant(inputs),
        "with labels": (inputs, labels),
        "with weights": (inputs, labels, labels),
        "tf.data": tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(60),
        "generator": (batch for batch in batches),
        "list": [batch for batch, _ in batches],
        "PyDataset": Batches(),
    }


@pytest.mark.parametrize("form", list(forms(np.zeros([1, 6]))))
def test_forms_of_data(form, model, inputs):
    recalibrate(model, forms(inputs)[form])
    found = values_of(model.non_trainable_variables)
    recalibrate(model, inputs)
    assert_same(found, model.non_trainable_variables)


def test_so_many_batches(model, inputs, capsys):
    recalibrate(model, inputs, batches=2)
    assert "2/2" in capsys.readouterr().out
    mean, variance = pooled([np.array(model.layers[0](inputs[:120]))])
    assert_statistics(model.get_layer("first"), mean, variance)


def test_nothing_else_changes(model, inputs):
    model.compile("adam", "mse")
    model.fit(inputs, np.zeros([130, 4]), verbose=0)
    step, others = model.train_function, values_of(model.trainable_variables)
    seeds, optimizer = values_of(model.layers[3].variables), values_of(model.optimizer.variables)
    recalibrate(model, inputs)
    assert_same(others, model.trainable_variables)
    assert_same(seeds, model.layers[3].variables)
    assert_same(optimizer, model.optimizer.variables)
    assert model.train_function is step
    assert (model.get_layer("first").momentum, model.get_layer("first").trainable) == (0.7, True)
    assert "call" not in vars(model.get_layer("first"))


def test_frozen_layers_keep_their_statistics(model, inputs, capsys):
    """And they normalise by them: the second layer sees that."""
    first, second = model.get_layer("first"), model.get_layer("second")
    first.trainable = False
    before = values_of(first.variables)
    recalibrate(model, inputs)
    assert_same(before, first.variables)
    assert "frozen, and left as they are: first" in capsys.readouterr().out
    hidden = keras.Model(model.inputs, second.input)
    assert_statistics(second, *pooled([hidden.predict(inputs, verbose=0)]))


def test_a_model_inside_a_model_and_a_shared_layer(inputs, generator):
    """A layer that is called twice counts the values of both calls."""
    shared = layers.BatchNormalization()
    inner = keras.Sequential([keras.Input([6]), shared])
    left, right = keras.Input([6], name="left"), keras.Input([6], name="right")
    model = randomized(keras.Model({"left": left, "right": right}, [inner(left), inner(right)]))
    other = generator.normal(size=(130, 6)).astype(np.float32)
    recalibrate(model, {"left": inputs, "right": other})
    assert_statistics(shared, *pooled([inputs, other]))


def test_a_subclassed_model(inputs):
    model = Subclassed()
    model(inputs[:2])
    recalibrate(randomized(model), inputs)
    assert_statistics(model.inner.layers[0], *pooled([np.array(model.dense(inputs))]))


def test_over_time(generator):
    """A layer that is called in a loop."""
    inner = keras.Sequential([keras.Input([6]), layers.BatchNormalization()])
    model = keras.Sequential([keras.Input([7, 6]), layers.TimeDistributed(inner)])
    series = generator.normal(2.0, 3.0, (20, 7, 6)).astype(np.float32)
    recalibrate(model, series)
    assert_statistics(inner.layers[0], *pooled([series]))


def test_what_a_mask_hides_does_not_count(generator):
    series = generator.normal(2.0, 3.0, (20, 7, 6)).astype(np.float32)
    series[5:, 4:] = 0.0
    layer = layers.BatchNormalization()
    model = keras.Sequential([keras.Input([7, 6]), layers.Masking(), layer])
    recalibrate(model, series)
    assert_statistics(layer, *pooled([series[:5].reshape(-1, 6), series[5:, :4].reshape(-1, 6)]))


def test_a_batch_that_the_mask_hides_altogether(generator):
    series = generator.normal(2.0, 3.0, (20, 7, 6)).astype(np.float32)
    layer = layers.BatchNormalization()
    model = keras.Sequential([keras.Input([7, 6]), layers.Masking(), layer])
    recalibrate(model, [np.zeros_like(series), series])
    assert_statistics(layer, *pooled([series]))


def test_an_interruption_at_the_very_end(model, inputs, monkeypatch):
    before = values_of(model.variables)
    assign, calls = keras.Variable.assign, []

    def interrupted(variable, value):
        calls.append(variable)
        if variable is model.get_layer("second").moving_mean and len(calls) > 1:
            monkeypatch.undo()
            raise KeyboardInterrupt
        return assign(variable, value)

    real = recalibration._assign

    def assigned(statistics):
        monkeypatch.setattr(keras.Variable, "assign", interrupted)
        real(statistics)

    monkeypatch.setattr(recalibration, "_assign", assigned)
    with pytest.raises(KeyboardInterrupt):
        recalibrate(model, inputs)
    assert len(calls) == 3
    assert_same(before, model.variables)


def test_mixed_precision(inputs):
    layer = layers.BatchNormalization(dtype="mixed_float16")
    model = keras.Sequential([keras.Input([6], dtype="float16"), layer])
    recalibrate(model, inputs.astype(np.float16))
    assert_statistics(layer, *pooled([inputs.astype(np.float16).astype(np.float64)]))


class StoppedError(Exception):
    pass


def ends(inputs, what):
    yield inputs[:60]
    if isinstance(what, type):
        raise what
    yield what


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (KeyboardInterrupt, KeyboardInterrupt),
        (StoppedError, StoppedError),
        (np.zeros([60, 7], np.float32), ValueError),
        (np.full([60, 6], np.nan, np.float32), ValueError),
        ("no numbers", ValueError),
    ],
    ids=["interrupted", "iterator fails", "wrong shape", "NaN", "text"],
)
def test_what_goes_wrong_changes_nothing(what, error, model, inputs):
    before = values_of(model.variables)
    with pytest.raises(error) as raised:
        recalibrate(model, ends(inputs, what))
    assert_same(before, model.variables)
    assert "call" not in vars(model.get_layer("first"))
    if error is StoppedError:
        assert raised.value.__notes__ == ["recalibrate: at batch 2; the model is as it was"]
    recalibrate(model, inputs)


@pytest.mark.parametrize(
    ("build", "data", "options", "message"),
    [
        (lambda: keras.Sequential([layers.Dense(2)]), np.ones([4, 6]), {}, "model that is built"),
        (
            lambda: keras.Sequential([keras.Input([6]), layers.ReLU()]),
            np.ones([4, 6]),
            {},
            "found none",
        ),
        (None, np.ones([0, 6]), {}, "empty dataset"),
        (None, iter(()), {}, "empty dataset"),
        (None, np.ones([4, 6]), {"batches": 0}, "batches must be 1 or more, found 0"),
        (None, np.ones([1, 6]), {}, 'layer "first": expected 2 values a channel or more, found 1'),
    ],
)
def test_bad_arguments(build, data, options, message, model):
    with pytest.raises(ValueError, match=message):
        recalibrate(build() if build else model, data, **options)


def test_frozen_layers_only(model, inputs):
    model.trainable = False
    with pytest.raises(ValueError, match="only frozen ones: first, second"):
        recalibrate(model, inputs)
