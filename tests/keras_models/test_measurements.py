"""Whether answers differ between the modes."""

import keras
import numpy as np
import pytest

from bn_tutorial.keras_models.measurements import ACCURACY, LOSS, Judge, Score


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
