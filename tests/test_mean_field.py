import keras
import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial.batch_norm import batch_norm_gradients
from bn_tutorial.mean_field import gradient_growth


@pytest.mark.parametrize("batch", [4, 5, 10, 60, 500])
def test_without_an_activation_it_is_the_papers_formula(batch):
    assert gradient_growth(tf.identity, batch, samples=50) == pytest.approx(
        (batch - 2) / (batch - 3), rel=1e-9
    )


def test_relu_tends_to_the_papers_number():
    assert gradient_growth(tf.nn.relu, 1000) == pytest.approx(np.pi / (np.pi - 1), rel=0.005)


def test_the_sigmoids_limit_is_a_ratio_of_two_integrals():
    """E[φ'²] / Var[φ] for N(0, 1), by quadrature."""
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    weights /= weights.sum()
    values = 1 / (1 + np.exp(-points))
    slopes = values * (1 - values)
    variance = weights @ values**2 - (weights @ values) ** 2
    limit = weights @ slopes**2 / variance
    assert gradient_growth(tf.sigmoid, 1000) == pytest.approx(limit, rel=0.005)


@pytest.mark.parametrize("activation", [tf.nn.relu, tf.sigmoid, keras.activations.gelu])
def test_one_wide_layer_has_this_factor(activation, generator):
    """Against BN's own gradient: units whose inputs are drawn as a wide layer draws them."""
    batch, units = 12, 100_000
    normal = generator.normal(size=[batch, units])
    y = normal - normal.mean(axis=0)
    y /= np.sqrt(np.mean(y**2, axis=0))
    values = activation(tf.constant(y)).numpy()
    covariance = values @ values.T / units
    # Exchangeable, as in the limit of depth.
    different = (covariance.sum() - np.trace(covariance)) / (batch * (batch - 1))
    spread = np.trace(covariance) / batch - different
    z = np.sqrt(spread) * generator.normal(size=[batch, units])
    inputs, upstream = tf.constant(z), generator.normal(size=[batch, units])
    upstream -= upstream.mean(axis=0)  # BN's gradients have no mean
    ones = tf.ones([units], tf.float64)
    with tf.GradientTape() as tape:
        normalized = tf.constant((z - z.mean(axis=0)) / z.std(axis=0))
        tape.watch(normalized)
        outputs = activation(normalized)
    of_outputs = tape.gradient(outputs, normalized, output_gradients=upstream)
    of_inputs, _, _ = batch_norm_gradients(inputs, ones, of_outputs, epsilon=0.0)
    measured = np.sum(of_inputs**2) / np.sum(upstream**2)
    assert measured == pytest.approx(gradient_growth(activation, batch, 50_000), rel=0.03)


def test_one_seed_one_number():
    first, again, other = (gradient_growth(tf.nn.relu, 8, 100, seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(("arguments", "name"), [((3,), "batch_size"), ((9, 0), "samples")])
def test_out_of_range(arguments, name):
    with pytest.raises(ValueError, match=name):
        gradient_growth(tf.nn.relu, *arguments)
