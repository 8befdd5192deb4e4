"""The exercises' formulas, and the mistakes in them that the checks know by name.

A formula takes what the reader's function takes, in float64. Its options are the parts in which
people go wrong; a mistake is such a part as one writes it wrongly, in one way or several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Array = np.ndarray
# By option of a formula and by name of a mistake: what is put in for the option.
Mistakes = Mapping[str, Mapping[str, Sequence[object]]]


def over(*axes: int, keepdims: bool = False, ddof: int = 0) -> Callable:
    """A function that takes mean and variance over these axes."""
    return lambda x: (x.mean(axes, keepdims=keepdims), x.var(axes, keepdims=keepdims, ddof=ddof))


over_batch = over(0)


def root(variance: Array, epsilon: float) -> Array:
    """What BN divides by."""
    return np.sqrt(variance + epsilon)


def normalize(
    *arguments: Array,
    channels: int = -1,
    statistics: Callable = over_batch,
    divisor: Callable = root,
    outputs: Callable = lambda x, m, d, g, b: g * (x - m) / d + b,
) -> Array:
    """Batch normalization; `channels` is the axis that gamma and beta belong to."""
    inputs, gamma, beta, epsilon = arguments
    inputs = np.moveaxis(inputs, channels, -1)
    mean, variance = statistics(inputs)
    normalized = outputs(inputs, mean, divisor(variance, epsilon), gamma, beta)
    return np.moveaxis(normalized, -1, channels)


DIVISOR = {
    "epsilon outside the root": [lambda v, e: np.sqrt(v) + e],
    "epsilon forgotten": [lambda v, e: np.sqrt(v), lambda v, e: np.sqrt(v + 1e-3)],
    "the variance where the standard deviation belongs": [lambda v, e: v + e, lambda v, e: v],
    "the standard deviation where the variance belongs": [lambda v, e: np.sqrt(np.sqrt(v) + e)],
    "multiplied by the standard deviation": [lambda v, e: 1 / np.sqrt(v + e)],
    "the division is missing": [lambda v, e: 1.0],
}
OUTPUTS = {
    "the mean is not subtracted": [lambda x, m, d, g, b: g * x / d + b],
    "brackets are missing": [lambda x, m, d, g, b: g * (x - m / d) + b],
    "gamma and beta swapped": [lambda x, m, d, g, b: b * (x - m) / d + g],
    "gamma is not used": [lambda x, m, d, g, b: (x - m) / d + b],
    "beta is not used": [lambda x, m, d, g, b: g * (x - m) / d],
    "gamma and beta are not used": [lambda x, m, d, g, b: (x - m) / d],
    "beta is scaled": [lambda x, m, d, g, b: g * ((x - m) / d + b)],
    "the sign of beta": [lambda x, m, d, g, b: g * (x - m) / d - b],
}
FORWARD: Mistakes = {
    "statistics": {
        "the wrong axis": [
            over(1),
            over(1, keepdims=True),
            over(0, 1),
            lambda x: (x.mean(0), x.var()),
            lambda x: (x.mean(0), x.var(0).mean()),
            lambda x: (x.mean(), x.var(0)),
            lambda x: (x.mean(), np.square(x - x.mean()).mean(0)),
        ],
        "the unbiased variance": [lambda x: (x.mean(0), np.divide(x.var(0) * len(x), len(x) - 1))],
        "a sum where a mean belongs": [lambda x: (x.mean(0), x.var(0) * len(x))],
        "the mean square where the variance belongs": [lambda x: (x.mean(0), (x**2).mean(0))],
    },
    "divisor": DIVISOR,
    "outputs": OUTPUTS,
}
CONVOLUTION: Mistakes = {
    "statistics": {
        "statistics over the batch only": [
            over(0),
            lambda x: (x.mean(0), np.square(x - x.mean(0)).mean((0, 1, 2))),
            lambda x: (x.mean((0, 1, 2)), np.square(x - x.mean((0, 1, 2))).mean(0)),
        ],
        "statistics over the positions only": [over(1, 2), over(1, 2, keepdims=True)],
        "statistics over the channels": [over(3, keepdims=True), over(1, 2, 3, keepdims=True)],
        "one mean for all channels": [over(0, 1, 2, 3)],
        "channels first": [over(0, 2, 3), over(0, 2, 3, keepdims=True)],
        "an axis is missing": [over(0, 1), over(0, 2), over(0, 2, keepdims=True)],
        "the unbiased variance": [over(0, 1, 2, ddof=1)],
    },
    "channels": {"channels first": [1]},
    "divisor": DIVISOR,
    "outputs": OUTPUTS,
}


def smooth(old: Array, new: Array, decay: float) -> Array:
    """One step of exponential smoothing."""
    return decay * old + (1 - decay) * new


def normalize_and_update(
    *arguments: Array,
    statistics: Callable = over_batch,
    start: Callable = lambda pop_mean, pop_var: (pop_mean, pop_var),
    kept: Callable = lambda variance, epsilon, count: variance,
    update: Callable = smooth,
    training: Callable = lambda own, pop, moved: (own, moved),
    evaluation: Callable = lambda own, pop, moved: (pop, pop),
    **options: Callable,
) -> tuple[Array, ...]:
    """Outputs, new pop_mean and new pop_var.

    Of the batch's own statistics, the population's, and those that it moves to, `training` and
    `evaluation` choose what to normalise by, and the new population.
    """
    inputs, gamma, beta, *pop, is_training, decay, epsilon = arguments
    own, pop = statistics(inputs), start(*pop)
    followed = own[0], kept(own[1], epsilon, len(inputs))
    moved = [update(old, new, decay) for old, new in zip(pop, followed, strict=True)]
    chosen, new = (training if is_training else evaluation)(own, pop, moved)
    outputs = normalize(inputs, gamma, beta, epsilon, statistics=lambda x: chosen, **options)
    return outputs, *new


POPULATION: Mistakes = {
    "training": {
        "normalising by the population in training": [
            lambda own, pop, moved: (pop, moved),
            lambda own, pop, moved: (moved, moved),
        ],
        "the population does not move": [lambda own, pop, moved: (own, pop)],
        "the batch replaces the population": [lambda own, pop, moved: (own, own)],
        "pop_mean and pop_var swapped": [lambda own, pop, moved: (own, moved[::-1])],
    },
    "evaluation": {
        "the population moved in evaluation": [lambda own, pop, moved: (moved, moved)],
        "normalising by the batch in evaluation": [
            lambda own, pop, moved: (own, moved),
            lambda own, pop, moved: ((own[0], pop[1]), pop),
            lambda own, pop, moved: ((pop[0], own[1]), pop),
        ],
        "pop_mean and pop_var swapped": [lambda own, pop, moved: (pop[::-1], pop)],
    },
    "update": {
        "decay and 1 − decay swapped": [lambda old, new, decay: smooth(new, old, decay)],
        "1 − decay is missing": [lambda old, new, decay: decay * old + new],
        "decay is missing": [lambda old, new, decay: old + (1 - decay) * new],
        "decay is not used": [
            lambda o, n, _, d=d: smooth(o, n, d) for d in (0.5, 0.9, 0.99, 0.999)
        ],
    },
    "start": {
        "a population that starts wrong": [lambda m, v: (0 * m, 0 * v), lambda m, v: (0 * m, v**0)],
    },
    "kept": {
        "the standard deviation kept in pop_var": [
            lambda v, e, m: v**0.5,
            lambda v, e, m: root(v, e),
        ],
        "epsilon kept in pop_var": [lambda v, e, count: v + e],
    },
    **FORWARD,
}


def _terms(of_mean: float, of_variance: float) -> Callable:
    """What the inputs' gradient is made of: from upstream and the normalised inputs."""
    return lambda g, n: g + of_mean * g.mean(0) + of_variance * n * (g * n).mean(0)


