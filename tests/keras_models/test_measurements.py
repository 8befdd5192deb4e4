"""What a run of the model is condensed to."""

import keras
import numpy as np
import pytest

from bn_tutorial.keras_models.measurements import ACCURACY, LOSS, Judge, Score
from bn_tutorial.keras_models.watching import Call, pooled


def test_calls_count_by_their_values(generator):
    """Two calls of a layer, each of two batches, as one: NumPy's numbers of all the values."""
    batches = [generator.normal(scale, scale, (10 * scale, 3)) for scale in (1, 5, 2, 8)]
    calls = [Call(3), Call(3)]
    for number, values in enumerate(batches):
        moments = np.stack([values.mean(0), values.var(0)])
        calls[number % 2].add_batch(len(values), moments, by_batch=number == 3)
    total, values = pooled(calls), np.concatenate(batches)
    assert (total.count, total.largest, total.smallest, total.by_batch) == (160, 80, 10, True)
    np.testing.assert_allclose(total.mean, values.mean(0))
    np.testing.assert_allclose(total.variance, values.var(0))
    sizes = [len(batch) for batch in batches]
    within = np.average([batch.var(0) for batch in batches], axis=0, weights=sizes)
    np.testing.assert_allclose(total.within, within)


@pytest.mark.parametrize(
    ("loss", "kind", "better", "worse", "difference"),
    [(None, ACCURACY, 0.1, 0.3, 0.2), ("mse", LOSS, 0.1, 0.6, 0.5)],
)
def test_a_gap_of_few_answers_is_chance(loss, kind, better, worse, difference):
    """A fifth of the answers, or half of a constant's loss: of 9 it is luck, of 240 it is not."""
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])
    model.compile(loss=loss)
    batch = (np.ones([2, 1]), np.array([[0.0], [2.0]]))  # a constant loses 1
    judge = Judge(model, [batch])
    for answers, is_gap in ((9, False), (240, True)):
        scores = [Score(kind, value, answers, np.ones([1, 1]), {}) for value in (better, worse)]
        gap = judge.gap(*scores, by_data=None)
        assert gap.value == pytest.approx(difference)
        assert (gap.value > gap.limit) == is_gap
