"""`museum`: broken programs are named, mended ones pass, cures that only hide are recognised."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from bn_tutorial import training
from bn_tutorial.exercises import museum
from bn_tutorial.exercises.results import AS_IT_WAS
from bn_tutorial.keras_models import recalibrate
from bn_tutorial.mnist import load_mnist
from tests.exercises.programs import EXHIBITS, SOLVED, UNSOLVED

pytestmark = pytest.mark.slow  # each trains a network
DIGITS = load_mnist(source="digits")


class ByItsBatch(layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=True, mask=mask)


def stacked(norms, activation="relu", scale=1.0):
    """A function that builds 784-64-…-10 with these before the activations; None leaves one out."""

    def build():
        hidden = []
        for norm in norms():
            hidden += [layers.Dense(64), *([norm] if norm else []), layers.Activation(activation)]
        outputs = [layers.Dense(10), layers.Rescaling(scale)]
        return keras.Sequential([keras.Input([784]), *hidden, *outputs])

    return build


def each(count, kind=layers.BatchNormalization, **settings):
    return lambda: [kind(**{"momentum": 0.9} | settings) for _ in range(count)]


def functional():
    outputs = inputs = keras.Input([784])
    for norm in each(3)():
        outputs = keras.ops.sigmoid(norm(layers.Dense(64, use_bias=False)(outputs)))
    return keras.Model(inputs, layers.Dense(10)(outputs))


def zero_after_one():
    return [layers.BatchNormalization(), layers.BatchNormalization(gamma_initializer="zeros")]


OUT = "batch normalization taken out"
small = keras.initializers.Constant(0.008)
STUCK = {
    "no gamma": (stacked(each(2, scale=False)), None),
    "one layer only": (stacked(zero_after_one), AS_IT_WAS),
    "a small gamma": (stacked(each(2, gamma_initializer=small)), "a slow start"),
    "no BN": (stacked(lambda: [None, None]), OUT),
    "layer normalization": (stacked(lambda: [layers.LayerNormalization() for _ in "ab"]), OUT),
}
SHARED = {
    "functional": (functional, None),
    "another momentum": (stacked(lambda: 3 * each(1, momentum=0.5)(), "sigmoid"), AS_IT_WAS),
    "by the batch": (
        stacked(lambda: 3 * each(1, ByItsBatch)(), "sigmoid"),
        "batch statistics in evaluation",
    ),
    "the first only": (stacked(lambda: [*each(1)(), None, None], "sigmoid"), OUT),
    "slow": (stacked(each(3), "sigmoid", scale=0.01), "worse in training"),
}
SINGLE = {
    "functional": (functional, None),
    "never by the batch": (stacked(each(2, trainable=False)), "batch normalization switched off"),
    "slow": (stacked(each(2), "sigmoid", scale=0.01), "single images are guessed"),
}

broken_standardize = UNSOLVED["standardize"]


def change_variance(change):
    def standardize(counts):
        mean = tf.reduce_mean(counts, axis=0)
        variance = tf.reduce_mean(tf.square(counts), axis=0) - tf.square(mean)
        return (counts - mean) / tf.sqrt(change(variance) + 1e-3)

    return standardize


def without_nan(counts):
    outputs = broken_standardize(counts)
    return tf.where(tf.math.is_nan(outputs), 0.0, outputs)


NAN = {
    "shifted": (lambda counts: broken_standardize(counts - counts[0]), None),
    "Keras": (lambda counts: layers.BatchNormalization()(counts, training=True), None),
    "clamped": (change_variance(lambda v: tf.maximum(v, 0)), "a variance of noise"),
    "NaN replaced": (without_nan, "a variance of noise"),
    "a larger epsilon": (lambda x: broken_standardize(x, epsilon=1.0), "not standardised"),
    "smaller numbers": (lambda counts: broken_standardize(counts / 4000), "not standardised"),
    "a statistic": (lambda counts: tf.reduce_mean(counts, axis=0), "not standardised"),
    "float64": (lambda x: broken_standardize(tf.cast(x, tf.float64)), "not standardised"),
}


def by(choose):
    """Standardise by the images that `choose(images, training_images)` gives."""

    def predict(model, images, training_images):
        others = choose(images, training_images)
        return np.array(model((images - others.mean(axis=0)) / (others.std(axis=0) + 0.1)))

    return predict


UNPREPARED = "not what the model was trained on"
COMPANY = {
    "the test set": (by(lambda *_: DIGITS.test.images), UNPREPARED),
    "not at all": (lambda model, images, _: model(images), UNPREPARED),
    "among training images": (by(lambda *both: np.concatenate(both)), "neighbours still count"),
}


def restore_and_recalibrate(model, folder):
    UNSOLVED["restore"](model, folder)
    recalibrate(model, DIGITS.train.images[:960])


KEPT = []


def keep(model, folder):
    KEPT[:] = model.get_weights()


SAVED = {
    "Keras": (
        lambda model, folder: model.save(folder / "model.keras"),
        lambda _, folder: keras.models.load_model(folder / "model.keras"),
        None,
    ),
    "recalibrated": (UNSOLVED["save"], restore_and_recalibrate, "another network"),
    "in memory": (keep, lambda model, _: model.set_weights(KEPT), "not from the file"),
}


def with_settings(shift=0.0, **settings):
    """As in the solution, with another BN layer."""

    def to_keras(state):
        model = SOLVED["to_keras"](state)
        norm = layers.BatchNormalization(**settings)
        dense, old, *rest = model.layers
        changed = keras.Sequential([keras.Input([784]), dense, norm, *rest])
        *numbers, variance = old.get_weights()
        norm.set_weights([*numbers, variance + np.float32(shift)])
        return changed

    return to_keras


ONLY_UNTIL = "right only until it is trained"
TWO = {
    "momentum only": (with_settings(momentum=0.9), AS_IT_WAS),
    "epsilon only": (with_settings(momentum=0.1, epsilon=1e-5), ONLY_UNTIL),
    "Keras's momentum": (with_settings(epsilon=1e-5), ONLY_UNTIL),
    "in the variance": (with_settings(1e-5 - 1e-3, momentum=0.9), "statistics bent to fit"),
}


def with_backbone(change):
    """The broken loop, with another backbone."""

    def fine_tune(backbone, *rest):
        UNSOLVED["fine_tune"](change(backbone) or backbone, *rest)

    return fine_tune


def not_trainable(backbone):
    backbone.trainable = False


def momentum_of_one(backbone):
    backbone.layers[1].momentum = 1.0


def a_copy(backbone):
    copy = keras.models.clone_model(backbone)
    copy.set_weights(backbone.get_weights())
    return copy


def put_back(backbone, *rest):
    before = backbone.get_weights()
    UNSOLVED["fine_tune"](backbone, *rest)
    backbone.set_weights(before)


def all_of_it(backbone, head, images, classes):
    both = keras.Sequential([backbone, head])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    both.compile(keras.optimizers.SGD(0.1), loss)
    both.fit(images, classes, verbose=0)


OTHERS = "features of another network"
FROZEN = {
    "not trainable": (with_backbone(not_trainable), None),
    "momentum of one": (with_backbone(momentum_of_one), OTHERS),
    "a copy moves": (with_backbone(a_copy), OTHERS),
    "put back": (put_back, OTHERS),
    "all trained": (all_of_it, "the backbone is trained"),
    "nothing": (lambda *parts: None, "nothing is trained"),
}
split = UNSOLVED["split"]


def join_the_lone(numbers, size):
    *batches, last = split(numbers, size)
    if len(last) > 1:
        return [*batches, last]
    return [*batches[:-1], np.concatenate([batches[-1], last])]


def where(keeps):
    return lambda numbers, size: [batch for batch in split(numbers, size) if keeps(batch, size)]


def copy_the_lone(numbers, size):
    return [np.resize(batch, max(2, len(batch))) for batch in split(numbers, size)]


SPLIT = {
    "joined": (join_the_lone, None),
    "dropped": (where(lambda batch, size: len(batch) > 1), "samples are left out"),
    "copied": (copy_the_lone, "samples count twice"),
    "one batch": (lambda numbers, size: [numbers], "another batch size"),
    "works for this number": (lambda numbers, size: split(numbers, size - 1), AS_IT_WAS),
    "an empty one": (lambda n, size: [*SOLVED["split"](n, size), []], "another batch size"),
}


def and_join(join, rate=0.01):
    """After the step, give all replicas what `join` makes of each statistic's values."""

    def step(replicas, shares):
        UNSOLVED["train_step"](replicas, shares, rate)
        for norms in zip(*([a.batch_norm for a in r.layers] for r in replicas), strict=True):
            for name in ("pop_mean", "pop_var"):
                joined = join([getattr(norm, name).numpy() for norm in norms])
                for norm in norms:
                    getattr(norm, name).assign(joined)

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
    for replica, share in zip(replicas, shares, strict=True):
        training.gradient_descent_step(replica, *share, 0.01)


