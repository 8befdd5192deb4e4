import gc
import re
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from bn_tutorial import networks, population
from bn_tutorial.keras_models import recalibrate, recalibration
from tests.keras_models.models import BN, Subclassed, randomized, stays_as_it_was
from tests.variables import assert_all_close, unchanged, values


@pytest.fixture
def inputs(generator):
    return generator.normal(2.0, 3.0, (130, 6)).astype(np.float32)


@pytest.fixture
def series(generator):
    return generator.normal(2.0, 3.0, (20, 7, 6)).astype(np.float32)


@pytest.fixture
def model():
    return randomized(
        keras.Sequential(
            [
                keras.Input([6]),
                layers.Dense(5),
                BN(momentum=0.7, name="first"),
                layers.Activation("sigmoid"),
                layers.Dropout(0.5, seed=3),
                layers.Dense(4),
                BN(epsilon=0.01, center=False, name="second"),
            ]
        )
    )


def chain(*hidden, shape=(6,), **options):
    return keras.Sequential([keras.Input(shape, **options), *hidden])


def moving(*norms):
    return [variable for norm in norms for variable in (norm.moving_mean, norm.moving_variance)]


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


def test_both_layers_against_numpy(model, inputs):
    """In one pass, the second layer after the first's batch statistics; the last batch is 10."""
    recalibrate(model, (inputs, np.zeros(len(inputs))))  # all forms of data are in `test_data`
    dense, first, _, _, other, second = model.layers
    parts = [inputs[i : i + 60] for i in (0, 60, 120)]
    z1 = [np.array(part @ dense.kernel + dense.bias) for part in parts]
    assert_statistics(first, *pooled(z1))
    normal = [normalized(z, 1e-3) * first.gamma + first.beta for z in z1]
    hidden = [1 / (1 + np.exp(-z)) for z in normal]
    assert_statistics(second, *pooled([np.array(h @ other.kernel + other.bias) for h in hidden]))
    with unchanged(model.non_trainable_variables):
        recalibrate(model, iter(parts))


@pytest.mark.parametrize("axis", [1, -1])
def test_convolutional_layers_of_any_axis(axis, generator):
    images = generator.normal(3.0, 2.0, (20, 4, 5, 3)).astype(np.float32)
    layer = BN(axis)
    recalibrate(randomized(chain(layer, shape=[4, 5, 3])), images)
    assert_statistics(layer, *pooled([np.moveaxis(images, axis, -1)]))


def test_as_the_articles_network(digits):
    """The network of chapter 2, in Keras: the same statistics as `estimate_population`'s."""
    weights = networks.initial_weights(1, "glorot")
    ours = networks.BatchNormNetwork(weights)
    model = chain(shape=[784])
    for _ in weights[:-1]:
        model.add(layers.Dense(100, use_bias=False))
        model.add(BN())
        model.add(layers.Activation("sigmoid"))
    model.add(layers.Dense(10))
    for layer, matrix in zip(model.layers[::3], weights, strict=True):
        layer.kernel.assign(matrix)
    indices = np.arange(600).reshape(10, 60)
    recalibrate(model, (digits.train.images[batch] for batch in indices))
    digits.train.next_indices = lambda size: np.arange(size, dtype=np.int32)
    population.estimate_population(ours, digits.train, 60, 10, "pooled")
    for layer, theirs in zip(ours.layers, model.layers[1::3], strict=True):
        assert_statistics(theirs, layer.batch_norm.pop_mean, layer.batch_norm.pop_var)


def test_so_many_batches(model, inputs, capsys):
    recalibrate(model, inputs, batches=2)
    assert "2/2" in capsys.readouterr().out
    mean, variance = pooled([np.array(model.layers[0](inputs[:120]))])
    assert_statistics(model.get_layer("first"), mean, variance)


def test_nothing_else_changes(model, inputs):
    first, second = model.get_layer("first"), model.get_layer("second")
    model.compile("adam", "mse")
    model.fit(inputs, np.zeros([130, 4]), verbose=0)
    with stays_as_it_was(model, but=moving(first, second)):
        recalibrate(model, inputs)
    assert first.momentum == 0.7


