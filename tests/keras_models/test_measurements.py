"""What a run of the model is condensed to."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial.keras_models.measurements import Judge, Score
from bn_tutorial.keras_models.model import Call, pooled


def test_calls_count_by_their_values(generator):
    """Two calls of a layer, each of two batches, as one: NumPy's numbers of all the values."""
    batches = [generator.normal(scale, scale, (10 * scale, 3)) for scale in (1, 5, 2, 8)]
    calls = [Call(3), Call(3)]
    for number, values in enumerate(batches):
        calls[number % 2].add(len(values), values.mean(0), values.var(0), by_batch=number == 3)
    total, values = pooled(calls), np.concatenate(batches)
    assert (total.count, total.largest, total.smallest, total.by_batch) == (160, 80, 10, True)
    np.testing.assert_allclose(total.mean, values.mean(0))
    np.testing.assert_allclose(total.variance, values.var(0))
    sizes = [len(batch) for batch in batches]
    within = np.average([batch.var(0) for batch in batches], axis=0, weights=sizes)
    np.testing.assert_allclose(total.within, within)


@pytest.mark.parametrize("loss", [None, "mse"])
def test_a_gap_of_few_answers_is_chance(loss):
    """A fifth of the answers, or half of a constant's loss: of 9 it is luck, of 240 it is not."""
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])
    model.compile(loss=loss)
    judge, answer = Judge(model), tf.ones([1, 1])
    batch = (np.ones([2, 1]), np.array([[0.0], [2.0]]))  # a constant loses 1
    better, worse = (0.9, 0.7) if loss is None else (0.1, 0.6)
    for answers, is_gap in ((9, False), (240, True)):
        scores = [Score(value, answers, answer) for value in (better, worse)]
        gap = judge.gap(*scores, by_data=None, batches=[batch])
        assert gap.value == pytest.approx(0.2 if loss is None else 0.5)
        assert (gap.value > gap.limit) == is_gap
