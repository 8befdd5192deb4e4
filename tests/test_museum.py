"""Each exhibit: broken it is named, mended it passes, and a cure that only hides is recognised."""

import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from bn_tutorial import museum, networks, training
from bn_tutorial.keras_models import recalibrate
from bn_tutorial.mnist import load_mnist
from bn_tutorial.museum.verdicts import AS_IT_WAS, ERROR, WHERE_TO_LOOK

pytestmark = pytest.mark.slow  # each trains a network


@pytest.fixture(scope="module")
def data():
    return load_mnist(source="digits")


def norm(**settings):
    return layers.BatchNormalization(**{"momentum": 0.9} | settings)


def stacked(*, between, activation="relu", count=2, bias=False):
    """784-64-…-10 with whatever `between()` gives before each activation."""
    hidden = []
    for _ in range(count):
        found = between()
        hidden += [layers.Dense(64, use_bias=bias), *([found] if found else [])]
        hidden.append(layers.Activation(activation))
    return keras.Sequential([keras.Input([784]), *hidden, layers.Dense(10)])


# --- 1. Accuracy stuck at chance ------------------------------------------------------------------


def residual():
    """γ = 0 where it belongs: a shortcut goes around."""
    inputs = keras.Input([784])
    outputs = layers.Dense(64, use_bias=False)(inputs)
    outputs = norm(gamma_initializer="zeros")(outputs) + layers.Dense(64)(inputs)
    outputs = norm()(layers.Dense(64, use_bias=False)(layers.ReLU()(outputs)))
    return keras.Model(inputs, layers.Dense(10)(layers.ReLU()(outputs)))


def one_layer_mended():
    gammas = iter(["ones", "zeros"])
    return stacked(between=lambda: norm(gamma_initializer=next(gammas)))


STUCK = {
    "broken": (lambda: stacked(between=lambda: norm(gamma_initializer="zeros")), AS_IT_WAS),
    "ones": (lambda: stacked(between=norm), None),
    "no gamma": (lambda: stacked(between=lambda: norm(scale=False)), None),
    "a shortcut": (residual, None),
    "one layer only": (one_layer_mended, AS_IT_WAS),
    "a small gamma": (
        lambda: stacked(between=lambda: norm(gamma_initializer=keras.initializers.Constant(0.008))),
        "a slow start",
    ),
    "no BN": (lambda: stacked(between=lambda: None, bias=True), "batch normalization taken out"),
    "layer normalization": (
        lambda: stacked(between=layers.LayerNormalization),
        "batch normalization taken out",
    ),
    "nothing": (lambda: None, "no model"),
}


@pytest.mark.parametrize(("build", "mistake"), STUCK.values(), ids=STUCK)
def test_stuck_at_chance(data, build, mistake):
    assert museum.check_stuck_at_chance(build, data).mistake == mistake


# --- 2. Good in training, bad in evaluation -------------------------------------------------------


class ByItsBatch(layers.BatchNormalization):
    """Normalises by the batch, whatever it is told."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=True, mask=mask)


class ByItsPopulation(layers.BatchNormalization):
    """Normalises by the population, whatever it is told."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False, mask=mask)


def shared(kind=layers.BatchNormalization, **settings):
    normalize = kind(**{"momentum": 0.9} | settings)
    return lambda: stacked(between=lambda: normalize, activation="sigmoid", count=3)


def only_the_first_layer():
    norms = iter([norm(), None, None])
    return stacked(between=lambda: next(norms), activation="sigmoid", count=3)


def functional():
    outputs = inputs = keras.Input([784])
    for _ in range(3):
        outputs = norm()(layers.Dense(64, use_bias=False)(outputs))
        outputs = keras.ops.sigmoid(outputs)
    return keras.Model(inputs, layers.Dense(10)(outputs))


