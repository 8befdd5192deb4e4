"""`checks.population`: wrong wrappers by name, and right ones written differently."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial import batch_norm, checks
from bn_tutorial.checks import population_statistics, smoothing
from bn_tutorial.checks.mistakes import agree


def smooth(old, new, decay):
    return decay * old + (1 - decay) * new


def moments(inputs, pop):
    return tf.nn.moments(inputs, [0])


def population(inputs, pop):
    return pop


def build(
    training=moments,
    evaluation=population,
    rule=smooth,
    kept=lambda v, e, m: v,
    moves=False,
    variance=lambda v, e: v,
    end=lambda outputs, pop_mean, pop_var: (outputs, pop_mean, pop_var),
):
    """A wrapper with a mistake."""

    def function(inputs, gamma, beta, pop_mean, pop_var, is_training, decay, epsilon):
        pop = pop_mean, pop_var
        own = tf.nn.moments(inputs, [0])
        if is_training or moves:
            count = inputs.shape[0]
            new = rule(pop_mean, own[0], decay), rule(pop_var, kept(own[1], epsilon, count), decay)
        else:
            new = pop
        mean, var = training(inputs, pop) if is_training else evaluation(inputs, pop)
        outputs = tf.nn.batch_normalization(
            inputs, mean, variance(var, epsilon), beta, gamma, epsilon
        )
        return end(outputs, *new)

    return function


def numpy(inputs, gamma, beta, pop_mean, pop_var, is_training, decay, epsilon):
    inputs, gamma, beta, pop_mean, pop_var = (
        np.asarray(value, np.float64) for value in (inputs, gamma, beta, pop_mean, pop_var)
    )
    mean, variance = pop_mean, pop_var
    if is_training:
        mean, variance = inputs.mean(axis=0), inputs.var(axis=0)
        pop_mean = pop_mean - (1 - decay) * (pop_mean - mean)
        pop_var = pop_var - (1 - decay) * (pop_var - variance)
    return [gamma * (inputs - mean) / np.sqrt(variance + epsilon) + beta, pop_mean, pop_var]


def with_keras(inputs, gamma, beta, pop_mean, pop_var, is_training, decay, epsilon):
    layer = keras.layers.BatchNormalization(momentum=decay, epsilon=epsilon)
    layer.build(inputs.shape)
    layer.set_weights([gamma, beta, pop_mean, pop_var])
    outputs = layer(inputs, training=is_training)
    return outputs, layer.moving_mean, layer.moving_variance


def with_the_package(inputs, gamma, beta, pop_mean, pop_var, is_training, decay, epsilon):
    variables = batch_norm.BatchNormVariables(inputs.shape[1])
    names = ("gamma", "beta", "pop_mean", "pop_var")
    for name, value in zip(names, (gamma, beta, pop_mean, pop_var), strict=True):
        getattr(variables, name).assign(value)
    outputs = batch_norm.batch_norm_wrapper(inputs, variables, is_training, decay, epsilon)
    return outputs, variables.pop_mean, variables.pop_var


def unbiased(variance, epsilon, count):
    return variance * count / (count - 1)


def updated_in_evaluation(inputs, gamma, beta, pop_mean, pop_var, is_training, decay, epsilon):
    """In evaluation "new" and "old" are the same, whichever is used."""
    mean, variance = tf.nn.moments(inputs, [0])
    new_mean = smooth(pop_mean, mean, decay if is_training else 1.0)
    new_var = smooth(pop_var, variance, decay if is_training else 1.0)
    if not is_training:
        mean, variance = new_mean, new_var
    outputs = gamma * (inputs - mean) / tf.sqrt(variance + epsilon) + beta
    return outputs, new_mean, new_var


RIGHT = [
    build(),
    tf.function(build()),
    numpy,
    with_keras,
    with_the_package,
    updated_in_evaluation,
    build(kept=unbiased),
]


@pytest.mark.parametrize("function", RIGHT, ids=lambda f: getattr(f, "__name__", "function"))
def test_right_ones_pass(function):
    result = checks.population(function)
    assert result.passed, result


def test_both_variances_pass_and_are_told_apart():
    assert "keeps the biased variance" in " ".join(str(checks.population(build())).split())
    result = checks.population(build(kept=unbiased))
    assert "keeps the unbiased variance, as the paper and PyTorch" in " ".join(str(result).split())


def with_memory(from_the_first=False):
    """A population of its own, whatever it is given."""
    kept = {}

    def function(inputs, gamma, beta, pop_mean, pop_var, is_training, decay, epsilon):
        start = (pop_mean, pop_var) if from_the_first else (0.0 * pop_mean, 0.0 * pop_var + 1.0)
        mean, variance = kept.setdefault("pop", start)
        outputs, *kept["pop"] = build()(
            inputs, gamma, beta, mean, variance, is_training, decay, epsilon
        )
        return outputs, *kept["pop"]

    return function


def both(mean, variance):
    return lambda inputs, pop: (mean, variance)


def half(inputs, pop):
    return [(own + other) / 2 for own, other in zip(moments(inputs, pop), pop, strict=True)]


def moved(inputs, pop):
    return [smooth(o, n, 0.8) for o, n in zip(pop, moments(inputs, pop), strict=True)]


def clipped(inputs, pop):
    return tf.minimum(pop[0], 2 * tf.reduce_max(inputs, 0)), pop[1] + tf.math.reduce_std(inputs, 0)


def last(outputs, pop_mean, pop_var):
    return pop_mean, pop_var, outputs


BESTIARY = {
    "decay and 1 − decay swapped": [
        build(rule=lambda old, new, decay: decay * new + (1 - decay) * old),
        build(rule=lambda old, new, decay: old + decay * (new - old)),
    ],
    "the population does not move": [
        build(rule=lambda old, new, decay: old),
        build(rule=lambda old, new, decay: smooth(old, new, 1.0)),
    ],
    "the batch replaces the population": [
        build(rule=lambda old, new, decay: new),
        build(rule=lambda old, new, decay: smooth(old, new, 0.0)),
    ],
    "a population that starts wrong": [
        build(rule=lambda old, new, decay: (1 - decay) * new),
        build(rule=lambda old, new, decay: smooth(tf.ones_like(old), new, decay)),
        with_memory(),
        with_memory(from_the_first=True),
    ],
    "1 − decay is missing": [
        build(rule=lambda old, new, decay: decay * old + new),
        build(rule=lambda old, new, decay: new + old - (1 - decay) * old),
    ],
    "decay is missing": [
        build(rule=lambda old, new, decay: old + (1 - decay) * new),
        build(rule=lambda old, new, decay: old + new - decay * new),
    ],
    "decay is not used": [
        build(rule=lambda old, new, decay: smooth(old, new, 0.99)),
        build(rule=lambda old, new, decay: (old + new) / 2),
    ],
    "the standard deviation kept in pop_var": [
        build(kept=lambda v, e, m: tf.sqrt(v)),
        build(kept=lambda v, e, m: tf.sqrt(v + e)),
        build(end=lambda outputs, pop_mean, pop_var: (outputs, pop_mean, tf.sqrt(pop_var))),
    ],
    "epsilon kept in pop_var": [
        build(kept=lambda v, e, m: v + e),
        build(kept=lambda v, e, m: tf.maximum(v, 0.0) + e),
    ],
    "the population moved in evaluation": [
        build(moves=True),
        build(moves=True, evaluation=moved),
        build(evaluation=moved),
    ],
    "normalising by the population in training": [
        build(training=population),
        build(training=moved),
    ],
    "normalising by the batch in evaluation": [
        build(evaluation=moments),
        lambda *a: build()(*a[:5], True, *a[6:]),
        build(evaluation=lambda inputs, pop: (tf.reduce_mean(inputs, 0), pop[1])),
    ],
    "a result that depends on who shares the batch in evaluation": [
        build(evaluation=half),
        build(evaluation=clipped),
    ],
    "pop_mean and pop_var swapped": [
        build(end=lambda outputs, pop_mean, pop_var: (outputs, pop_var, pop_mean)),
        build(evaluation=lambda inputs, pop: pop[::-1]),
    ],
    "the standard deviation where the variance belongs": [
        build(variance=lambda v, e: tf.sqrt(v)),
        build(evaluation=lambda inputs, pop: (pop[0], tf.sqrt(pop[1]))),
    ],
    "the variance where the standard deviation belongs": [
        build(variance=lambda v, e: (v + e) ** 2 - e),
        build(evaluation=lambda inputs, pop: (pop[0], pop[1] ** 2 - 0.5)),
    ],
    "epsilon forgotten": [
        build(variance=lambda v, e: v - e),
        build(evaluation=lambda inputs, pop: (pop[0], pop[1] - 0.5)),
    ],
    "the unbiased variance": [
        build(
            training=lambda x, pop: (tf.reduce_mean(x, 0), tf.math.reduce_variance(x, 0) * 5 / 4)
        ),
        lambda *a: build(variance=lambda v, e: v * a[0].shape[0] / (a[0].shape[0] - 1))(*a),
    ],
    "the wrong axis": [
        build(training=lambda x, pop: tf.nn.moments(x, [1], keepdims=True)),
        build(training=lambda x, pop: tf.nn.moments(x, [0, 1])),
    ],
    "statistics as constants": [
        build(training=lambda x, pop: map(tf.stop_gradient, tf.nn.moments(x, [0]))),
        build(training=lambda x, pop: (np.mean(x, 0), np.var(x, 0))),
    ],
    "a wrong value": [
        build(rule=lambda old, new, decay: -smooth(old, new, decay)),
        build(evaluation=lambda inputs, pop: (pop[0] * 1.1, pop[1] * 1.2)),
    ],
    "shape": [build(end=last), build(end=lambda o, m, v: (o, m, tf.reduce_mean(v)))],
    "number of results": [build(end=lambda o, m, v: o), build(end=lambda o, m, v: (o, (m, v)))],
    "a result is missing": [
        build(end=lambda o, m, v: (o, None, None)),
        lambda *a: build()(*a) if a[5] else None,
        lambda *a: (build()(*a)[0], *((a[3], None) if not a[5] else build()(*a)[1:])),
    ],
    "an exception": [
        lambda x, g, b, pop_mean, pop_var, *rest: pop_mean.assign(pop_mean),
        build(evaluation=lambda x, pop: pop if x.shape[0] > 1 else 1 / 0),
    ],
    "NaN": [
        build(evaluation=lambda x, pop: (pop[0], -pop[1])),
        build(end=lambda o, m, v: (o, m / 0.0, v)),
    ],
    "not written yet": [lambda *a: None, lambda *a: (None, None, None)],
}


@pytest.mark.parametrize(
    ("mistake", "function"),
    [(mistake, function) for mistake, functions in BESTIARY.items() for function in functions],
)
def test_it_names_the_mistake(mistake, function):
    with np.errstate(all="ignore"):
        result = checks.population(function)
    assert not result.passed
    assert result.mistake == mistake, result


def test_each_mistake_has_two_beasts():
    assert min(map(len, BESTIARY.values())) >= 2


def test_numbers_of_one_unit():
    wrong = build(rule=lambda old, new, decay: smooth(new, old, decay))
    text = " ".join(str(checks.population(wrong)).split())
    assert "decay 0.8: pop_mean was" in text
    assert "the batch's mean is" in text


def test_assigning_to_a_tensor_is_explained():
    text = str(checks.population(BESTIARY["an exception"][0]))
    assert "Return the new value." in text


def test_no_two_updates_look_alike():
    """A fixed decay of 0.999 is near none: only three times the tolerance."""
    arguments = population_statistics._arguments(5, 3)
    exact = population_statistics.in_float64(arguments)
    model = smoothing.model_of_pop_var
    mistakes = [*smoothing.UPDATES, *smoothing.KEPT]
    values = [(mistake.name, model(**exact, **mistake.changes)) for mistake in mistakes]
    right = population_statistics.right_results(arguments)["new pop_var"]
    assert agree(model(**exact), right)
    for mistake, value in values:
        assert not agree(value, right, 3e-4), mistake
        for other, its_value in values:
            assert mistake == other or not agree(value, its_value, 3e-4), (mistake, other)