def test_frozen_layers_keep_their_statistics(model, inputs, capsys):
    """And they normalise by them: the second layer sees that."""
    first, second = model.get_layer("first"), model.get_layer("second")
    first.trainable = False
    with stays_as_it_was(model, but=moving(second)):
        recalibrate(model, inputs)
    assert re.search("frozen.* first", capsys.readouterr().out)
    hidden = keras.Model(model.inputs[0], second.input)
    assert_statistics(second, *pooled([hidden.predict(inputs, verbose=0)]))


def test_a_model_inside_a_model_and_a_shared_layer(inputs, generator):
    """A layer that is called twice counts the values of both calls."""
    shared = BN()
    inner = chain(shared)
    left, right = keras.Input([6], name="left"), keras.Input([6], name="right")
    model = randomized(keras.Model({"left": left, "right": right}, [inner(left), inner(right)]))
    other = generator.normal(size=(130, 6)).astype(np.float32)
    recalibrate(model, {"left": inputs, "right": other})
    assert_statistics(shared, *pooled([inputs, other]))


def test_a_subclassed_model(inputs):
    dense, norm = layers.Dense(4), BN()
    model = Subclassed(keras.Sequential([dense, norm, layers.Activation("relu")]))
    model(inputs[:2])
    recalibrate(randomized(model), inputs)
    assert_statistics(norm, *pooled([np.array(dense(inputs))]))


def test_over_time(series):
    """A layer that is called in a loop."""
    inner = chain(BN())
    recalibrate(chain(layers.TimeDistributed(inner), shape=[7, 6]), series)
    assert_statistics(inner.layers[0], *pooled([series]))


def test_what_a_mask_hides_does_not_count(series):
    """Nor does a batch that it hides altogether."""
    series[5:, 4:] = 0.0
    layer = BN()
    recalibrate(chain(layers.Masking(), layer, shape=[7, 6]), [series, np.zeros_like(series)])
    assert_statistics(layer, *pooled([series[:5].reshape(-1, 6), series[5:, :4].reshape(-1, 6)]))


def test_an_interruption_at_the_very_end(model, inputs, monkeypatch):
    assign = recalibration._assign

    def interrupted(layer, given):
        assign(layer, given)
        if layer.name == "second":
            raise KeyboardInterrupt

    monkeypatch.setattr(recalibration, "_assign", interrupted)
    with stays_as_it_was(model), pytest.raises(KeyboardInterrupt):
        recalibrate(model, inputs)


@pytest.mark.parametrize(
    ("dtype", "mean", "deviation", "options", "of_mean", "of_variance"),
    [
        ("float16", 2.0, 3.0, {"dtype": "mixed_float16"}, 1e-4, 1e-4),
        # Two passes over a batch; E[x²] − E[x]² would leave noise of the variance.
        ("float32", 1e3, 1.0, {"synchronized": False}, 1e-6, 1e-3),
        ("float32", 1e3, 1.0, {"synchronized": True}, 1e-6, 1e-3),
        # float32 has seven digits for both.
        ("float64", 1e3, 1e-3, {"dtype": "float64"}, 1e-12, 1e-6),
    ],
)
def test_precision(dtype, mean, deviation, options, of_mean, of_variance, generator):
    inputs, layer = generator.normal(mean, deviation, (130, 6)).astype(dtype), BN(**options)
    recalibrate(chain(layer, dtype=dtype), inputs)
    inputs = inputs.astype(np.float64)
    np.testing.assert_allclose(layer.moving_mean, inputs.mean(0), rtol=of_mean)
    np.testing.assert_allclose(layer.moving_variance, inputs.var(0), rtol=of_variance)


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
    with stays_as_it_was(model), pytest.raises(error) as raised:
        recalibrate(model, ends(inputs, what))
    if error is StoppedError:
        assert "batch 1" in raised.value.__notes__[0]
    recalibrate(model, inputs)