SHARED = {
    "broken": (shared(), AS_IT_WAS),
    "a layer each": (lambda: stacked(between=norm, activation="sigmoid", count=3), None),
    "functional": (functional, None),
    "another momentum": (shared(momentum=0.5), AS_IT_WAS),
    "by the batch": (shared(ByItsBatch), "batch statistics in evaluation"),
    "the first only": (only_the_first_layer, "batch normalization taken out"),
    "no BN": (
        lambda: stacked(between=lambda: None, activation="sigmoid", count=3),
        "batch normalization taken out",
    ),
}


@pytest.mark.parametrize(("build", "mistake"), SHARED.values(), ids=SHARED)
def test_bad_in_evaluation(data, build, mistake):
    assert museum.check_bad_in_evaluation(build, data).mistake == mistake


# --- 3. One class for all -------------------------------------------------------------------------


class ByItsCompany(layers.BatchNormalization):
    """By the population if alone, by the batch otherwise."""

    def call(self, inputs, training=None, mask=None):
        alone, together = (
            super(ByItsCompany, self).call(inputs, training=flag) for flag in (False, True)
        )
        return tf.where(tf.shape(inputs)[0] > 1, together, alone)


SINGLE = {
    "broken": (lambda: stacked(between=lambda: ByItsBatch(momentum=0.9)), AS_IT_WAS),
    "told": (lambda: stacked(between=norm), None),
    "functional": (functional, None),
    "never by the batch": (
        lambda: stacked(between=ByItsPopulation),
        "batch normalization switched off",
    ),
    "by its company": (
        lambda: stacked(between=lambda: ByItsCompany(momentum=0.9)),
        "batch statistics in evaluation",
    ),
    "layer normalization": (
        lambda: stacked(between=layers.LayerNormalization),
        "batch normalization taken out",
    ),
}


@pytest.mark.parametrize(("build", "mistake"), SINGLE.values(), ids=SINGLE)
def test_one_class(data, build, mistake):
    assert museum.check_one_class(build, data).mistake == mistake


# --- 4. NaN after some steps ----------------------------------------------------------------------


def one_pass(counts):
    mean = tf.reduce_mean(counts, axis=0)
    return mean, tf.reduce_mean(tf.square(counts), axis=0) - tf.square(mean)


def standardizing(moments, epsilon=1e-3):
    def standardize(counts):
        mean, variance = moments(counts)
        return (counts - mean) / tf.sqrt(variance + epsilon)

    return standardize


def clamped(counts):
    mean, variance = one_pass(counts)
    return mean, tf.maximum(variance, 0)


def shifted(counts):
    """One pass, but from a point near the data."""
    mean, variance = one_pass(counts - counts[0])
    return mean + counts[0], variance


def by_keras(counts):
    layer = layers.BatchNormalization()
    return layer(counts, training=True)


def without_nan(counts):
    outputs = standardizing(one_pass)(counts)
    return tf.where(tf.math.is_nan(outputs), 0.0, outputs)


NAN = {
    "broken": (standardizing(one_pass), AS_IT_WAS),
    "two passes": (standardizing(lambda counts: tf.nn.moments(counts, axes=[0])), None),
    "shifted": (standardizing(shifted), None),
    "Keras": (by_keras, None),
    "clamped": (standardizing(clamped), "a variance of noise"),
    "absolute": (
        standardizing(lambda counts: (one_pass(counts)[0], tf.abs(one_pass(counts)[1]))),
        "a variance of noise",
    ),
    "NaN replaced": (without_nan, "a variance of noise"),
    "a larger epsilon": (standardizing(one_pass, epsilon=1.0), "a larger epsilon"),
    "smaller numbers": (lambda x: standardizing(one_pass)(x / 4000), "a larger epsilon"),
    "nothing": (lambda counts: counts, "not standardised"),
    "a statistic": (lambda counts: tf.reduce_mean(counts, axis=0), "another shape or type"),
    "float64": (
        lambda counts: standardizing(one_pass)(tf.cast(counts, tf.float64)),
        "another shape or type",
    ),
}


@pytest.mark.parametrize(("standardize", "mistake"), NAN.values(), ids=NAN)
def test_nan(data, standardize, mistake):
    assert museum.check_nan(standardize, data).mistake == mistake


