import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial.hidden_layers import DropoutLayer


class TestDropout:
    def test_drops_a_share_and_scales_the_rest(self):
        layer = DropoutLayer(np.eye(1000, dtype=np.float32), rate=0.25, seed=1)
        fed = layer(tf.ones([4, 1000]), is_training=True).numpy()
        assert np.mean(fed == 0) == pytest.approx(0.25, abs=0.03)
        np.testing.assert_allclose(fed[fed != 0], 1 / 0.75, rtol=1e-6)

    def test_each_step_drops_others_and_prediction_none(self):
        layer = DropoutLayer(np.eye(50, dtype=np.float32), rate=0.5, seed=1)
        first, second = (layer(tf.ones([1, 50]), is_training=True).numpy() for _ in range(2))
        assert (first != second).any()
        np.testing.assert_array_equal(layer(tf.ones([1, 50]), is_training=False), np.ones([1, 50]))
        assert layer.step.numpy() == 2

    def test_a_seed_repeats_itself(self):
        layers = [DropoutLayer(np.eye(50, dtype=np.float32), 0.5, seed) for seed in (1, 1, 2)]
        a, b, c = (layer(tf.ones([1, 50]), is_training=True).numpy() for layer in layers)
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()