@pytest.mark.parametrize(
    ("build", "data", "options", "message"),
    [
        (lambda: keras.Sequential([layers.Dense(2)]), [], {}, "model that is built"),
        (lambda: chain(layers.ReLU()), [], {}, "found none"),
        (lambda: chain(BN(name="only", trainable=False)), [], {},
         "only frozen ones: only"),
        (None, np.ones([0, 6]), {}, "empty dataset"),
        (None, np.ones([4, 6]), {"batches": 0}, "batches must be 1 or more, found 0"),
        (None, np.ones([1, 6]), {}, 'layer "first": expected 2 values a channel or more, found 1'),
    ],
)  # fmt: skip
def test_bad_arguments(build, data, options, message, model):
    with pytest.raises(ValueError, match=message):
        recalibrate(build() if build else model, data, **options)


# Kinds of models.


class Traced(keras.layers.Layer):
    """A block whose `call` is a `tf.function`, which keeps what it has traced."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norm = BN()

    def build(self, shape):
        self.norm.build(shape)

    @tf.function
    def call(self, inputs, training=None):
        if tf.reduce_max(inputs) > -1e9:  # turned into an operation of the graph
            inputs = inputs * 1.0
        return self.norm(inputs, training=training)


def test_a_block_that_is_a_tf_function_keeps_no_trace(inputs):
    block = Traced()
    model = chain(block)
    before, graphs = model.predict(inputs, verbose=0), block.call.experimental_get_tracing_count()
    recalibrate(model, inputs)
    assert block.call.experimental_get_tracing_count() == graphs
    assert_statistics(block.norm, *pooled([inputs]))
    for size in (1, 7, 130):  # a graph of its own each
        found = model.predict(inputs, size, verbose=0)
        np.testing.assert_allclose(found, normalized(inputs, 1e-3), atol=1e-4)
    assert not np.allclose(before, found, atol=0.1)


class Tripled(BN):
    """Normalises three times its inputs, and gives twice what comes out."""

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(3 * inputs, training=training, mask=mask)


class ByItsStatistics(BN):
    """Frozen, whatever it is told."""

    def call(self, inputs, training=None, mask=None):  # noqa: ARG002
        return super().call(inputs, training=False, mask=mask)


class OfItsOwn(BN):
    """Follows its batches with a decay of its own."""

    def call(self, inputs, training=None, mask=None):
        if training:
            self.moving_mean.assign(0.9 * self.moving_mean + 0.1 * tf.reduce_mean(inputs, 0))
        return super().call(inputs, training=False, mask=mask)


def test_a_kind_of_bn_is_measured_as_it_normalises(inputs, capsys):
    frozen, tripled, last = ByItsStatistics(name="frozen"), Tripled(), BN()
    recalibrate(chain(frozen, tripled, last), inputs)
    scale = np.float32(1 / np.sqrt(1 + 1e-3))
    assert_statistics(frozen, np.zeros(6), np.ones(6))
    assert re.search("left as .* frozen", capsys.readouterr().out)
    assert_statistics(tripled, *pooled([3 * scale * inputs]))
    outputs = [2 * normalized(3 * scale * inputs[i : i + 60], 1e-3) for i in (0, 60, 120)]
    assert_statistics(last, *pooled(outputs))


def test_a_kind_of_bn_that_can_not_be_measured(inputs):
    model = chain(OfItsOwn(name="own"))
    message = '"own": expected moving statistics that follow'
    with stays_as_it_was(model), pytest.raises(ValueError, match=message):
        recalibrate(model, inputs)


def test_renorm(inputs):
    """All of its statistics are set, so that a step of training moves them as little as any."""
    if "renorm" not in BN().get_config():
        pytest.skip("this Keras has no renorm")
    first, second = BN(renorm=True), BN()
    model = chain(first, second)
    recalibrate(model, inputs)
    mean, variance = pooled([inputs])
    deviation = np.sqrt(variance + 1e-3)
    assert_statistics(first, mean, variance)
    np.testing.assert_allclose(first.renorm_mean, mean, rtol=1e-4)
    np.testing.assert_allclose(first.renorm_stddev, deviation, rtol=1e-4)
    np.testing.assert_allclose(first.moving_stddev, deviation, rtol=1e-4)
    batches = [normalized(inputs[i : i + 60], 1e-3) for i in (0, 60, 120)]
    assert_statistics(second, *pooled(batches))
    model(inputs, training=True)
    np.testing.assert_allclose(first.moving_variance, variance, rtol=1e-3)


def test_statistics_that_were_spoilt(model, inputs):
    recalibrate(model, inputs)
    expected = values(model.weights)
    for layer in (model.get_layer("first"), model.get_layer("second")):
        layer.moving_mean.assign(np.full(layer.moving_mean.shape, np.nan))
        layer.moving_variance.assign(np.full(layer.moving_mean.shape, -1.0))
    recalibrate(model, inputs)
    assert_all_close(model.weights, expected, rtol=1e-6)


class Recurrent(layers.Layer):
    """A cell of a recurrent layer, with BN inside."""

    def __init__(self, **options):
        super().__init__(**options)
        self.state_size = 6
        self.norm = BN()

    def build(self, shape):
        self.norm.build(shape)

    def call(self, inputs, states, training=None):
        outputs = self.norm(inputs, training=training)
        return outputs, [outputs + 0 * states[0]]


def test_inside_a_loop_of_the_graph(series):
    cell = Recurrent()
    recalibrate(chain(layers.RNN(cell), shape=[7, 6]), series)
    twice = series[:, :1]  # Keras calls the cell on the first step once more, before the loop
    assert_statistics(cell.norm, *pooled([np.concatenate([series, twice], axis=1)]))


class Eager(Subclassed):
    """Can't be put into a graph."""

    def call(self, inputs, training=None):
        float(inputs.numpy()[0, 0])
        return super().call(inputs, training)