# --- 5. Results that change with the batch size ---------------------------------------------------


def standardized(images, mean, deviation):
    return (images - mean) / (deviation + 0.1)


def by(choose):
    """Standardise by the images that `choose(images, training_images)` gives."""

    def predict(model, images, training_images):
        others = choose(images, training_images)
        return np.array(model(standardized(images, others.mean(axis=0), others.std(axis=0))))

    return predict


def by_a_layer(model, images, training_images):
    mean, variance = tf.nn.moments(tf.constant(training_images), axes=[0])
    return model.predict(standardized(images, mean, tf.sqrt(variance)), verbose=0, batch_size=1)


def by_itself(model, images, training_images):
    mean, deviation = (f(images, axis=1, keepdims=True) for f in (np.mean, np.std))
    return model(standardized(images, mean, deviation))


TEST_IMAGES = load_mnist(source="digits").test.images
COMPANY = {
    "broken": (by(lambda images, _: images), AS_IT_WAS),
    "training images": (by(lambda _, training_images: training_images), None),
    "moments": (by_a_layer, None),
    "the test set": (by(lambda *_: TEST_IMAGES), "statistics of the test set"),
    "among training images": (by(lambda *both: np.concatenate(both)), "neighbours still count"),
    "each by itself": (by_itself, "not what the model was trained on"),
    "not at all": (lambda model, images, _: model(images), "not what the model was trained on"),
}


@pytest.mark.parametrize(("predict", "mistake"), COMPANY.values(), ids=COMPANY)
def test_batch_size(data, predict, mistake):
    assert museum.check_batch_size(predict, data).mistake == mistake


# --- 6. A checkpoint that restores to rubbish -----------------------------------------------------


def save_trained(model, folder):
    np.savez(folder / "numbers.npz", *[v.numpy() for v in model.trainable_variables])


def restore_trained(model, folder):
    with np.load(folder / "numbers.npz") as file:
        for name, variable in zip(file.files, model.trainable_variables, strict=True):
            variable.assign(file[name])


def restore_and_recalibrate(model, folder):
    restore_trained(model, folder)
    train = load_mnist(source="digits").train
    recalibrate(model, train.images[:960])


def save_checkpoint(model, folder):
    tf.train.Checkpoint(model).write(str(folder / "checkpoint"))


def restore_checkpoint(model, folder):
    tf.train.Checkpoint(model).read(str(folder / "checkpoint"))


KEPT = []


def keep(model, folder):
    KEPT[:] = model.get_weights()


def save_all(model, folder):
    np.savez(folder / "all.npz", *model.get_weights())


def restore_all(model, folder):
    with np.load(folder / "all.npz") as file:
        model.set_weights([file[name] for name in file.files])


def restore_shuffled(model, folder):
    restore_all(model, folder)
    model.layers[0].kernel.assign(model.layers[0].kernel[::-1])


SAVED = {
    "broken": (save_trained, restore_trained, AS_IT_WAS),
    "all": (save_all, restore_all, None),
    "Keras": (
        lambda model, folder: model.save(folder / "model.keras"),
        lambda _, folder: keras.models.load_model(folder / "model.keras"),
        None,
    ),
    "a checkpoint": (save_checkpoint, restore_checkpoint, None),
    "recalibrated": (save_trained, restore_and_recalibrate, "computed anew, not restored"),
    "in memory": (keep, lambda model, _: model.set_weights(KEPT), "not from the file"),
    "mixed up": (save_all, restore_shuffled, "trained variables differ"),
    "moved": (
        lambda model, _: model.layers[0].kernel.assign(0 * model.layers[0].kernel),
        restore_all,
        "saving changes the model",
    ),
}


# Keras's own `save` still asks NumPy in a way that is deprecated.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
@pytest.mark.parametrize(("save", "restore", "mistake"), SAVED.values(), ids=SAVED)
def test_checkpoint(data, save, restore, mistake):
    assert museum.check_checkpoint(save, restore, data).mistake == mistake


