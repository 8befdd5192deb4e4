import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from bn_tutorial.keras_models import fold_batch_norm, plan_folding

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
        lambda tensor: generator.normal(size=(3, *(n or 9 for n in tensor.shape[1:]))).astype(
            np.float32
        ),
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
    assert getattr(new, "output_names", None) == getattr(model, "output_names", None)
    left = [layer for layer in new.layers if not isinstance(layer, layers.Identity)]
    gone = {name.split("/")[0] for name in plan.folded} - {layer.name for layer in left}
    assert [layer.name for layer in model.layers if layer.name not in gone] == [
        layer.name for layer in left
    ]
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
    assert "zeros" in plan_folding(model).kept[norm.name]
    norm.moving_mean.assign([0, 0])
    norm.beta.assign([0, 0])
    assert_folds(model, 1)


def test_both_ways_and_two_in_a_row():
    """All of them into one layer."""
    norms = [BN(scale=False), BN(), BN(center=False)]
    model = chain([5], norms[0], layers.Dense(4), norms[1], norms[2], layers.ReLU())
    assert_folds(model, 3)
    assert set(plan_folding(model).folded.values()) == {model.layers[1].name}


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
        pytest.param(keras.applications.ResNet50, 32, 53, marks=pytest.mark.slow),
        pytest.param(keras.applications.MobileNetV2, 32, 52, marks=pytest.mark.slow),
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
    assert set(kept) == {
        "of the input", "activated", "of two", "of a shared one", "twice", "of rows", "mine/norm"
    }  # fmt: skip
    assert "input" in kept["of the input"]
    assert "activation" in kept["activated"]
    assert "elsewhere" in kept["of two"]
    assert "2 times" in kept["of a shared one"]
    assert kept["twice"] == "it is called 2 times"
    assert "axis 1" in kept["of rows"]
    assert "Inside" in kept["mine/norm"]


def test_operations_without_a_layer_are_stepped_over():
    inputs = keras.Input([6])
    stays(keras.Model(inputs, Inside()(layers.ReLU()(keras.ops.multiply(inputs, 2.0)))), "Inside")


def test_it_says_what_stays(capsys):
    """One line for each reason, and none if it is to be silent."""
    blocks = [(layers.ReLU(), BN(name=f"bn{number}")) for number in range(5)]
    model = chain([3], layers.Dense(2), BN(), *(layer for block in blocks for layer in block))
    fold_batch_norm(model)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "1 of 6 BN layers folded"
    assert len(said) == 4  # the last one has nothing after it
    assert str(plan_folding(model)).splitlines() == said
    fold_batch_norm(model, verbose=0)
    assert capsys.readouterr().out == ""


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
        (lambda: "a model", TypeError, "expected a Keras 3 model, found str"),
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


# What stays, because it is not what it looks like.


def stays(model, reason):
    assert_folds(model, 0, 1)
    ((_, found),) = plan_folding(model).kept.items()
    assert reason in found


class Own(BN):
    def call(self, inputs, training=None, mask=None):
        return inputs + super().call(inputs, training=training, mask=mask)


class OwnDense(layers.Dense):
    def call(self, inputs):
        return super().call(inputs) ** 2


# Quantizing asks NumPy for a copy in a way that NumPy will drop.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_only_what_is_exactly_known_folds():
    stays(chain([3], layers.Dense(4), Own()), "Own")
    stays(chain([3], OwnDense(4), BN()), "OwnDense")
    dense = layers.Dense(4)
    model = chain([3], dense, BN(), layers.ReLU())
    dense.quantize("int8")
    stays(model, "plain")
    dense = layers.Dense(4)
    model = chain([3], dense, BN(), layers.ReLU())
    dense.enable_lora(2)
    stays(model, "plain")
    model = chain([3], layers.Dense(4), BN(), layers.ReLU())
    model.layers[1].moving_variance.assign([1, 1, -0.5, 1])
    assert "negative" in next(iter(plan_folding(model).kept.values()))
    model.layers[1].moving_variance.assign([1, 1, np.nan, 1])
    assert "finite" in next(iter(plan_folding(model).kept.values()))


