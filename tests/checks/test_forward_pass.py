"""`checks.forward`: a bestiary of wrong functions, and right ones written differently."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial import batch_norm, checks
from bn_tutorial.checks import forward_pass
from bn_tutorial.checks.mistakes import agree
from bn_tutorial.checks.normalizing import SHARED

mean_of, square, sqrt = tf.reduce_mean, tf.square, tf.sqrt


def one_pass_with_shift(inputs, gamma, beta, epsilon):
    shifted = inputs - inputs[0]
    mean = mean_of(shifted, 0)
    variance = mean_of(square(shifted), 0) - square(mean)
    return gamma * (shifted - mean) / sqrt(variance + epsilon) + beta


def plain_numpy(inputs, gamma, beta, epsilon):
    mean, variance = np.mean(inputs, axis=0), np.var(inputs, axis=0)
    return gamma * (inputs - mean) / np.sqrt(variance + epsilon) + beta


def numpy_alone(inputs, gamma, beta, epsilon):
    inputs, gamma, beta = map(np.array, (inputs, gamma, beta))
    return gamma * (inputs - inputs.mean(0)) / np.sqrt(inputs.var(0) + epsilon) + beta


def in_float64(inputs, gamma, beta, epsilon):
    inputs, gamma, beta = (np.asarray(value, np.float64) for value in (inputs, gamma, beta))
    variance = np.square(inputs).mean(axis=0) - np.square(inputs.mean(axis=0))
    return gamma * (inputs - inputs.mean(axis=0)) / np.sqrt(variance + epsilon) + beta


def einsum(inputs, gamma, beta, epsilon):
    share = 1 / tf.cast(tf.shape(inputs)[0], inputs.dtype)
    centered = inputs - share * tf.einsum("nu->u", inputs)
    variance = share * tf.einsum("nu,nu->u", centered, centered)
    return tf.einsum("nu,u->nu", centered, gamma * tf.math.rsqrt(variance + epsilon)) + beta


def loop(inputs, gamma, beta, epsilon):
    columns = []
    for unit in range(inputs.shape[1]):
        column = inputs[:, unit]
        centered = column - mean_of(column)
        columns.append(
            gamma[unit] * centered / sqrt(mean_of(square(centered)) + epsilon) + beta[unit]
        )
    return tf.stack(columns, axis=1)


def python_lists(inputs, gamma, beta, epsilon):
    columns = []
    for column, scale, shift in zip(
        np.transpose(inputs).tolist(), gamma.numpy(), beta.numpy(), strict=True
    ):
        mean = sum(column) / len(column)
        variance = sum((value - mean) ** 2 for value in column) / len(column)
        columns.append([scale * (v - mean) / (variance + epsilon) ** 0.5 + shift for v in column])
    return np.transpose(columns).tolist()


class WithKeras:
    def __call__(self, inputs, gamma, beta, epsilon):
        layer = keras.layers.BatchNormalization(epsilon=epsilon)
        layer.build(inputs.shape)
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)
        return layer(inputs, training=True)


def standard_deviation(inputs, gamma, beta, epsilon):
    deviation = sqrt(square(tf.math.reduce_std(inputs, 0)) + epsilon)
    return tf.add(tf.multiply((inputs - mean_of(inputs, 0)) / deviation, gamma), beta)


def transposed(inputs, gamma, beta, epsilon):
    columns = tf.transpose(inputs)
    mean, variance = tf.nn.moments(columns, [1], keepdims=True)
    normalized = (columns - mean) * tf.math.rsqrt(variance + epsilon)
    return tf.transpose(normalized) * gamma + beta


def normalized_in_numpy(inputs, gamma, beta, epsilon):
    array = inputs.numpy()
    return gamma * ((array - array.mean(0)) / np.sqrt(array.var(0) + epsilon)) + beta


RIGHT = [
    batch_norm.batch_norm_by_hand,
    batch_norm.batch_norm_builtin,
    tf.function(batch_norm.batch_norm_by_hand),
    one_pass_with_shift,
    numpy_alone,
    in_float64,
    einsum,
    loop,
    python_lists,
    WithKeras(),
    normalized_in_numpy,
    standard_deviation,
    transposed,
]


@pytest.mark.parametrize("function", RIGHT, ids=lambda f: getattr(f, "__name__", "function"))
def test_right_ones_pass(function):
    result = checks.forward(function, hint=True)
    assert result.passed, result
    assert result.mistake is None
    assert "Where to look" not in str(result)


def build(
    moments=lambda x: tf.nn.moments(x, [0]),
    spread=lambda v: v,
    deviation=lambda v, e: sqrt(v + e),
    end=lambda n, g, b: g * n + b,
    center=True,
):
    """A function with a mistake, in TensorFlow."""

    def function(inputs, gamma, beta, epsilon):
        mean, variance = moments(inputs)
        centered = inputs - mean if center else inputs
        return end(centered / deviation(spread(variance), epsilon), gamma, beta)

    return function


def builtin(statistics=lambda x: tf.nn.moments(x, [0]), swap=False):
    """A mistake before `tf.nn.batch_normalization`."""

    def function(inputs, gamma, beta, epsilon):
        mean, variance = statistics(inputs)
        affine = (gamma, beta) if swap else (beta, gamma)
        return tf.nn.batch_normalization(inputs, mean, variance, *affine, epsilon)

    return function


def numpy_std(inputs, gamma, beta, epsilon, outside=0.0, **options):
    inputs = np.array(inputs)
    deviation = np.std(inputs, axis=0, **options) + outside * epsilon
    return gamma.numpy() * (inputs - inputs.mean(axis=0)) / deviation + beta.numpy()


def numpy_mean_of_all(inputs, gamma, beta, epsilon):
    return gamma * (inputs - np.mean(inputs)) / np.sqrt(np.var(inputs) + epsilon) + beta


def variance_of_all(inputs, gamma, beta, epsilon):
    centered = inputs - mean_of(inputs, axis=0)
    return gamma * centered / sqrt(mean_of(square(centered)) + epsilon) + beta


def one_pass(inputs, gamma, beta, epsilon):
    mean = mean_of(inputs, 0)
    return gamma * (inputs - mean) / sqrt(mean_of(inputs**2, 0) - mean**2 + epsilon) + beta


def one_pass_in_numpy(inputs, gamma, beta, epsilon):
    variance = np.mean(np.square(inputs), axis=0) - np.square(np.mean(inputs, axis=0))
    mean = np.mean(inputs, axis=0)
    with np.errstate(invalid="ignore"):
        return np.array(gamma * (inputs - mean) / np.sqrt(variance + epsilon) + beta)


def numpy_in_the_midst(inputs, gamma, beta, epsilon):
    mean, variance = np.mean(inputs, axis=0), np.var(inputs, axis=0)
    return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, epsilon)


def stopped(inputs, gamma, beta, epsilon):
    mean, variance = map(tf.stop_gradient, tf.nn.moments(inputs, [0]))
    return gamma * (inputs - mean) / sqrt(variance + epsilon) + beta


def variance_stopped(inputs, gamma, beta, epsilon):
    mean, variance = tf.nn.moments(inputs, [0])
    return gamma * (inputs - mean) / sqrt(tf.stop_gradient(variance) + epsilon) + beta


def for_one_size(inputs, gamma, beta, epsilon):
    mean = tf.reduce_sum(inputs, 0) / 5
    return gamma * (inputs - mean) / sqrt(mean_of(square(inputs - mean), 0) + epsilon) + beta


def raises(error):
    def function(inputs, gamma, beta, epsilon):
        raise error

    return function


def returns(value):
    return lambda inputs, gamma, beta, epsilon: value


def right_but(change):
    return lambda *arguments: change(batch_norm.batch_norm_by_hand(*arguments))


def axis(*axes, keepdims=True):
    return lambda x: tf.nn.moments(x, list(axes), keepdims=keepdims)


BESTIARY = {
    "the wrong axis": [
        build(axis(1)),
        build(axis(1, keepdims=False)),
        numpy_mean_of_all,
        variance_of_all,
        builtin(axis(0, 1)),
        lambda x, g, b, e: g * keras.ops.layer_normalization(x, epsilon=e) + b,
    ],
    "the standard deviation where the variance belongs": [
        builtin(lambda x: (mean_of(x, 0), tf.math.reduce_std(x, 0))),
        build(deviation=lambda v, e: sqrt(sqrt(v + e))),
    ],
    "the variance where the standard deviation belongs": [
        build(deviation=lambda v, e: v + e),
        lambda x, g, b, e: g * (x - np.mean(x, 0)) / np.var(x, 0) + b,
    ],
    "epsilon outside the root": [
        build(deviation=lambda v, e: sqrt(v) + e),
        lambda *arguments: numpy_std(*arguments, outside=1.0),
    ],
    "epsilon forgotten": [
        build(deviation=lambda v, e: sqrt(v)),
        lambda *arguments: numpy_std(*arguments),
        build(deviation=lambda v, e: sqrt(v + 1e-3)),
        build(deviation=lambda v, e: sqrt(v + 1e-5)),
    ],
    "epsilon added twice": [
        builtin(lambda x: (mean_of(x, 0), tf.math.reduce_variance(x, 0) + forward_pass.EPSILON)),
        build(deviation=lambda v, e: sqrt(v + e + e)),
    ],
    "the unbiased variance": [
        build(spread=lambda v: v * 5 / 4),
        lambda x, g, b, e: (
            g * (x - np.mean(x, 0)) / np.sqrt(np.var(np.array(x), 0, ddof=1) + np.float32(e)) + b
        ),
    ],
    "a sum where a mean belongs": [
        build(lambda x: (mean_of(x, 0), tf.reduce_sum(square(x - mean_of(x, 0)), 0))),
        build(spread=lambda v: v * 5),
    ],
    "the mean square where the variance belongs": [
        builtin(lambda x: (mean_of(x, 0), mean_of(x**2, 0))),
        lambda x, g, b, e: g * (x - np.mean(x, 0)) / np.sqrt(np.mean(np.square(x), 0) + e) + b,
    ],
    "the mean is not subtracted": [
        build(center=False),
        lambda x, g, b, e: g * x / tf.sqrt(np.var(x, 0) + e) + b,
    ],
    "brackets are missing": [
        lambda x, g, b, e: g * (x - mean_of(x, 0) / sqrt(tf.math.reduce_variance(x, 0) + e)) + b,
        lambda x, g, b, e: g * (x - np.mean(x, 0) / np.sqrt(np.var(x, 0) + e)) + b,
    ],
    "the division is missing": [
        build(deviation=lambda v, e: 1.0),
        lambda x, g, b, e: g * (x - np.mean(x, 0)) + b,
    ],
    "multiplied by the standard deviation": [
        build(deviation=lambda v, e: 1 / sqrt(v + e)),
        lambda x, g, b, e: g * (x - mean_of(x, 0)) * tf.math.reduce_std(x, 0) + b,
    ],
    "gamma and beta swapped": [
        build(end=lambda n, g, b: b * n + g),
        builtin(swap=True),
    ],
    "gamma is not used": [
        build(end=lambda n, g, b: n + b),
        lambda x, g, b, e: batch_norm.batch_norm_builtin(x, tf.ones_like(g), b, e),
    ],
    "beta is not used": [
        build(end=lambda n, g, b: g * n),
        lambda x, g, b, e: batch_norm.batch_norm_builtin(x, g, 0 * b, e),
    ],
    "gamma and beta are not used": [
        build(end=lambda n, g, b: n),
        lambda x, g, b, e: keras.layers.BatchNormalization(epsilon=e)(x, training=True),
    ],
    "beta is scaled": [
        build(end=lambda n, g, b: g * (n + b)),
        lambda x, g, b, e: batch_norm.batch_norm_builtin(x, g, g * b, e),
    ],
    "the sign of beta": [
        build(end=lambda n, g, b: g * n - b),
        lambda x, g, b, e: batch_norm.batch_norm_builtin(x, g, -b, e),
    ],
    "cancellation": [one_pass, one_pass_in_numpy],
    "statistics as constants": [
        numpy_in_the_midst,
        stopped,
        variance_stopped,
        plain_numpy,
    ],
    "a wrong value": [
        for_one_size,
        right_but(lambda outputs: outputs[::-1]),
        right_but(tf.zeros_like),
        right_but(tf.sin),
    ],
    "shape": [
        right_but(lambda outputs: outputs[:, 0]),
        right_but(tf.transpose),
        right_but(mean_of),
        returns([]),
    ],
    "dtype": [
        right_but(lambda outputs: tf.cast(outputs, tf.int32)),
        right_but(lambda outputs: tf.cast(outputs, tf.float16)),
        right_but(lambda outputs: tf.cast(outputs, tf.bfloat16)),
        returns("batch normalization"),
        returns([[1.0], [2.0, 3.0]]),
        returns({"outputs": 1.0}),
        returns(object()),
        right_but(lambda outputs: keras.Input([3])),
        returns(batch_norm.batch_norm_by_hand),
    ],
    "NaN": [
        right_but(lambda outputs: outputs / 0.0),
        right_but(lambda outputs: tf.sqrt(-tf.abs(outputs))),
    ],
    "an exception": [
        raises(ValueError("no")),
        raises(SystemExit(1)),
        lambda inputs: inputs,
        lambda inputs, gamma, beta, epsilon: inputs.mean(axis=0),
        lambda inputs, gamma, beta, epsilon: undefined,  # noqa: F821
        lambda inputs, *others: tf.constant(1.0, tf.float64) * inputs,
        raises(type("Odd", (Exception,), {"__str__": lambda self: 1 / 0})()),
    ],
    "not written yet": [returns(None), returns(NotImplemented), raises(NotImplementedError)],
    "not a function": [None, batch_norm.batch_norm_by_hand.__name__],
}


@pytest.mark.parametrize(
    ("mistake", "function"),
    [(mistake, function) for mistake, functions in BESTIARY.items() for function in functions],
)
def test_it_names_the_mistake(mistake, function):
    result = checks.forward(function)
    assert not result.passed
    assert result.mistake == mistake, result
    assert str(result).startswith(f"forward: {mistake}\n")


def test_each_mistake_has_two_beasts():
    assert min(map(len, BESTIARY.values())) >= 2


def test_two_mistakes_at_once():
    wrong = build(deviation=lambda v, e: sqrt(v) + e, end=lambda n, g, b: b * n + g)
    result = checks.forward(wrong)
    assert result.mistake == "epsilon outside the root"
    assert "a second mistake, gamma and beta swapped" in " ".join(str(result).split())


def test_numbers_of_the_unit_that_is_most_wrong():
    text = str(checks.forward(build(end=lambda n, g, b: g * n)))
    assert "Expected: outputs with mean" in text
    assert "Found: mean" in text


def test_hint():
    wrong = build(end=lambda n, g, b: g * n)
    assert "Where to look: notebook 1 (01_naive_batch_norm.ipynb), “The formula”." in str(
        checks.forward(wrong, hint=True)
    )
    assert "Where to look" not in str(checks.forward(wrong))
    assert "Where to look" in str(checks.forward(returns(None), hint=True))


def test_advice_on_an_exception():
    text = str(checks.forward(lambda inputs, gamma, beta, epsilon: inputs.var(axis=0)))
    assert "AttributeError" in text
    assert "tensors have no such method" in text


def test_an_exception_is_shown_with_type_and_text():
    text = str(checks.forward(raises(ValueError("the text"))))
    assert "it raised ValueError: the text" in text
    assert "inputs [5, 3]" in text


def test_interruptions_pass():
    with pytest.raises(KeyboardInterrupt):
        checks.forward(raises(KeyboardInterrupt))


def test_what_still_holds():
    text = str(checks.forward(build(deviation=lambda v, e: 3.0 * sqrt(v + e))))
    assert "Each unit's mean is right, its standard deviation is not" in text


def test_global_random_state_is_left_alone():
    np.random.seed(1)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    checks.forward(batch_norm.batch_norm_by_hand)
    assert np.random.random() == expected  # noqa: NPY002


def test_the_model_without_mistakes_is_the_package_s():
    arguments = forward_pass.batch(6, 4, seed=5)
    model = forward_pass.model_of_outputs(**forward_pass.in_float64(arguments))
    np.testing.assert_allclose(model, forward_pass.right_outputs(arguments), rtol=1e-12)


def test_no_two_mistakes_look_alike():
    """Nor does one look right; with ten times the tolerance."""
    exact = forward_pass.in_float64(forward_pass.batch(5, 3))
    mistakes, values = [], []
    for mistake in [*SHARED, *forward_pass.STATISTICS]:
        with np.errstate(all="ignore"):
            try:
                value = forward_pass.model_of_outputs(**exact, **mistake.changes)
            except ValueError:  # shapes that fit only a square
                continue
        mistakes.append(mistake.name)
        values.append(value)
    right = forward_pass.model_of_outputs(**exact)
    for name, value in zip(mistakes, values, strict=True):
        assert not agree(value, right, 1e-3), name
        for other, its_value in zip(mistakes, values, strict=True):
            if name != other:
                assert not agree(value, its_value, 1e-3), (name, other)


def test_it_says_whether_the_gradient_was_looked_at():
    assert "gradient is right" in str(checks.forward(batch_norm.batch_norm_by_hand))
    for function in (numpy_alone, normalized_in_numpy):
        assert "gradient was not looked at" in " ".join(str(checks.forward(function)).split())