# --- 7. A frozen layer that moves -----------------------------------------------------------------


def train_head(backbone, head, images, classes, training, variables=None):
    """A loop as in the exhibit; `training` is what the backbone is called with."""
    optimizer = keras.optimizers.SGD(0.1)
    variables = head.trainable_variables if variables is None else variables
    for start in range(0, 600, 60):
        batch = slice(start, start + 60)
        with tf.GradientTape() as tape:
            logits = head(backbone(images[batch], training=training), training=True)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(classes[batch], logits)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))


def not_trainable(backbone, *rest):
    backbone.trainable = False
    train_head(backbone, *rest, training=True)


def features_first(backbone, head, images, classes):
    features = backbone.predict(images, verbose=0)
    train_head(tf.keras.layers.Identity(), head, features, classes, training=None)


def put_back(backbone, *rest):
    before = backbone.get_weights()
    train_head(backbone, *rest, training=True)
    backbone.set_weights(before)


def a_copy(backbone, *rest):
    copy = keras.models.clone_model(backbone)
    copy.set_weights(backbone.get_weights())
    train_head(copy, *rest, training=True)


def momentum_of_one(backbone, *rest):
    backbone.layers[1].momentum = 1.0
    train_head(backbone, *rest, training=True)


def all_of_it(backbone, head, images, classes):
    variables = [*backbone.trainable_variables, *head.trainable_variables]
    train_head(backbone, head, images, classes, True, variables)


FROZEN = {
    "broken": (lambda *parts: train_head(*parts, training=True), AS_IT_WAS),
    "in evaluation": (lambda *parts: train_head(*parts, training=False), None),
    "not trainable": (not_trainable, None),
    "features first": (features_first, None),
    "put back": (put_back, "features of another network"),
    "a copy moves": (a_copy, "features of another network"),
    "momentum of one": (momentum_of_one, "features of another network"),
    "all trained": (all_of_it, "the backbone is trained"),
    "nothing": (lambda *parts: None, "nothing is trained"),
}


@pytest.mark.parametrize(("fine_tune", "mistake"), FROZEN.values(), ids=FROZEN)
def test_frozen(data, fine_tune, mistake):
    assert museum.check_frozen(fine_tune, data).mistake == mistake


# --- 8. A last batch of one -----------------------------------------------------------------------


def split(numbers, size):
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def join_the_lone(numbers, size):
    *batches, last = split(numbers, size)
    if len(last) > 1:
        return [*batches, last]
    return [*batches[:-1], np.concatenate([batches[-1], last])]


def copy_the_lone(numbers, size):
    return [np.resize(batch, max(2, len(batch))) for batch in split(numbers, size)]


