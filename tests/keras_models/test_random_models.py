"""Models as hypothesis draws them: what is folded predicts the same, what is measured is left."""

from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from keras import layers

from bn_tutorial.keras_models import examine, fold_batch_norm, plan_folding, recalibrate
from tests.keras_models.models import (
    BN,
    Block,
    DoubledBN,
    predict,
    randomized,
    stays_as_it_was,
)
from tests.variables import unchanged


def norm(draw, rank):
    kind = draw(st.sampled_from([BN, BN, BN, DoubledBN]))
    axis = draw(st.sampled_from([-1, -1, -1, 1])) if rank > 2 else -1
    options = {name: draw(st.booleans()) for name in ("center", "scale")}
    return kind(axis=axis, epsilon=draw(st.sampled_from([1e-3, 0.1])), **options)


def with_weights(draw, rank):
    bias = {"use_bias": draw(st.booleans())}
    padding = {"padding": draw(st.sampled_from(["same", "valid"]))} | bias
    same = {"padding": "same"} | bias
    kinds = {
        2: [
            lambda: layers.Dense(4, **bias),
            lambda: layers.Dense(4, activation="relu", **bias),
            lambda: Block(3),
        ],
        3: [
            lambda: layers.Conv1D(4, 2, **same),
            lambda: layers.SeparableConv1D(4, 2, **same),
            lambda: layers.TimeDistributed(layers.Dense(4, **bias)),
            lambda: layers.TimeDistributed(BN()),
        ],
        4: [
            lambda: layers.Conv2D(4, 2, **padding),
            lambda: layers.Conv2D(4, 2, dilation_rate=2, **same),
            lambda: layers.DepthwiseConv2D(2, depth_multiplier=2, **padding),
            lambda: layers.SeparableConv2D(4, 2, **padding),
            lambda: layers.Conv2DTranspose(4, 2, strides=2, **bias),
            lambda: layers.Dense(4, **bias),
        ],
    }
    return draw(st.sampled_from(kinds[rank]))()


def between(draw, rank):
    kinds = [layers.ReLU, layers.Identity, layers.LayerNormalization]
    kinds += [partial(layers.Dropout, 0.5), partial(layers.GaussianNoise, 0.1)]
    if rank > 2:
        kinds.append(layers.Flatten)
    if rank == 4:
        kinds += [layers.GlobalAveragePooling2D, layers.ZeroPadding2D]
        kinds += [partial(layers.Reshape, (-1, 2)), partial(layers.Permute, (2, 1, 3))]
    return draw(st.sampled_from(kinds))()


def chain(draw, tensor, length):
    """Some layers, one after another, and what else they give."""
    others, kinds = [], ["norm", "norm", "weights", "weights", "between", "shared", "add", "inside"]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=length, max_size=length)):
        rank = len(tensor.shape)
        if kind == "norm":
            tensor = norm(draw, rank)(tensor)
        elif kind == "weights":
            tensor = with_weights(draw, rank)(tensor)
        elif kind == "between":
            tensor = between(draw, rank)(tensor)
        elif kind == "shared":
            layer = norm(draw, rank)
            tensor = layers.Add()([layer(tensor), layer(tensor * 2)])
        elif kind == "add":
            tensor = layers.Add()([norm(draw, rank)(tensor), tensor])
            others.append(tensor)
        else:
            inner = keras.Input(tensor.shape[1:])
            tensor = keras.Model(inner, with_weights(draw, rank)(norm(draw, rank)(inner)))(tensor)
    return tensor, others


def build(draw):
    """With one or two inputs and one to three outputs."""
    shapes = draw(st.sampled_from([[[5]], [[6, 3]], [[8, 8, 2]], [[5], [5]], [[8, 8, 2], [5]]]))
    inputs = [keras.Input(shape) for shape in shapes]
    ends, outputs = [], []
    for tensor in inputs:
        tensor, others = chain(draw, tensor, draw(st.integers(1, 5)))
        ends.append(layers.Flatten()(tensor))
        outputs += others[:1]
    joined = ends[0] if len(ends) == 1 else layers.Concatenate()(ends)
    outputs.append(norm(draw, 2)(layers.Dense(3)(joined)))
    model = keras.Model(*(each if len(each) > 1 else each[0] for each in (inputs, outputs)))
    randomized(model, draw(st.integers(0, 99)))
    generator = np.random.default_rng(0)
    data = [generator.normal(size=(12, *shape)).astype(np.float32) for shape in shapes]
    return model, data if len(data) > 1 else data[0]


DRAWN = settings(
    deadline=None,
    derandomize=True,  # the same models each time
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)


@pytest.mark.slow
@settings(DRAWN, max_examples=6)
@given(data=st.data())
def test_some_random_models(data):
    check(*build(data.draw))


@pytest.mark.weekly
@settings(DRAWN, max_examples=100)
@given(data=st.data())
def test_random_models(data):
    check(*build(data.draw))


def check(model, inputs):
    """Folding changes no prediction, examining changes nothing, recalibrating the statistics."""
    expected = predict(model, inputs)
    with stays_as_it_was(model):
        new, plan = fold_batch_norm(model, verbose=0), plan_folding(model)
        examine(model, inputs)
    left = {layer.name for layer in new.layers if not isinstance(layer, layers.Identity)}
    assert not left & plan.folded.keys()
    for one, other in zip(*map(keras.tree.flatten, (expected, predict(new, inputs))), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(one).max())
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, BN)]
    moving = [v for layer in norms for v in (layer.moving_mean, layer.moving_variance)]
    with stays_as_it_was(model, but=moving):
        recalibrate(model, inputs, verbose=0)
    with unchanged(moving):
        recalibrate(model, inputs, verbose=0)
