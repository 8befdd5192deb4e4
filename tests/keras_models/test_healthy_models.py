"""Models with nothing wrong, before and after training: the doctor finds nothing."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from bn_tutorial import mnist
from bn_tutorial.keras_models import examine
from tests.keras_models.models import Subclassed

SOFTMAX = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
BINARY = keras.losses.BinaryCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def digits():
    """Images `[960, 28, 28, 1]` and their classes."""
    train = mnist.load_mnist(source="digits").train
    return train.images[:960].reshape(-1, 28, 28, 1), train.classes[:960].astype(np.int32)


def norm(**options):
    return layers.BatchNormalization(**({"momentum": 0.9} | options))


def dense(activation="relu", **options):
    hidden = []
    for _ in range(2):
        hidden += [layers.Dense(32, use_bias=False), norm(**options), layers.Activation(activation)]
    return hidden


def flat(*hidden, last=10):
    return keras.Sequential(
        [keras.Input([28, 28, 1]), layers.Flatten(), *(hidden or dense()), layers.Dense(last)]
    )


def head(inputs, hidden, units=10):
    return keras.Model(inputs, layers.Dense(units)(layers.Flatten()(hidden)))


def convolve(tensor, filters, kind=layers.Conv2D, **options):
    size = (3,) if kind is layers.DepthwiseConv2D else (filters, 3)
    return layers.ReLU()(norm()(kind(*size, padding="same", use_bias=False, **options)(tensor)))


def backbone(inputs):
    return convolve(convolve(inputs, 8, strides=2), 8, strides=2)


def convolutional():
    inputs = keras.Input([28, 28, 1])
    return head(inputs, layers.GlobalAveragePooling2D()(backbone(inputs)))


def depthwise():
    inputs = keras.Input([28, 28, 1])
    hidden = convolve(convolve(inputs, 8, strides=2), 8, kind=layers.DepthwiseConv2D)
    return head(inputs, hidden)


def residual():
    """The last gamma of each block starts at 0."""
    inputs = keras.Input([28, 28, 1])
    hidden = convolve(inputs, 8, strides=4)
    for _ in range(3):
        branch = layers.Conv2D(8, 3, padding="same")(convolve(hidden, 8))
        hidden = layers.ReLU()(hidden + norm(gamma_initializer="zeros")(branch))
    return head(inputs, hidden)


def before_activation():
    """Pre-activation blocks, whose first gammas are 0: what is after them is constant at first."""
    inputs = keras.Input([28, 28, 1])
    hidden = layers.Conv2D(8, 3, strides=4)(inputs)
    for _ in range(2):
        branch = layers.Conv2D(8, 3, padding="same")(layers.ReLU()(norm()(hidden)))
        hidden = hidden + norm(gamma_initializer="zeros")(branch)
    return head(inputs, norm()(hidden))


def segmentation():
    inputs = keras.Input([28, 28, 1])
    down = convolve(inputs, 8, strides=2)
    up = convolve(down, 8, kind=layers.Conv2DTranspose, strides=2)
    return keras.Model(inputs, layers.Conv2D(1, 1)(layers.Concatenate()([up, inputs])))


def detector():
    inputs = keras.Input([28, 28, 1])
    features = layers.Flatten()(backbone(inputs))
    heads = {"box": 4, "class": 10, "seen": 1}
    outputs = {name: layers.Dense(units, name=name)(features) for name, units in heads.items()}
    return keras.Model(inputs, outputs)


def sequence():
    """Rows from above to below, those without ink masked."""
    inputs = keras.Input([28, 28])
    hidden = norm()(layers.Dense(16)(layers.Masking()(inputs)))
    return keras.Model(inputs, layers.Dense(10)(layers.LSTM(16)(hidden)))


class Sampling(layers.Layer):
    """Mean and logarithm of the variance → a sample, and the divergence as a loss."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seed = keras.random.SeedGenerator(0)

    def call(self, inputs):
        mean, logarithm = inputs
        self.add_loss(-0.005 * ops.mean(1 + logarithm - mean**2 - ops.exp(logarithm)))
        return mean + ops.exp(logarithm / 2) * keras.random.normal(ops.shape(mean), seed=self.seed)


def variational():
    inputs = keras.Input([28, 28, 1])
    hidden = layers.Flatten()(backbone(inputs))
    code = Sampling()([layers.Dense(4)(hidden), layers.Dense(4)(hidden)])
    decoded = layers.ReLU()(norm()(layers.Dense(64)(code)))
    return keras.Model(inputs, layers.Reshape([28, 28, 1])(layers.Dense(784)(decoded)))


def siamese():
    """One tower for two images of one kind."""
    tower = flat(last=8)
    left, right = keras.Input([28, 28, 1]), keras.Input([28, 28, 1])
    return keras.Model([left, right], layers.Dense(1)(ops.square(tower(left) - tower(right))))


def fine_tuning():
    """A backbone that has learnt and is frozen, and a new head."""
    body = keras.Sequential([keras.Input([28, 28, 1]), layers.Flatten(), *dense()])
    train = mnist.load_mnist(source="digits").train
    pretrained = keras.Sequential([body, layers.Dense(10)])
    pretrained.compile(keras.optimizers.Adam(1e-2), SOFTMAX)
    pretrained.fit(train.images[:960].reshape(-1, 28, 28, 1), train.classes[:960], 48, 4, verbose=0)
    body.trainable = False
    return keras.Sequential([body, norm(), layers.Dense(10)])


