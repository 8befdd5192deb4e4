"""Notebook 8, write it yourself, mend it yourself."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bn_tutorial.exercises import checks
from tools.try_it_yourself.questions import SEED, Results, Settings, question


@question("08.1")
def variance_that_cancels(settings: Settings) -> Results:
    """E[z²] − E[z]² in float32, by the mean of z over its standard deviation."""

    def one_pass(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
        mean = tf.reduce_mean(inputs, axis=0)
        variance = tf.reduce_mean(tf.square(inputs), axis=0) - tf.square(mean)
        return gamma * (inputs - mean) / tf.sqrt(variance + epsilon) + beta

    noise = np.random.default_rng(SEED).normal(size=[60, 1000])
    results: Results = {"the check says": str(checks.forward(one_pass).mistake)}
    for ratio in (10, 100, 300, 1000, 3000):
        z = (noise + ratio).astype(np.float32)
        exact = z.astype(np.float64).var(axis=0)
        found = tf.reduce_mean(tf.square(z), axis=0) - tf.square(tf.reduce_mean(z, axis=0))
        results[f"mean relative error, mean of {ratio:,}"] = float(
            np.mean(np.abs(found / exact - 1))
        )
    return results


@question("08.2")
def unbiased_population(settings: Settings) -> Results:
    """The unbiased variance over the biased one, averaged over batches of noise."""
    generator = np.random.default_rng(SEED)
    results: Results = {}
    for size in (2, 60):
        batches = generator.normal(size=[1000, size])
        ratio = batches.var(axis=1, ddof=1).mean() / batches.var(axis=1).mean()
        results[f"batches of {size}"] = float(ratio)
    return results