def gradients(
    *arguments: Array,
    statistics: Callable = over_batch,
    divisor: Callable = root,
    terms: Callable = lambda g, n: g - g.mean(0) - n * (g * n).mean(0),
    scale: Callable = lambda gamma: gamma,
    total: Callable = lambda g, gamma: g.sum(0),
    factor: Callable = lambda n, x: n,
    order: Callable = lambda of_gamma, of_beta: (of_gamma, of_beta),
) -> tuple[Array, ...]:
    """The gradients of inputs, gamma and beta, of inputs, gamma, upstream and epsilon."""
    inputs, gamma, g, epsilon = arguments
    mean, variance = statistics(inputs)
    over_deviation = 1 / divisor(variance, epsilon)
    n = (inputs - mean) * over_deviation
    of_gamma, of_beta = total(g * factor(n, inputs), gamma), total(g, gamma)
    return scale(gamma) * over_deviation * terms(g, n), *order(of_gamma, of_beta)


BACKWARD: Mistakes = {
    "terms": {
        "statistics as constants": [_terms(0, 0)],
        "the mean as a constant": [_terms(0, -1)],
        "the variance as a constant": [_terms(-1, 0)],
        "the sign of a term": [_terms(1, 1), _terms(1, -1), _terms(-1, 1)],
        "a sum where a mean belongs": [lambda g, n: g - g.sum(0) - n * (g * n).sum(0)],
        "the wrong axis": [lambda g, n: g - g.mean() - n * (g * n).mean()],
        "the wrong count": [lambda g, n: g - (g.sum(0) + n * (g * n).sum(0)) / g.shape[1]],
        "a factor is missing": [lambda g, n: g - g.mean(0) - (g * n).mean(0)],
    },
    "scale": {"gamma is not used": [np.ones_like]},
    "total": {
        "a mean where a sum belongs": [lambda g, gamma: g.mean(0)],
        "gamma in the gradient of gamma or beta": [lambda g, gamma: gamma * g.sum(0)],
    },
    "factor": {
        "the inputs are not normalised": [lambda n, x: x, lambda n, x: x - x.mean(0)],
    },
    "order": {"gamma and beta swapped": [lambda of_gamma, of_beta: (of_beta, of_gamma)]},
    "divisor": DIVISOR,
    "statistics": {"the unbiased variance": [over(0, ddof=1)]},
}


