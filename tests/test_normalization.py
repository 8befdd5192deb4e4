import keras
import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial import normalization

SHAPES = [(6, 8), (6, 5, 8), (6, 5, 4, 8), (3, 2, 5, 4, 8)]
LAYERS = {
    "conv_batch_norm": lambda: keras.layers.BatchNormalization(epsilon=1e-3),
    "layer_norm": lambda: keras.layers.LayerNormalization(epsilon=1e-3),
    "instance_norm": lambda: keras.layers.GroupNormalization(groups=-1, epsilon=1e-3),
    "group_norm": lambda: keras.layers.GroupNormalization(groups=4, epsilon=1e-3),
    "rms_norm": lambda: keras.layers.RMSNormalization(epsilon=1e-3),
}
OPTIONS = {"group_norm": {"groups": 4}}


def by_hand(name, inputs, gamma, beta):
    function = getattr(normalization, f"{name}_by_hand")
    shift = () if name == "rms_norm" else (beta,)
    return function(inputs, gamma, *shift, **OPTIONS.get(name, {}))


@pytest.fixture
def affine(generator):
    return generator.normal(size=(2, 8)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_are_keras(name, shape, generator, affine):
    if name == "instance_norm" and len(shape) == 2:
        pytest.skip("a unit of a sample is one number")
    gamma, beta = affine
    inputs = tf.constant(generator.normal(3.0, 2.0, shape).astype(np.float32))
    upstream = generator.normal(size=shape).astype(np.float32)
    layer = LAYERS[name]()
    layer.build(shape)
    scale, *shift = layer.trainable_variables
    scale.assign(gamma)
    for variable in shift:
        variable.assign(beta)
    options = {"training": True} if name == "conv_batch_norm" else {}
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        ours, theirs = by_hand(name, inputs, gamma, beta), layer(inputs, **options)
        losses = [tf.reduce_sum(outputs * upstream) for outputs in (ours, theirs)]
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)
    gradients = [tape.gradient(loss, inputs) for loss in losses]
    np.testing.assert_allclose(*gradients, atol=1e-5, rtol=1e-4)


def test_axes_that_share_their_statistics(generator):
    """Against NumPy, with the axes written out."""
    inputs = generator.normal(size=(6, 5, 4, 8))
    ones, zeros = np.ones(8), np.zeros(8)
    axes = {"conv_batch_norm": (0, 1, 2), "layer_norm": (3,), "instance_norm": (1, 2)}
    for name, shared in axes.items():
        expected = inputs - inputs.mean(shared, keepdims=True)
        expected = expected / np.sqrt(inputs.var(shared, keepdims=True) + 1e-3)
        np.testing.assert_allclose(by_hand(name, inputs, ones, zeros), expected, atol=1e-12)


def test_one_group_for_all_and_one_for_each(generator, affine):
    inputs = tf.constant(generator.normal(size=(2, 3, 3, 8)).astype(np.float32))
    each = normalization.group_norm_by_hand(inputs, *affine, groups=8)
    np.testing.assert_allclose(each, normalization.instance_norm_by_hand(inputs, *affine), 1e-5)
    one = normalization.group_norm_by_hand(inputs[:, 0, 0], *affine, groups=1)
    np.testing.assert_allclose(
        one, normalization.layer_norm_by_hand(inputs[:, 0, 0], *affine), atol=1e-5
    )


def test_any_batch_size_in_a_graph(affine):
    spec = tf.TensorSpec([None, 4, 4, 8], tf.float32)
    for name in LAYERS:
        graph = tf.function(lambda inputs, name=name: by_hand(name, inputs, *affine))
        assert graph.get_concrete_function(spec)(tf.ones([3, 4, 4, 8])).shape == (3, 4, 4, 8)


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_no_batch_of_floats(name, affine):
    for bad in (np.ones(8, np.float32), np.ones((2, 3, 8), int)):
        with pytest.raises(ValueError, match="takes floats of shape"):
            by_hand(name, bad, *affine)


@pytest.mark.parametrize("groups", [0, 3, -1])
def test_groups_that_do_not_divide_the_channels(groups, affine):
    with pytest.raises(ValueError, match=f"groups must divide the 8 channels, found {groups}"):
        normalization.group_norm_by_hand(tf.ones([2, 8]), *affine, groups=groups)
