import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from bn_tutorial.folding import fold_batch_norm, plan_folding

BN = layers.BatchNormalization


class Halved(layers.Layer):
    """Somebody's own layer, not registered with Keras."""

    def call(self, inputs):
        return inputs / 2


class Inside(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.norm = BN(name="norm")

    def build(self, shape):
        self.norm.build(shape)

    def call(self, inputs):
        return self.norm(inputs)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, inputs):
        return self.dense(inputs)


def randomized(model, seed=0):
    """With weights and statistics that are not those of the start."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        low, high = (0.5, 2.0) if "variance" in variable.path else (-1.0, 1.0)
        if variable.dtype == "float32":
            variable.assign(generator.uniform(low, high, variable.shape))
    return model


def predict(model, inputs):
    return keras.tree.map_structure(lambda outputs: outputs.numpy(), model(inputs, training=False))


def random_inputs(model, seed=1):
    generator = np.random.default_rng(seed)
    return keras.tree.map_structure(
        lambda tensor: generator.normal(size=(3, *tensor.shape[1:])).astype(np.float32),
        model._inputs_struct if hasattr(model, "_inputs_struct") else model.inputs[0],
    )


def assert_folds(model, folded, kept=0):
    """As many are folded, the predictions are the same, the model is as it was."""
    inputs, before = random_inputs(model), model.get_weights()
    expected, config = predict(model, inputs), model.get_config()
    new = fold_batch_norm(model)
    plan = plan_folding(model)
    assert (len(plan.folded), len(plan.kept)) == (folded, kept), plan
    found = predict(new, inputs)
    keras.tree.assert_same_structure(expected, found)
    for a, b in zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max(), rtol=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert model.get_config() == config
    names = [layer.name for layer in model.layers]
    assert [n for n in names if n not in plan.folded] == [layer.name for layer in new.layers]
    return new


def chain(shape, *blocks):
    return randomized(keras.Sequential([keras.Input(shape), *blocks]))


def test_dense_against_numpy():
    dense, norm = layers.Dense(4), BN(epsilon=0.01)
    model = chain([3], dense, norm)
    kernel, bias = (v.numpy() for v in (dense.kernel, dense.bias))
    gamma, beta, mean, variance = (v.numpy() for v in norm.weights)
    (folded,) = assert_folds(model, 1).layers
    scale = gamma / np.sqrt(variance + 0.01)
    np.testing.assert_allclose(folded.kernel.numpy(), kernel * scale, rtol=1e-5)
    np.testing.assert_allclose(
        folded.bias.numpy(), (bias - mean) * scale + beta, rtol=1e-5, atol=1e-6
    )


def test_forward_against_numpy():
    norm, dense = BN(), layers.Dense(4, use_bias=False)
    model = chain([3], norm, dense)
    kernel = dense.kernel.numpy()
    gamma, beta, mean, variance = (v.numpy() for v in norm.weights)
    (folded,) = assert_folds(model, 1).layers
    scale = gamma / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(folded.kernel.numpy(), kernel * scale[:, np.newaxis], rtol=1e-5)
    np.testing.assert_allclose(
        folded.bias.numpy(), (beta - scale * mean) @ kernel, rtol=1e-4, atol=1e-6
    )


IMAGE = {1: [9, 4], 2: [9, 8, 4], 3: [6, 5, 7, 4]}
KINDS = [
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
]


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(("rank", "build"), KINDS)
def test_every_kind_backward(rank, build, use_bias):
    assert_folds(chain(IMAGE[rank], build(use_bias=use_bias), BN(), layers.ReLU()), 1)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(("rank", "build"), KINDS)
def test_every_kind_forward(rank, build, use_bias):
    layer = build(use_bias=use_bias)
    folds = "Transpose" not in type(layer).__name__ and getattr(layer, "groups", 1) == 1
    assert_folds(chain(IMAGE[rank], BN(), layer), int(folds), int(not folds))


def test_forward_into_zeros_only_without_a_shift():
    norm = BN()
    model = chain([6, 6, 2], norm, layers.Conv2D(3, 3, padding="same"))
    assert_folds(model, 0, 1)
    assert "pads with zeros" in plan_folding(model).kept[norm.name]
    norm.moving_mean.assign([0, 0])
    norm.beta.assign([0, 0])
    assert_folds(model, 1)


def test_both_ways_and_two_in_a_row():
    """All of them into one layer."""
    norms = [BN(scale=False), BN(), BN(center=False)]
    model = chain([5], norms[0], layers.Dense(4), norms[1], norms[2], layers.ReLU())
    assert_folds(model, 3)
    assert set(plan_folding(model).folded.values()) == {model.layers[1].name}


BLOCKS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["Conv2D", "SeparableConv2D", "DepthwiseConv2D"]),
        "use_bias": st.booleans(),
        "padding": st.sampled_from(["same", "valid"]),
        "first": st.booleans(),
        "norm": st.fixed_dictionaries(
            {
                "axis": st.sampled_from([-1, 3, 1]),
                "center": st.booleans(),
                "scale": st.booleans(),
                "epsilon": st.sampled_from([1e-3, 0.1]),
            }
        ),
        "last": st.sampled_from([None, "ReLU", "Dropout", "ZeroPadding2D"]),
    }
)
OPTIONS = {"ReLU": [], "Dropout": [0.5], "ZeroPadding2D": [1]}


def layers_of(block):
    """BN before or behind a layer with weights, and perhaps another layer."""
    size = (3,) if block["kind"] == "DepthwiseConv2D" else (4, 3)
    kind = getattr(layers, block["kind"])
    pair = [
        kind(*size, use_bias=block["use_bias"], padding=block["padding"]),
        BN(**block["norm"]),
    ]
    last = [getattr(layers, block["last"])(*OPTIONS[block["last"]])] if block["last"] else []
    return (pair[::-1] if block["first"] else pair) + last


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(drawn=st.lists(BLOCKS, min_size=1, max_size=3))
def test_random_chains(drawn):
    """Whatever folds, the predictions are the same."""
    model = chain([12, 12, 3], *(layer for block in drawn for layer in layers_of(block)))
    count = len([layer for layer in model.layers if isinstance(layer, BN)])
    folded = len(plan_folding(model).folded)
    assert_folds(model, folded, count - folded)


def architecture(build, size):
    model = build(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None)
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, BN):
            layer.moving_mean.assign(generator.normal(0, 0.5, layer.moving_mean.shape))
            for variable in (layer.moving_variance, layer.gamma):
                variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    return model


@pytest.mark.parametrize(
    ("build", "size", "folded"),
    [
        (keras.applications.ResNet50, 32, 53),
        (keras.applications.MobileNetV2, 32, 52),
        (keras.applications.MobileNetV3Small, 32, 34),
    ],
)
def test_architectures(build, size, folded):
    """The last has operations without a layer of their own, and uses some layers again."""
    assert_folds(architecture(build, size), folded)


def test_what_stays_and_why():
    inputs = keras.Input([6, 6, 4])
    shared, twice = layers.Conv2D(4, 1, name="shared"), BN(name="twice")
    used = layers.Conv2D(4, 1, name="used")(inputs)
    outputs = [
        BN(name="of the input")(inputs),
        layers.ReLU()(
            BN(name="activated")(layers.Conv2D(4, 1, activation="relu", name="c")(inputs))
        ),
        layers.ReLU()(BN(name="of two")(used)) + used,
        layers.ReLU()(BN(name="of a shared one")(shared(inputs))) + shared(used),
        layers.ReLU()(twice(layers.Conv2D(4, 1)(inputs))) + twice(layers.Conv2D(4, 1)(inputs)),
        layers.ReLU()(BN(axis=1, name="of rows")(layers.Conv2D(4, 1)(inputs))),
        Inside(name="mine")(inputs),
    ]
    model = randomized(keras.Model(inputs, outputs))
    assert_folds(model, 0, 7)
    kept = plan_folding(model).kept
    assert "(InputLayer)" in kept["of the input"]
    assert 'before, "c", has an activation function' in kept["activated"]
    assert 'the outputs of "used" are used elsewhere too' in kept["of two"]
    assert '"shared", is called 2 times' in kept["of a shared one"]
    assert kept["twice"] == "it is called 2 times"
    assert "its axis 1 is not that of the channels" in kept["of rows"]
    assert kept["mine/norm"] == 'it is inside "mine" (Inside)'


def test_it_says_what_stays(capsys):
    fold_batch_norm(chain([3], layers.Dense(2), BN(), layers.ReLU(), BN(name="last")))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "1 of 2 BN layers folded"
    assert said[1].startswith("  last stays: before it is ")


def nested():
    inner = keras.Sequential([keras.Input([4]), layers.Dense(5), BN(name="bn")], name="inner")
    left, right = keras.Input([4], name="left"), keras.Input([4], name="right")
    joined = layers.Concatenate()([inner(left), inner(right)])
    outputs = {"a": BN(name="bn")(layers.Dense(3, name="head")(joined)), "b": joined}
    return randomized(keras.Model({"left": left, "right": right}, outputs))


def test_models_inside_models_with_several_inputs_and_outputs():
    model = nested()
    assert_folds(model, 2)
    assert plan_folding(model).folded["bn"] == "head"
    assert plan_folding(model).folded["inner/bn"].startswith("inner/dense")


# Saving a model asks NumPy for a copy in a way that NumPy will drop.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_new_model_is_a_model(tmp_path, capsys):
    model = chain([6, 6, 2], layers.Conv2D(3, 3), BN(), layers.ReLU(), layers.Flatten(), Halved())
    new = assert_folds(model, 1)
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


def test_frozen_layers_stay_frozen():
    dense = layers.Dense(4, trainable=False)
    new = assert_folds(chain([3], dense, BN(), layers.Dense(2)), 1)
    assert [layer.trainable for layer in new.layers] == [False, True]


def test_mixed_precision():
    options = {"dtype": "mixed_bfloat16"}
    model = chain([3], layers.Dense(4, **options), BN(**options), layers.ReLU(**options))
    inputs = random_inputs(model)
    new = fold_batch_norm(model)
    assert [layer.dtype_policy.name for layer in new.layers] == ["mixed_bfloat16"] * 2
    a, b = (predict(m, inputs).astype(np.float32) for m in (model, new))
    np.testing.assert_allclose(a, b, atol=0.02 * np.abs(a).max())


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: "a model", TypeError, "expected a Keras model, found str"),
        (lambda: keras.Sequential([layers.Dense(2)]), ValueError, "a model that is built"),
        (Subclassed, TypeError, "is a Subclassed"),
    ],
)
def test_what_cannot_be_folded(build, error, message):
    model = build()
    if isinstance(model, Subclassed):
        model(np.zeros([1, 2], np.float32))
    with pytest.raises(error, match=message):
        fold_batch_norm(model)