def test_a_layer_whose_call_was_replaced():
    dense = layers.Dense(4)
    model = chain([3], dense, BN(), layers.ReLU())
    dense.__dict__["call"] = lambda inputs: inputs @ dense.kernel * 2
    assert plan_folding(model).folded == {}


def test_bn_that_always_normalises_by_its_batch_stays():
    inputs = keras.Input([3])
    hidden = BN(name="always")(layers.Dense(4)(inputs), training=True)
    inner = keras.Sequential([keras.Input([4]), layers.Dense(4), BN(name="inside")], name="inner")
    model = randomized(keras.Model(inputs, inner(hidden, training=True)))
    plan = plan_folding(model)
    assert set(plan.kept) == {"always", "inner/inside"}
    assert all("training=True" in reason for reason in plan.kept.values())
    dropped = layers.Dropout(0.5)(layers.Dense(4)(inputs), training=True)
    assert plan_folding(randomized(keras.Model(inputs, BN()(dropped)))).folded == {}


def test_a_pair_that_rounding_keeps_apart_stays():
    """In float16 the folded weights would be too large to be told from infinity."""
    options = {"dtype": "mixed_float16"}
    model = chain([3], layers.Dense(4, **options), BN(**options), layers.ReLU())
    norm = model.layers[1]
    norm.gamma.assign(np.full(4, 1e6))
    norm.beta.assign(np.zeros(4))
    norm.moving_mean.assign(np.full(4, 1e4))
    assert "differ" in next(iter(plan_folding(model).kept.values()))


# States that have to come along.


def test_states_come_along():
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(3.0, 2.0, (50, 3)))
    assert_folds(chain_as_it_is([3], normalization, layers.Dense(4), BN(), layers.ReLU()), 1)


def chain_as_it_is(shape, *blocks):
    """Statistics drawn anew, everything else as it was built."""
    model = keras.Sequential([keras.Input(shape), *blocks])
    for layer in model.layers:
        if isinstance(layer, BN):
            randomized(layer)
    return model


def test_tables_come_along():
    words = layers.StringLookup()
    words.adapt(["one", "two", "three"])
    inputs = keras.Input([2], dtype="string")
    embedded = layers.Flatten()(layers.Embedding(4, 3)(words(inputs)))
    model = keras.Model(inputs, layers.ReLU()(BN()(layers.Dense(4)(embedded))))
    new = fold_batch_norm(model)
    some = tf.constant([["one", "three"], ["two", "four"]])
    np.testing.assert_allclose(predict(model, some), predict(new, some), atol=1e-6)