def test_a_model_without_a_graph(inputs):
    model = Eager(BN())
    model(inputs[:2])
    recalibrate(model, inputs)
    assert_statistics(model.body, *pooled([inputs]))


class Counting(layers.Layer):
    """Has a loss, and counts how often Python calls it."""

    calls, everywhere = 0, 0

    def call(self, inputs):
        self.calls += 1
        Counting.everywhere += 1
        self.add_loss(tf.reduce_mean(inputs))
        return inputs


def test_losses_and_counters_of_layers_are_as_they_were(inputs):
    """And one graph serves all batches."""
    counting = Counting()
    model = chain(counting, BN())
    model(inputs)
    calls, everywhere = counting.calls, Counting.everywhere
    losses = list(map(float, model.losses))
    recalibrate(model, (inputs[i : i + 10] for i in range(0, 130, 10)))
    assert counting.calls == calls
    assert list(map(float, model.losses)) == losses
    assert Counting.everywhere - everywhere < 3


def test_a_model_is_forgotten_after_it(inputs):
    """TensorFlow keeps the functions of NumPy's that a graph calls."""
    model = chain(BN())
    recalibrate(model, inputs)
    gone = weakref.ref(model)
    del model
    keras.backend.clear_session()
    gc.collect()
    assert gone() is None


@pytest.mark.filterwarnings("ignore:`build..` was called on layer:UserWarning")
def test_an_unbuilt_layer(inputs):
    model = Subclassed(BN())
    model.never = BN(name="never")
    model(inputs[:2])
    with pytest.raises(ValueError, match='"never" is not'):
        recalibrate(model, inputs)


class Picky(layers.Layer):
    def compute_output_shape(self, shape):
        return shape

    def call(self, inputs):
        raise RuntimeError("no such day")


def test_what_the_model_says_is_said_in_short(inputs):
    with pytest.raises(ValueError, match="batch 1: no such day") as raised:
        recalibrate(chain(Picky(), BN()), inputs)
    assert raised.value.__suppress_context__


def test_silence(model, inputs, capsys):
    recalibrate(model, inputs, verbose=0)
    assert capsys.readouterr().out == ""
    recalibrate(model, inputs, verbose=2)
    assert re.search(r"\b2 BN layers .*\b3 batches", capsys.readouterr().out)