def fold(
    *arguments: Array,
    divisor: Callable = root,
    trained: Callable = lambda gamma, beta: (gamma, beta),
    weigh: Callable = lambda w, a: w * a,
    shift: Callable = lambda c, a, m, b: a * (c - m) + b,
) -> tuple[Array, ...]:
    """The new weights and bias, of weights, bias, gamma, beta, pop_mean, pop_var and epsilon."""
    weights, bias, gamma, beta, pop_mean, pop_var, epsilon = arguments
    gamma, beta = trained(gamma, beta)
    scale = gamma / divisor(pop_var, epsilon)
    return weigh(weights, scale), shift(bias, scale, pop_mean, beta)


FOLDING: Mistakes = {
    "divisor": DIVISOR,
    "trained": {
        "gamma is not used": [lambda gamma, beta: (1.0, beta)],
        "gamma and beta swapped": [lambda gamma, beta: (beta, gamma)],
    },
    "weigh": {
        "the wrong axis": [lambda w, a: w * a[:, np.newaxis]],
        "not scaled": [lambda w, a: w],
    },
    "shift": {
        "the bias is not used": [lambda c, a, m, b: b - a * m],
        "the bias is not scaled": [lambda c, a, m, b: c + b - a * m],
        "the bias is unchanged": [lambda c, a, m, b: c, lambda c, a, m, b: a * c],
        "the sign of the mean": [lambda c, a, m, b: a * c + b + a * m],
        "the mean is not scaled": [lambda c, a, m, b: a * c + b - m],
        "the mean is not subtracted": [lambda c, a, m, b: a * c + b],
        "beta is not used": [lambda c, a, m, b: a * (c - m)],
        "beta is scaled": [lambda c, a, m, b: a * (c - m + b)],
        "the sign of beta": [lambda c, a, m, b: a * (c - m) - b],
    },
}

# What there is to say about a mistake beyond its name.
EXPLANATIONS = {
    "epsilon forgotten": "Perhaps a fixed one was taken instead of the argument.",
    "the unbiased variance": "It was divided by m − 1, for m numbers. BN divides by m.",
    "the wrong axis": "Each unit should have numbers of its own: down a column, over the batch.",
    "statistics over the positions only": "That is instance normalization.",
    "statistics over the channels": "That is layer normalization.",
    "channels first": "The height was taken for the channels. In TensorFlow these come last.",
    "decay is not used": "Old and new were averaged, or smoothed with a fixed decay.",
    "normalising by the batch in evaluation": "So an answer depends on who shares the batch.",
    "the population moved in evaluation": "So each look at a test set changes the network.",
    "decay and 1 − decay swapped": "PyTorch's `momentum` is 1 − decay.",
    "a population that starts wrong": "What was smoothed is 0 or 1, not what the function got.",
    "statistics as constants": "The mean and the variance depend on the inputs, too.",
    "the bias is unchanged": "It may be scaled, but the mean and beta have no part in it.",
}
