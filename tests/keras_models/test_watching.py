"""What a run of the model is condensed to."""

import numpy as np

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
