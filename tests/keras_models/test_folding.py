import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from bn_tutorial.keras_models import fold_batch_norm, plan_folding
from tests.keras_models.models import BN, Block, DoubledBN, Subclassed, predict, randomized


class Halved(layers.Layer):
    """Somebody's own layer, not registered with Keras."""

    def call(self, inputs):
        return inputs / 2


class Nameless(Halved):
    """Its configuration does not have its name."""

    def get_config(self):
        return {}


class Noisy(layers.Layer):
    """Random at inference too, by a seed that is part of the model."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seed = keras.random.SeedGenerator(3)

    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.seed)


class Constructed(keras.Model):
    """Functional, and made by a constructor of its own."""

    def __init__(self, units, **options):
        inputs = keras.Input([4])
        outputs = layers.ReLU()(BN(name="bn")(layers.Dense(units, name="dense")(inputs)))
        super().__init__(inputs, outputs, **options)


class Doubled(keras.Sequential):
    def call(self, inputs, training=None, mask=None):  # noqa: ARG002
        return 2 * super().call(inputs, training=training)


class OwnDense(layers.Dense):
    def call(self, inputs):
        return super().call(inputs) ** 2


def squared(inputs):
    return inputs**2


def chain(shape, *blocks, name=None):
    return randomized(keras.Sequential([keras.Input(shape), *blocks], name=name))


def random_inputs(model):
    generator = np.random.default_rng(1)

    def draw(tensor):
        return generator.normal(size=[3, *(n or 9 for n in tensor.shape[1:])]).astype("float32")

    struct = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(draw, struct)


def assert_folds(model, folded, kept=0):
    """As many are folded, the predictions are the same, the model is as it was."""
    inputs, before = random_inputs(model), model.get_weights()
    expected, config = predict(model, inputs), model.get_config()
    new, plan = fold_batch_norm(model), plan_folding(model)
    assert (len(plan.folded), len(plan.kept)) == (folded, kept), plan
    found = predict(new, inputs)
    keras.tree.assert_same_structure(expected, found)
    for a, b in zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max(), rtol=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert model.get_config() == config
    assert getattr(new, "output_names", None) == getattr(model, "output_names", None)
    left = [layer.name for layer in new.layers if not isinstance(layer, layers.Identity)]
    gone = {name.split("/")[0] for name in plan.folded} - set(left)
    assert [layer.name for layer in model.layers if layer.name not in gone] == left
    return new


def assert_stays(model, reason):
    assert_folds(model, 0, 1)
    (found,) = plan_folding(model).kept.values()
    assert reason in found


@pytest.mark.parametrize("forward", [False, True])
def test_dense_against_numpy(forward):
    dense, norm = layers.Dense(4), BN(epsilon=0.01)
    model = chain([4], *((norm, dense) if forward else (dense, norm)))
    kernel, bias = (v.numpy() for v in (dense.kernel, dense.bias))
    gamma, beta, mean, variance = (v.numpy() for v in norm.weights)
    (folded,) = assert_folds(model, 1).layers
    scale = gamma / np.sqrt(variance + 0.01)
    shift = beta - scale * mean
    if forward:
        expected = scale[:, np.newaxis] * kernel, shift @ kernel + bias
    else:
        expected = scale * kernel, scale * bias + shift
    for variable, values in zip((folded.kernel, folded.bias), expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), values, rtol=1e-4, atol=1e-6)


IMAGE = {1: [9, 4], 2: [9, 8, 4], 3: [6, 5, 7, 4]}


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    ("rank", "build"),
    [
        (1, lambda **o: layers.Conv1D(6, 3, **o)),
        (2, lambda **o: layers.Conv2D(6, 3, strides=2, **o)),
        (2, lambda **o: layers.Conv2D(6, 3, groups=2, **o)),
        (3, lambda **o: layers.Conv3D(6, 2, **o)),
        (1, lambda **o: layers.DepthwiseConv1D(3, depth_multiplier=2, **o)),
        (2, lambda **o: layers.DepthwiseConv2D(3, depth_multiplier=2, **o)),
        (1, lambda **o: layers.SeparableConv1D(6, 3, depth_multiplier=2, **o)),
        (2, lambda **o: layers.SeparableConv2D(6, 3, depth_multiplier=2, **o)),
        (1, lambda **o: layers.Conv1DTranspose(6, 3, strides=2, **o)),
        (2, lambda **o: layers.Conv2DTranspose(6, 3, **o)),
        (3, lambda **o: layers.Conv3DTranspose(6, 2, **o)),
        (2, lambda **o: layers.Dense(6, **o)),
    ],
)
def test_every_kind_of_layer(rank, build, use_bias):
    assert_folds(chain(IMAGE[rank], build(use_bias=use_bias), BN(), layers.ReLU()), 1)
    layer = build(use_bias=use_bias)
    folds = "Transpose" not in type(layer).__name__ and getattr(layer, "groups", 1) == 1
    assert_folds(chain(IMAGE[rank], BN(), layer), int(folds), int(not folds))


def test_forward_into_zeros_only_without_a_shift():
    norm = BN()
    model = chain([6, 6, 2], norm, layers.Conv2D(3, 3, padding="same"))
    assert_stays(model, "zeros")
    norm.moving_mean.assign([0, 0])
    norm.beta.assign([0, 0])
    assert_folds(model, 1)


def test_both_ways_and_two_in_a_row():
    """All of them into one layer."""
    norms = [BN(scale=False), BN(), BN(center=False)]
    model = chain([5], norms[0], layers.Dense(4), norms[1], norms[2], layers.ReLU())
    assert_folds(model, 3)
    assert set(plan_folding(model).folded.values()) == {model.layers[1].name}


@pytest.mark.parametrize(
    ("build", "folded"),
    [
        pytest.param(keras.applications.ResNet50, 53, marks=pytest.mark.slow),
        pytest.param(keras.applications.MobileNetV2, 52, marks=pytest.mark.slow),
        (keras.applications.MobileNetV3Small, 34),
    ],
)
def test_architectures(build, folded):
    """The last has operations without a layer of their own, and uses some layers again."""
    model = build(weights=None, input_shape=(32, 32, 3), classes=10, classifier_activation=None)
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, BN):
            layer.moving_mean.assign(generator.normal(0, 0.5, layer.moving_mean.shape))
            for variable in (layer.moving_variance, layer.gamma):
                variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    assert_folds(model, folded)


def test_what_stays_and_why():
    inputs = keras.Input([6, 6, 4])
    conv = layers.Conv2D(4, 1)(inputs)
    relu = layers.ReLU()
    shared, twice = layers.Conv2D(4, 1), BN(name="twice")
    timed = layers.Dense(4)
    used = layers.Conv2D(4, 1, name="used")(inputs)
    outputs = [
        BN(name="of the input")(inputs),
        relu(BN(name="activated")(layers.Conv2D(4, 1, activation="relu")(inputs))),
        relu(BN(name="of two")(used)) + used,
        relu(BN(name="of a shared one")(shared(inputs))) + shared(used),
        relu(BN(name="of a timed one")(layers.TimeDistributed(timed)(inputs))) + timed(inputs),
        relu(twice(layers.Conv2D(4, 1)(inputs))) + twice(layers.Conv2D(4, 1)(inputs)),
        relu(BN(axis=1, name="of rows")(conv)),
        Block(4, name="mine")(relu(keras.ops.multiply(inputs, 2.0))),
    ]
    model = randomized(keras.Model(inputs, outputs))
    reasons = {
        "of the input": "input",
        "activated": "activation",
        "of two": "elsewhere",
        "of a shared one": "2 times",
        "of a timed one": "2 times",
        "twice": "it is called 2 times",
        "of rows": "axis 1",
        "mine/norm": "Block",
    }
    assert_folds(model, 0, len(reasons))
    kept = plan_folding(model).kept
    assert kept.keys() == reasons.keys()
    assert all(reasons[name] in reason for name, reason in kept.items())


def test_it_says_what_stays(capsys):
    """One line for each reason, and none if it is to be silent."""
    blocks = [(layers.ReLU(), BN(name=f"bn{number}")) for number in range(5)]
    model = chain([3], layers.Dense(2), BN(), *(layer for block in blocks for layer in block))
    fold_batch_norm(model)
    said = capsys.readouterr().out.splitlines()
    assert "1 of 6" in said[0]
    assert len(said) == 4  # the last one has nothing after it
    plan = plan_folding(model)
    assert str(plan).splitlines() == repr(plan).splitlines() == said
    fold_batch_norm(model, verbose=0)
    assert capsys.readouterr().out == ""


def test_models_inside_models_with_several_inputs_and_outputs():
    """The layers of the model inside stay shared, and so does one that is outside too."""
    dense = layers.Dense(4, name="inside and outside")
    inner = chain([4], dense, layers.Dense(5, name="dense"), BN(name="bn"), name="inner")
    left, right = keras.Input([4], name="left"), keras.Input([4], name="right")
    joined = layers.Concatenate()([inner(left), inner(dense(right))])
    outputs = {"a": BN(name="bn")(layers.Dense(3, name="head")(joined)), "b": joined}
    model = randomized(keras.Model({"left": left, "right": right}, outputs))
    new = assert_folds(model, 2)
    assert plan_folding(model).folded == {"inner/bn": "inner/dense", "bn": "head"}
    assert len(new.weights) == len(model.weights) - 2 * 4


# Saving a model asks NumPy for a copy in a way that NumPy will drop.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_new_model_is_a_model(tmp_path):
    model = chain([6, 6, 2], layers.Conv2D(3, 3), BN(), layers.ReLU(), layers.Flatten(), Halved())
    model.compile("sgd", squared)
    new = assert_folds(model, 1)
    assert model.compiled
    assert not new.compiled
    inputs = random_inputs(model)
    new.save(tmp_path / "new.keras")
    again = keras.saving.load_model(tmp_path / "new.keras", custom_objects={"Halved": Halved})
    np.testing.assert_array_equal(predict(new, inputs), predict(again, inputs))
    new.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(served.serve(inputs), predict(new, inputs), atol=1e-6)
    new.compile("sgd", "mse")
    before = new.get_weights()
    new.fit(inputs, np.zeros([3, 48]), verbose=0)
    assert not np.array_equal(before[0], new.get_weights()[0])


def test_what_is_frozen_stays_frozen():
    dense = layers.Dense(4, trainable=False)
    model = chain([3], dense, BN(), layers.Dense(2))
    assert [layer.trainable for layer in assert_folds(model, 1).layers] == [False, True]
    model.trainable = False
    assert not assert_folds(model, 1).trainable


def test_mixed_precision():
    options = {"dtype": "mixed_bfloat16"}
    model = chain([3], layers.Dense(4, **options), BN(**options), layers.ReLU(**options))
    inputs = random_inputs(model)
    new = fold_batch_norm(model)
    assert [layer.dtype_policy.name for layer in new.layers] == ["mixed_bfloat16"] * 2
    a, b = (predict(m, inputs).astype(np.float32) for m in (model, new))
    np.testing.assert_allclose(a, b, atol=0.02 * np.abs(a).max())


def test_a_pair_that_rounding_keeps_apart_stays():
    """In float16 the folded weights would be too large to be told from infinity."""
    options = {"dtype": "mixed_float16"}
    model = chain([3], layers.Dense(4, **options), BN(**options), layers.ReLU())
    norm = model.layers[1]
    for variable, value in ((norm.gamma, 1e6), (norm.beta, 0), (norm.moving_mean, 1e4)):
        variable.assign(np.full(4, value))
    assert "differ" in str(plan_folding(model))


def test_what_cannot_be_folded():
    subclassed = Subclassed(layers.Dense(2))
    subclassed(np.zeros([1, 2], np.float32))
    for model, error, message in (
        ("a model", TypeError, "expected a Keras 3 model, found str"),
        (keras.Sequential([layers.Dense(2)]), ValueError, "a model that is built"),
        (subclassed, TypeError, "is a Subclassed"),
    ):
        with pytest.raises(error, match=message):
            fold_batch_norm(model)


# What stays, because it is not what it looks like.


# Quantizing asks NumPy for a copy in a way that NumPy will drop.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda dense, _: dense.quantize("int8"), "plain"),
        (lambda dense, _: dense.enable_lora(2), "plain"),
        (lambda dense, _: vars(dense).update(call=lambda x: x @ dense.kernel * 2), "plain"),
        (lambda _, norm: vars(norm).update(call=lambda x, **_: x * 2), "something of its own"),
        (lambda _, norm: norm.moving_variance.assign([1, 1, -0.5, 1]), "negative"),
        (lambda _, norm: norm.moving_variance.assign([1, 1, np.nan, 1]), "finite"),
    ],
)
def test_only_what_is_exactly_known_folds(change, reason):
    dense, norm = layers.Dense(4), BN()
    model = chain([3], dense, norm, layers.ReLU())
    change(dense, norm)
    plan = plan_folding(model)
    assert not plan.folded
    assert reason in str(plan)


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        ([layers.Dense(4), DoubledBN()], "DoubledBN"),
        ([OwnDense(4), BN()], "OwnDense"),
        ([Doubled([keras.Input([3]), layers.Dense(4), BN()])], "Doubled"),
        # BN over what is flattened has a scale of its own for each place; a convolution has not.
        ([layers.Reshape([3, 1, 1]), layers.Conv2D(3, 1), layers.Flatten(), BN()], "axis"),
        ([layers.Reshape([1, 3, 1]), layers.Conv2D(3, 1), layers.Permute((1, 3, 2)), BN()], "axis"),
    ],
)
def test_what_is_not_what_it_looks_like_stays(blocks, reason):
    assert_stays(chain([3], *blocks), reason)


def test_bn_that_always_normalises_by_its_batch_stays():
    inputs = keras.Input([3])
    hidden = BN(name="always")(layers.Dense(4)(inputs), training=True)
    inner = chain([4], layers.Dense(4), BN(name="inside"), name="inner")
    plan = plan_folding(randomized(keras.Model(inputs, inner(hidden, training=True))))
    assert set(plan.kept) == {"always", "inner/inside"}
    assert all("training=True" in reason for reason in plan.kept.values())
    dropped = layers.Dropout(0.5)(layers.Dense(4)(inputs), training=True)
    assert plan_folding(randomized(keras.Model(inputs, BN()(dropped)))).folded == {}


# What has to come along into the new model.


def test_states_come_along():
    normalization, dense, norm = layers.Normalization(), layers.Dense(4), BN()
    normalization.adapt(np.random.default_rng(0).normal(3.0, 2.0, (50, 3)))
    model = keras.Sequential([keras.Input([3]), normalization, dense, norm, layers.ReLU()])
    randomized(norm)
    assert_folds(model, 1)


def test_tables_come_along():
    words = layers.StringLookup()
    words.adapt(["one", "two", "three"])
    inputs = keras.Input([2], dtype="string")
    embedded = layers.Flatten()(layers.Embedding(4, 3)(words(inputs)))
    model = keras.Model(inputs, layers.ReLU()(BN()(layers.Dense(4)(embedded))))
    new = fold_batch_norm(model)
    some = tf.constant([["one", "three"], ["two", "four"]])
    np.testing.assert_allclose(predict(model, some), predict(new, some), atol=1e-6)


def test_seeds_come_along():
    model = chain([3], layers.Dense(4), BN(), Noisy())
    inputs = random_inputs(model)
    predict(model, inputs)
    new = fold_batch_norm(model)
    np.testing.assert_allclose(predict(new, inputs), predict(model, inputs), atol=1e-5)


def test_masks_come_along():
    norm = BN(name="norm")
    blocks = [layers.Masking(), layers.TimeDistributed(layers.Dense(4)), norm, layers.LSTM(2)]
    assert_folds(chain([5, 3], *blocks), 1)
    inputs = keras.Input([5, 3])
    outputs = norm(layers.TimeDistributed(layers.Dense(4))(layers.Masking()(inputs)))
    assert assert_folds(randomized(keras.Model(inputs, outputs)), 1).output_names == ["norm"]


def test_functions_that_are_not_registered():
    dense = layers.Dense(4, activation=squared)
    assert_folds(chain([3], dense, layers.Dense(4), BN(), layers.Activation(squared)), 1)
    own = layers.Lambda(lambda inputs: inputs * 2, name="own")
    with pytest.raises(ValueError, match='Keras can\'t make "own" .Lambda. anew') as raised:
        fold_batch_norm(chain([3], layers.Dense(4), BN(), own))
    assert raised.value.__suppress_context__


def test_classes_that_are_not_registered():
    new = assert_folds(chain([4], Nameless(name="nameless"), Constructed(3, name="model")), 1)
    assert isinstance(new.get_layer("model"), keras.Model)
    assert_folds(randomized(Constructed(3)), 1)


def test_outputs_keep_their_names():
    inputs = keras.Input([3])
    heads = [BN(name=f"head_{name}")(layers.Dense(2, name=f"d{name}")(inputs)) for name in "ab"]
    new = assert_folds(randomized(keras.Model(inputs, heads)), 2)
    assert new.output_names == ["head_a", "head_b"]


# More that folds.


@pytest.mark.parametrize(
    ("shape", "build"),
    [
        ([5, 4, 3], lambda: [BN(), layers.Flatten(), layers.Dense(2)]),
        ([5, 4, 3], lambda: [BN(axis=1), layers.Flatten(), layers.Dropout(0.5), layers.Dense(2)]),
        ([5, 4, 3], lambda: [BN(), layers.Permute((2, 3, 1)), layers.Flatten(), layers.Dense(2)]),
        ([5], lambda: [layers.Dense(24), layers.Reshape((2, 4, 3)), BN(), layers.ReLU()]),
        ([5], lambda: [layers.Dense(4), layers.GaussianNoise(1.0), BN(), layers.ReLU()]),
        ([8, 8, 2], lambda: [BN(), layers.SpatialDropout2D(0.5), layers.Conv2D(3, 3)]),
        ([5, 3], lambda: [layers.TimeDistributed(layers.Dense(4)), BN(), layers.ReLU()]),
        ([5, 3], lambda: [*map(layers.TimeDistributed, (BN(), layers.Dense(4)))]),
        ([None, None, 2], lambda: [layers.Conv2D(3, 3, dilation_rate=2), BN(), layers.ReLU()]),
        ([4, 5, 3], lambda: [layers.TimeDistributed(chain([5, 3], layers.Dense(3), BN()))]),
    ],
)
def test_through_what_does_nothing(shape, build):
    assert_folds(chain(shape, *build()), 1)


def test_an_axis_of_rows_whose_statistics_are_those_of_the_start():
    """The same scale for each row is the same one for each channel."""
    model = keras.Sequential([keras.Input([6, 6, 2]), layers.Conv2D(3, 3), BN(axis=1)])
    assert_folds(model, 1)


@pytest.mark.parametrize(
    ("build", "folded"),
    [
        (lambda d, n: [chain([3], d, name="in"), n, layers.ReLU()], {"n": "in/d"}),
        (lambda d, n: [chain([3], d, layers.Dropout(0.5), name="in"), n], {"n": "in/d"}),
        (lambda d, n: [d, chain([3], n, layers.ReLU(), name="in")], {"in/n": "d"}),
        (lambda d, n: [chain([3], layers.ReLU(), n, name="in"), d], {"in/n": "d"}),
    ],
)
def test_across_the_border_of_a_model_inside(build, folded):
    model = chain([3], *build(layers.Dense(3, name="d"), BN(name="n")))
    assert_folds(model, 1)
    assert plan_folding(model).folded == folded


def test_across_no_border_that_is_crossed_twice():
    inner = chain([4], layers.Dense(4), name="inner")
    inputs = keras.Input([4])
    model = keras.Model(inputs, BN(name="one")(inner(inputs)) + inner(inputs * 2))
    assert_folds(randomized(model), 0, 1)