def over_time():
    frames = layers.TimeDistributed(keras.Sequential([layers.Dense(16), norm(), layers.ReLU()]))
    inputs = keras.Input([4, 784])
    return head(inputs, frames(inputs))


def subclassed():
    model = Subclassed(flat())
    model(np.zeros([2, 28, 28, 1], np.float32))
    return model


def found_objects(images, classes):
    box = images[:, 7:11, 14, 0]
    return images, {"box": box, "class": classes, "seen": classes[:, None] % 2}


def moved(images, classes):
    frames = [np.roll(images.reshape(-1, 784), step, 0) for step in range(4)]
    return np.stack(frames, 1), classes


CLASSIFIERS = {
    "dense": flat,
    "sigmoid": lambda: flat(*dense("sigmoid")),
    "without gamma": lambda: flat(*dense(scale=False)),
    "renorm": lambda: flat(*dense(renorm=True)),
    "dropout at the end": lambda: flat(*dense(), layers.Dropout(0.3)),
    "little dropout": lambda: flat(*dense(), layers.Dropout(0.1), *dense()),
    "convolutional": convolutional,
    "depthwise": depthwise,
    "residual": residual,
    "before the activation": before_activation,
    "fine-tuning": fine_tuning,
    "subclassed": subclassed,
}
# With a loss, and what makes inputs and labels of images `[960, 28, 28, 1]` and classes.
OTHERS = {
    "one-hot": (
        lambda: flat(*dense(), layers.Dense(10), layers.Softmax()),
        "mse",
        lambda images, classes: (images, np.eye(10)[classes]),
    ),
    "regression": (
        lambda: flat(last=1),
        "mse",
        lambda images, _: (images, images.mean(axis=(1, 2, 3))),
    ),
    "multi-label": (
        lambda: flat(last=3),
        BINARY,
        lambda images, classes: (images, np.stack([classes % 2, classes > 4, classes > 7], 1)),
    ),
    "segmentation": (segmentation, BINARY, lambda images, _: (images, images > 0.5)),
    "detector": (detector, {"box": "mae", "class": SOFTMAX, "seen": BINARY}, found_objects),
    "masked sequence": (sequence, SOFTMAX, lambda images, classes: (images[..., 0], classes)),
    "variational": (variational, "mse", lambda images, _: (images, images)),
    "siamese": (
        siamese,
        BINARY,
        lambda images, classes: ((images, images[::-1]), classes == classes[::-1]),
    ),
    "over time": (over_time, SOFTMAX, moved),
}
MODELS = {
    name: (build, SOFTMAX, lambda *digits: digits) for name, build in CLASSIFIERS.items()
} | OTHERS


OFTEN = {"regression", "residual", "detector", "masked sequence", "variational"}


@pytest.mark.parametrize(
    ("build", "loss", "task"),
    [
        pytest.param(
            *model, id=name, marks=pytest.mark.slow if name in OFTEN else pytest.mark.weekly
        )
        for name, model in MODELS.items()
    ],
)
def test_healthy_models(build, loss, task, digits):
    keras.utils.set_random_seed(0)
    model, (inputs, labels) = build(), task(*digits)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    assert examine(model, (inputs, labels)) == []
    model.fit(inputs, labels, 48, epochs=4, verbose=0)
    assert examine(model, (inputs, labels)) == []


@pytest.mark.weekly
def test_an_adversarial_pair(digits):
    """A generator and a discriminator, each trained in its turn; the pair trains the generator."""
    keras.utils.set_random_seed(0)
    real = digits[0]
    maker = keras.Sequential([keras.Input([8]), layers.Dense(7 * 7 * 8), layers.Reshape([7, 7, 8]),
                              norm(), layers.ReLU(), layers.Conv2DTranspose(4, 4, 2, "same"),
                              norm(), layers.ReLU(), layers.Conv2DTranspose(1, 4, 2, "same"),
                              layers.Activation("sigmoid")])  # fmt: skip
    judge = keras.Sequential([keras.Input([28, 28, 1]), layers.Conv2D(8, 4, 2), layers.LeakyReLU(),
                              layers.Conv2D(8, 4, 2), norm(), layers.LeakyReLU(),
                              layers.Flatten(), layers.Dense(1)])  # fmt: skip
    judge.compile(keras.optimizers.Adam(1e-3), BINARY)
    pair = keras.Sequential([maker, judge])
    pair.compile(keras.optimizers.Adam(2e-4), BINARY)
    generator = np.random.default_rng(0)
    for _ in range(60):
        noise = generator.normal(size=(64, 8)).astype(np.float32)
        chosen = real[generator.integers(len(real), size=32)]
        mixed = np.concatenate([chosen, np.array(maker.predict(noise[:32], verbose=0))])
        judge.trainable = True
        judge.train_on_batch(mixed, np.repeat([1.0, 0.0], 32)[:, None])
        judge.trainable = False
        pair.train_on_batch(noise, np.ones([64, 1]))
    noise = generator.normal(size=(960, 8)).astype(np.float32)
    made = maker.predict(noise, verbose=0)
    order = generator.permutation(1920)
    mixed = np.concatenate([real, made])[order]
    labels = np.repeat([1.0, 0.0], 960)[order][:, None]
    assert examine(maker, noise) == []
    assert examine(pair, (noise, np.ones([960, 1]))) == []
    judge.trainable = True
    assert examine(judge, (mixed, labels)) == []