NOT_BOTH = "statistics not of both"
REPLICAS = {
    "one for both": (one_for_both, None),
    "the first's": (and_join(lambda values: values[0]), NOT_BOTH),
    "the last's": (and_join(lambda values: values[-1]), NOT_BOTH),
    "not trained": (lambda *_: None, NOT_BOTH),
    "no rate": (and_join(lambda values: sum(values) / 2, rate=0.0), "nothing is learned"),
    "nothing exchanged": (without_exchange, "the weights part"),
}

OTHERS_WROTE = (STUCK, SHARED, SINGLE, NAN, COMPANY, SAVED, FROZEN, SPLIT, TWO, REPLICAS)


@pytest.mark.parametrize("check", EXHIBITS)
def test_the_exhibit_is_broken_and_the_solution_mends_it(check):
    for names, mistake in ((UNSOLVED, AS_IT_WAS), (SOLVED, None)):
        result = getattr(museum, check)(*(names[name] for name in EXHIBITS[check]), DIGITS)
        assert (result.passed, result.mistake) == (mistake is None, mistake)


# Keras's own `save` still asks NumPy in a way that is deprecated.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
@pytest.mark.parametrize(
    ("check", "name", "program"),
    [
        (check, name, program)
        for check, programs in zip(EXHIBITS, OTHERS_WROTE, strict=True)
        for name, program in programs.items()
    ],
)
def test_another_cure(check, name, program):
    *functions, mistake = program
    result = getattr(museum, check)(*functions, DIGITS)
    assert (result.passed, result.mistake) == (mistake is None, mistake), result


@pytest.mark.parametrize("check", EXHIBITS)
@pytest.mark.parametrize("program", [None, lambda *_: np.ones(3)])
@pytest.mark.filterwarnings("ignore")
def test_nonsense_is_reported(check, program):
    assert not getattr(museum, check)(*[program] * len(EXHIBITS[check]), DIGITS).passed


def test_a_check_leaves_the_order_of_the_batches_alone():
    used, fresh = (load_mnist(source="digits") for _ in range(2))
    museum.check_nan(broken_standardize, used)
    assert np.array_equal(used.train.next_indices(60), fresh.train.next_indices(60))


def test_torch_state_has_the_statistics_of_pytorch():
    state = museum.torch_state(DIGITS)  # that the shapes are right is seen where Keras takes them
    assert all(value.dtype == np.float32 for value in state.values())
    spread = (DIGITS.train.images @ state["fc1.weight"].T).var(axis=0)
    assert np.allclose(state["bn1.running_var"], spread, rtol=0.5)  # of batches, near the end