def fill_up(numbers, size):
    return split(np.resize(numbers, -(-len(numbers) // size) * size), size)


SPLIT = {
    "broken": (split, AS_IT_WAS),
    "evenly": (lambda numbers, size: np.array_split(numbers, -(-len(numbers) // size)), None),
    "joined": (join_the_lone, None),
    "dropped": (
        lambda numbers, size: [batch for batch in split(numbers, size) if len(batch) > 1],
        "samples are left out",
    ),
    "remainder dropped": (
        lambda numbers, size: [batch for batch in split(numbers, size) if len(batch) == size],
        "samples are left out",
    ),
    "copied": (copy_the_lone, "samples count twice"),
    "filled up": (fill_up, "samples count twice"),
    "one batch": (lambda numbers, size: [numbers], "another batch size"),
    "works for this number": (lambda numbers, size: split(numbers, size - 1), AS_IT_WAS),
    "an empty one": (lambda numbers, size: [numbers[:size], numbers[size:], []], "an empty batch"),
    "nothing": (lambda numbers, size: [], "samples are left out"),
}


@pytest.mark.parametrize(("split", "mistake"), SPLIT.values(), ids=SPLIT)
def test_last_batch(data, split, mistake):
    assert museum.check_last_batch(split, data).mistake == mistake


# --- 9. Two frameworks that differ ----------------------------------------------------------------


def converted(state, shift=0.0, **settings):
    dense, normalize, output = layers.Dense(64, use_bias=False), norm(**settings), layers.Dense(10)
    model = keras.Sequential([keras.Input([784]), dense, normalize, layers.ReLU(), output])
    dense.set_weights([state["fc1.weight"].T])
    numbers = [state[f"bn1.{name}"] for name in ("weight", "bias", "running_mean", "running_var")]
    numbers[-1] = numbers[-1] + np.float32(shift)
    normalize.set_weights(numbers)
    output.set_weights([state["fc2.weight"].T, state["fc2.bias"]])
    return model


def functional_conversion(state):
    named = converted(state, momentum=0.9, epsilon=1e-5)
    outputs = inputs = keras.Input([784])
    for layer in named.layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def folded(state):
    scale = state["bn1.weight"] / np.sqrt(state["bn1.running_var"] + 1e-5)
    dense, output = layers.Dense(64, activation="relu"), layers.Dense(10)
    model = keras.Sequential([keras.Input([784]), dense, output])
    bias = state["bn1.bias"] - scale * state["bn1.running_mean"]
    dense.set_weights([state["fc1.weight"].T * scale, bias])
    output.set_weights([state["fc2.weight"].T, state["fc2.bias"]])
    return model


TWO = {
    "broken": (lambda state: converted(state, momentum=0.1), AS_IT_WAS),
    "both defaults": (lambda state: converted(state, momentum=0.9, epsilon=1e-5), None),
    "functional": (functional_conversion, None),
    "momentum only": (lambda state: converted(state), AS_IT_WAS),
    "epsilon only": (
        lambda state: converted(state, momentum=0.1, epsilon=1e-5),
        "right only until it is trained",
    ),
    "Keras's momentum": (
        lambda state: converted(state, momentum=0.99, epsilon=1e-5),
        "right only until it is trained",
    ),
    "epsilon in the variance": (
        lambda state: converted(state, shift=1e-5 - 1e-3),
        "statistics bent to fit",
    ),
    "folded": (folded, "batch normalization taken out"),
}


@pytest.mark.parametrize(("to_keras", "mistake"), TWO.values(), ids=TWO)
def test_two_frameworks(data, to_keras, mistake):
    assert museum.check_two_frameworks(to_keras, data).mistake == mistake


# --- 10. Replicas that drift ----------------------------------------------------------------------


def train_step(replicas, shares, rate=0.01):
    gradients = [
        training.loss_and_gradients(replica, images, classes)[1]
        for replica, (images, classes) in zip(replicas, shares, strict=True)
    ]
    for replica in replicas:
        for variable, *parts in zip(replica.trainable_variables, *gradients, strict=True):
            variable.assign_sub(rate * sum(parts))


def populations(replica):
    return [
        v for layer in replica.layers for v in (layer.batch_norm.pop_mean, layer.batch_norm.pop_var)
    ]


def and_join(join):
    """After the step, give all replicas what `join` makes of each statistic's values."""

    def step(replicas, shares):
        train_step(replicas, shares)
        for variables in zip(*map(populations, replicas), strict=True):
            joined = join([variable.numpy() for variable in variables])
            for variable in variables:
                variable.assign(joined)

    return step


def one_for_both(replicas, shares):
    """The whole batch on one replica, whose numbers the others take."""
    first, *others = replicas
    images, classes = (np.concatenate(parts) for parts in zip(*shares, strict=True))
    training.gradient_descent_step(first, images, classes, 0.01)
    for other in others:
        for variable, value in zip(other.variables, first.variables, strict=True):
            variable.assign(value)


def without_exchange(replicas, shares):
    for replica, (images, classes) in zip(replicas, shares, strict=True):
        training.gradient_descent_step(replica, images, classes, 0.01)


REPLICAS = {
    "broken": (train_step, AS_IT_WAS),
    "averaged": (and_join(lambda values: sum(values) / len(values)), None),
    "one for both": (one_for_both, None),
    "the first's": (and_join(lambda values: values[0]), "one replica's statistics for all"),
    "the last's": (and_join(lambda values: values[-1]), "one replica's statistics for all"),
    "a start over": (and_join(lambda values: 0 * values[0] + 1), "statistics of neither"),
    "nothing exchanged": (without_exchange, "the weights part"),
    "not trained": (lambda *_: None, "statistics of neither"),
}


@pytest.mark.parametrize(("step", "mistake"), REPLICAS.values(), ids=REPLICAS)
def test_replicas(data, step, mistake):
    assert museum.check_replicas(step, data).mistake == mistake


# --- All of them ----------------------------------------------------------------------------------

CHECKS = {
    "stuck_at_chance": (museum.check_stuck_at_chance, [STUCK["broken"][0]], "ones"),
    "bad_in_evaluation": (museum.check_bad_in_evaluation, [SHARED["broken"][0]], "a layer each"),
    "one_class": (museum.check_one_class, [SINGLE["broken"][0]], "training=training"),
    "nan": (museum.check_nan, [NAN["broken"][0]], "moments"),
    "batch_size": (museum.check_batch_size, [COMPANY["broken"][0]], "training_images.mean"),
    "checkpoint": (museum.check_checkpoint, SAVED["broken"][:2], "model.variables"),
    "frozen": (museum.check_frozen, [FROZEN["broken"][0]], "training=False"),
    "last_batch": (museum.check_last_batch, [SPLIT["broken"][0]], "array_split"),
    "two_frameworks": (museum.check_two_frameworks, [TWO["broken"][0]], "0.9"),
    "replicas": (museum.check_replicas, [REPLICAS["broken"][0]], "average"),
}


@pytest.mark.parametrize(("check", "broken", "solution"), CHECKS.values(), ids=CHECKS)
def test_hint_names_the_section_and_no_solution(data, check, broken, solution):
    result = check(*broken, data, hint=True)
    place = WHERE_TO_LOOK[check.__name__.removeprefix("check_")]
    where = f"\nWhere to look: notebook {place.notebook}, section “{place.heading}”."
    assert result.text.endswith(where)
    assert not result.passed
    assert result.mistake == AS_IT_WAS
    assert solution not in result.text


def test_each_exhibit_has_a_hint_and_a_check():
    assert set(CHECKS) == set(WHERE_TO_LOOK)
    assert {f"check_{name}" for name in CHECKS} == {
        name for name in museum.__all__ if name.startswith("check_")
    }


def fails(*_):
    raise RuntimeError("no\n  way")


def ends(*_):
    raise SystemExit("no way")


@pytest.mark.parametrize("program", [fails, ends])
def test_whatever_is_raised_is_reported(data, program):
    result = museum.check_nan(program, data)
    assert (result.passed, result.mistake) == (False, ERROR)
    assert re.search(r"(RuntimeError|SystemExit): no way$", str(result))


@pytest.mark.parametrize("program", [None, lambda *_: np.ones(3)])
def test_nonsense_is_reported(data, program):
    for check, broken, _ in CHECKS.values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert not check(*[program] * len(broken), data).passed


def test_a_check_leaves_the_order_of_the_batches_alone():
    used, fresh = (load_mnist(source="digits") for _ in range(2))
    museum.check_nan(NAN["broken"][0], used)
    assert np.array_equal(used.train.next_indices(60), fresh.train.next_indices(60))


def test_torch_state_has_the_shapes_of_pytorch(data):
    state = museum.torch_state(data)
    shapes = {name: value.shape for name, value in state.items()}
    assert shapes["fc1.weight"] == (64, 784)
    assert shapes["fc2.weight"] == (10, 64)
    assert all(value.dtype == np.float32 for value in state.values())
    spread = (data.train.images @ state["fc1.weight"].T).var(axis=0)
    assert np.allclose(state["bn1.running_var"], spread, rtol=0.5)  # of batches, near the end
    assert networks.LAYER_SIZES[0] == state["fc1.weight"].shape[1]