class Noisy(layers.Layer):
    """Random at inference too, by a seed that is part of the model."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seed = keras.random.SeedGenerator(3)

    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.seed)


def test_seeds_come_along():
    model = chain([3], layers.Dense(4), BN(), Noisy())
    inputs = random_inputs(model)
    predict(model, inputs)
    new = fold_batch_norm(model)
    np.testing.assert_allclose(predict(new, inputs), predict(model, inputs), atol=1e-5)


def squared(inputs):
    return inputs**2


def test_functions_that_are_not_registered():
    dense = layers.Dense(4, activation=squared)
    assert_folds(chain([3], dense, layers.Dense(4), BN(), layers.Activation(squared)), 1)
    unknown = chain(
        [3], layers.Dense(4), BN(), layers.Lambda(lambda inputs: inputs * 2, name="own")
    )
    with pytest.raises(ValueError, match='Keras can\'t make "own" .Lambda. anew') as raised:
        fold_batch_norm(unknown)
    assert raised.value.__suppress_context__


def test_outputs_keep_their_names():
    inputs = keras.Input([3])
    heads = [BN(name=f"head_{name}")(layers.Dense(2, name=f"d{name}")(inputs)) for name in "ab"]
    model = randomized(keras.Model(inputs, heads))
    new = assert_folds(model, 2)
    assert new.output_names == ["head_a", "head_b"]


# More that folds.


@pytest.mark.parametrize(
    "build",
    [
        lambda: chain([5, 4, 3], BN(), layers.Flatten(), layers.Dense(2)),
        lambda: chain(
            [5, 4, 3], BN(axis=1), layers.Flatten(), layers.Dropout(0.5), layers.Dense(2)
        ),
        lambda: chain(
            [5, 4, 3], BN(), layers.Permute((2, 3, 1)), layers.Flatten(), layers.Dense(2)
        ),
        lambda: chain([5], layers.Dense(24), layers.Reshape((2, 4, 3)), BN(), layers.ReLU()),
        lambda: chain([5], layers.Dense(4), layers.GaussianNoise(1.0), BN(), layers.ReLU()),
        lambda: chain([8, 8, 2], BN(), layers.SpatialDropout2D(0.5), layers.Conv2D(3, 3)),
        lambda: chain([5, 3], layers.TimeDistributed(layers.Dense(4)), BN(), layers.ReLU()),
        lambda: chain(
            [5, 3], layers.TimeDistributed(BN()), layers.TimeDistributed(layers.Dense(4))
        ),
        lambda: chain([None, None, 2], layers.Conv2D(3, 3, dilation_rate=2), BN(), layers.ReLU()),
    ],
)
def test_through_what_does_nothing(build):
    assert_folds(build(), 1)


def test_what_moves_values_between_channels_is_seen():
    """BN over what is flattened has a scale of its own for each place; a convolution has not."""
    stays(chain([6, 6, 2], layers.Conv2D(3, 3), layers.Flatten(), BN(), layers.ReLU()), "axis")
    stays(chain([6, 6, 2], layers.Conv2D(6, 3), layers.Permute((1, 3, 2)), BN()), "axis")


def test_across_the_border_of_a_model_inside():
    for ends in (True, False):
        tail = [] if ends else [layers.Dropout(0.5)]
        inner = keras.Sequential([keras.Input([8, 8, 2]), layers.Conv2D(3, 3), *tail], name="inner")
        model = chain([8, 8, 2], inner, BN(name="outside"), layers.ReLU())
        assert_folds(model, 1)
        assert plan_folding(model).folded["outside"].startswith("inner/conv2d")
    inner = keras.Sequential(
        [keras.Input([6, 6, 3]), BN(name="first"), layers.ReLU()], name="inner"
    )
    model = chain([8, 8, 2], layers.Conv2D(3, 3, name="outside"), inner)
    assert_folds(model, 1)
    assert plan_folding(model).folded == {"inner/first": "outside"}
    last = keras.Sequential([keras.Input([6]), layers.ReLU(), BN(name="last")], name="inner")
    assert_folds(chain([6], last, layers.Dense(2)), 1)


def test_across_no_border_that_is_crossed_twice():
    inner = keras.Sequential([keras.Input([4]), layers.Dense(4)], name="inner")
    inputs = keras.Input([4])
    model = keras.Model(inputs, BN(name="one")(inner(inputs)) + inner(inputs * 2))
    assert_folds(randomized(model), 0, 1)


def test_inside_time_distributed():
    inner = keras.Sequential([keras.Input([8, 8, 2]), layers.Conv2D(3, 3), BN(), layers.ReLU()])
    assert_folds(chain([4, 8, 8, 2], layers.TimeDistributed(inner)), 1)


def test_a_subclass_of_a_functional_model_is_left_alone():
    class Doubled(keras.Sequential):
        def call(self, inputs, training=None, mask=None):  # noqa: ARG002
            return 2 * super().call(inputs, training=training)

    inner = Doubled([keras.Input([3]), layers.Dense(4), BN(name="inside")], name="inner")
    stays(randomized(keras.Sequential([keras.Input([3]), inner])), "Doubled")


def test_the_plan_is_a_table_in_a_notebook():
    plan = plan_folding(chain([3], layers.Dense(4), BN(name="x"), layers.ReLU(), BN(name="y")))
    assert repr(plan) == str(plan)
    assert {"x": "dense"}.keys() == plan.folded.keys()
    assert "  y: before it is ReLU" in str(plan)
