import numpy as np
import pytest

from bn_tutorial.arguments import require_at_least


def test_counts_that_are_enough():
    require_at_least(2, steps=2, batches=np.int64(7))


def test_the_first_that_is_too_small_is_named():
    with pytest.raises(ValueError, match="^batches must be 2 or more, found 1$"):
        require_at_least(2, steps=2, batches=1)


def test_a_count_that_is_no_whole_number():
    with pytest.raises(TypeError, match="integer"):
        require_at_least(1, steps=1.5)
