"""Ways to run the article's protocol, each a class with the same three methods.

`Contender(data, networks)` builds networks, each from its matrices, without BN or with.
`train(indices)` runs gradient descent on those samples of the training set, `[steps, 60]`, for all
of the networks. `measure()` is the accuracy of each on the test set, in the same order. The
functions are written as somebody who knows the library would, and no cleverer.

The `FLOORS` do the matrix products of the protocol and nothing else, each through one library.
"""

from __future__ import annotations

import numpy as np

LEARNING_RATE = 0.01
EPSILON = 1e-3


class Package:
    """This package, as the notebooks call it."""

    jit_compile = False

    def __init__(self, data, networks):
        from bn_tutorial.networks import NaiveBatchNormNetwork, PlainNetwork
        from bn_tutorial.training import compile_measurement, compile_steps

        self.networks = {
            number: NaiveBatchNormNetwork(matrices) if with_bn else PlainNetwork(matrices)
            for number, (matrices, with_bn) in enumerate(networks)
        }
        rates = dict.fromkeys(self.networks, LEARNING_RATE)
        self.run_steps = compile_steps(
            self.networks, data.train, 60, rates, jit_compile=self.jit_compile
        )
        self.run_measurement = compile_measurement(self.networks, data.test)

    def train(self, indices):
        import tensorflow as tf

        return self.run_steps(tf.constant(indices)).numpy()

    def measure(self):
        return [float(accuracy) for accuracy, _ in self.run_measurement()]


class PackageByXla(Package):
    """This package, its steps compiled by XLA."""

    jit_compile = True


class TensorFlow1:
    """The article's way: a graph, a session, and a feed_dict for each step."""

    def __init__(self, data, networks):
        import tensorflow as tf

        self.data, self.v1 = data, tf.compat.v1
        v1 = self.v1
        self.session = v1.Session(graph=tf.Graph())
        self.steps, self.accuracies, self.activation_inputs = [], [], []
        with self.session.graph.as_default():
            self.x = v1.placeholder(tf.float32, [None, 784])
            self.y = v1.placeholder(tf.float32, [None, 10])
            for matrices, with_bn in networks:
                self.build(tf, matrices, with_bn)
            self.session.run(v1.global_variables_initializer())

    def build(self, tf, matrices, with_bn):
        v1, outputs = self.v1, self.x
        for matrix in matrices[:-1]:
            z = tf.matmul(outputs, v1.Variable(matrix))
            shift = v1.Variable(tf.zeros([matrix.shape[1]]))
            if with_bn:
                scale = v1.Variable(tf.ones([matrix.shape[1]]))
                mean, variance = tf.nn.moments(z, [0])
                z = tf.nn.batch_normalization(z, mean, variance, shift, scale, EPSILON)
            else:
                z += shift
            outputs = tf.sigmoid(z)
        logits = tf.matmul(outputs, v1.Variable(matrices[-1])) + v1.Variable(tf.zeros([10]))
        loss = tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(self.y, logits))
        self.steps.append(v1.train.GradientDescentOptimizer(LEARNING_RATE).minimize(loss))
        correct = tf.equal(tf.argmax(logits, 1), tf.argmax(self.y, 1))
        self.accuracies.append(tf.reduce_mean(tf.cast(correct, tf.float32)))
        self.activation_inputs.append(z)

    def train(self, indices):
        train = self.data.train
        for batch in indices:
            feed = {self.x: train.images[batch], self.y: train.labels[batch]}
            for step in self.steps:
                self.session.run(step, feed)

    def measure(self):
        feed = {self.x: self.data.test.images, self.y: self.data.test.labels}
        accuracies, inputs = self.session.run([self.accuracies, self.activation_inputs], feed)
        for z in inputs:
            np.mean(z, axis=0)
        return [float(accuracy) for accuracy in accuracies]


class TensorFlow2StepByStep(Package):
    """TensorFlow 2 with one call of a `tf.function` for each step, and batches from NumPy."""

    def __init__(self, data, networks):
        super().__init__(data, networks)
        import tensorflow as tf

        from bn_tutorial.training import gradient_descent_step

        self.data = data

        @tf.function
        def step(images, labels):
            for network in self.networks.values():
                gradient_descent_step(network, images, labels, LEARNING_RATE)

        self.step = step

    def train(self, indices):
        import tensorflow as tf

        train = self.data.train
        for batch in indices:
            self.step(tf.constant(train.images[batch]), tf.constant(train.classes[batch]))


class KerasFit:
    """Keras 3 `fit`, with as many steps an execution as there are between two measurements."""

    def __init__(self, data, networks):
        import keras
        import tensorflow as tf

        self.images, self.classes = tf.constant(data.train.images), tf.constant(data.train.classes)
        self.test = tf.data.Dataset.from_tensors(
            (tf.constant(data.test.images), tf.constant(data.test.classes))
        ).cache()
        self.models = [self.build(keras, matrices, with_bn) for matrices, with_bn in networks]

    def build(self, keras, matrices, with_bn):
        layers = [keras.Input([784])]
        for matrix in matrices[:-1]:
            initial = keras.initializers.Constant(matrix)
            layers.append(
                keras.layers.Dense(
                    matrix.shape[1], use_bias=not with_bn, kernel_initializer=initial
                )
            )
            if with_bn:
                layers.append(keras.layers.BatchNormalization(momentum=0.99, epsilon=EPSILON))
            layers.append(keras.layers.Activation("sigmoid"))
        initial = keras.initializers.Constant(matrices[-1])
        model = keras.Sequential([*layers, keras.layers.Dense(10, kernel_initializer=initial)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
        model.compile(
            keras.optimizers.SGD(LEARNING_RATE), loss, metrics=["accuracy"], steps_per_execution=50
        )
        return model

    def train(self, indices):
        import tensorflow as tf

        dataset = tf.data.Dataset.from_tensor_slices(indices).map(
            lambda batch: (tf.gather(self.images, batch), tf.gather(self.classes, batch))
        )
        for model in self.models:
            model.fit(dataset, shuffle=False, verbose=0)

    def measure(self):
        return [model.evaluate(self.test, verbose=0)[1] for model in self.models]


class PyTorchEager:
    """PyTorch, step by step, the training set as a tensor."""

    def __init__(self, data, networks):
        import torch

        self.torch = torch
        self.images = torch.tensor(data.train.images)
        self.classes = torch.tensor(data.train.classes, dtype=torch.long)
        self.test_images = torch.tensor(data.test.images)
        self.test_classes = torch.tensor(data.test.classes, dtype=torch.long)
        self.networks = [self.variables(matrices, with_bn) for matrices, with_bn in networks]

    def variables(self, matrices, with_bn):
        torch = self.torch
        matrices = [torch.tensor(matrix, requires_grad=True) for matrix in matrices]
        shifts = [torch.zeros(matrix.shape[1], requires_grad=True) for matrix in matrices]
        scales = [torch.ones(m.shape[1], requires_grad=True) for m in matrices[:-1]] * with_bn
        return matrices, shifts, scales

    def forward(self, network, images):
        torch = self.torch
        (*hidden, last), (*shifts, b), scales = network
        outputs = images
        for layer, (matrix, shift) in enumerate(zip(hidden, shifts, strict=True)):
            if scales:
                z = torch.nn.functional.batch_norm(
                    outputs @ matrix, None, None, scales[layer], shift, training=True, eps=EPSILON
                )
            else:
                z = torch.addmm(shift, outputs, matrix)
            outputs = torch.sigmoid(z)
        return torch.addmm(b, outputs, last), z

    def step(self, images, classes):
        torch = self.torch
        for network in self.networks:
            variables = [variable for group in network for variable in group]
            logits, _ = self.forward(network, images)
            loss = torch.nn.functional.cross_entropy(logits, classes, reduction="sum")
            gradients = torch.autograd.grad(loss, variables)
            with torch.no_grad():
                torch._foreach_add_(variables, gradients, alpha=-LEARNING_RATE)

    def train(self, indices):
        for batch in self.torch.tensor(indices, dtype=self.torch.long):
            self.step(self.images[batch], self.classes[batch])

    def measure(self):
        accuracies = []
        with self.torch.no_grad():
            for network in self.networks:
                logits, z = self.forward(network, self.test_images)
                z.mean(dim=0).numpy()
                accuracies.append((logits.argmax(1) == self.test_classes).float().mean().item())
        return accuracies


class PyTorchCompiled(PyTorchEager):
    """The same, with the forward and backward passes compiled."""

    def __init__(self, data, networks):
        super().__init__(data, networks)
        self.forward = self.torch.compile(self.forward)


class JaxScan:
    """JAX: `lax.scan` over the steps of a stretch, compiled."""

    def __init__(self, data, networks):
        import jax
        import jax.numpy as jnp

        self.jnp = jnp
        images, classes = jnp.asarray(data.train.images), jnp.asarray(data.train.classes)
        test_images, test_classes = jnp.asarray(data.test.images), jnp.asarray(data.test.classes)
        self.networks = [self.variables(matrices, with_bn) for matrices, with_bn in networks]

        def forward(network, images):
            (*hidden, last), (*shifts, b), scales = network
            outputs = images
            for layer, (matrix, shift) in enumerate(zip(hidden, shifts, strict=True)):
                z = outputs @ matrix
                if scales:
                    normalized = (z - z.mean(axis=0)) * jax.lax.rsqrt(z.var(axis=0) + EPSILON)
                    z = normalized * scales[layer]
                z += shift
                outputs = jax.nn.sigmoid(z)
            return outputs @ last + b, z

        def loss(network, images, classes):
            logits, _ = forward(network, images)
            picked = jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]
            return jnp.sum(jax.nn.logsumexp(logits, axis=1) - picked)

        def step(networks, batch):
            x, y = images[batch], classes[batch]
            gradients = [jax.grad(loss)(network, x, y) for network in networks]
            descend = lambda variable, gradient: variable - LEARNING_RATE * gradient  # noqa: E731
            return jax.tree.map(descend, networks, gradients), None

        def measure(networks):
            measured = []
            for network in networks:
                logits, z = forward(network, test_images)
                measured.append((jnp.mean(logits.argmax(1) == test_classes), z.mean(axis=0)))
            return measured

        self.run = jax.jit(lambda networks, indices: jax.lax.scan(step, networks, indices)[0])
        self.run_measurement = jax.jit(measure)

    def variables(self, matrices, with_bn):
        shifts = [self.jnp.zeros(matrix.shape[1]) for matrix in matrices]
        scales = [self.jnp.ones(matrix.shape[1]) for matrix in matrices[:-1]] * with_bn
        return [self.jnp.asarray(matrix) for matrix in matrices], shifts, scales

    def train(self, indices):
        import jax

        self.networks = jax.block_until_ready(self.run(self.networks, self.jnp.asarray(indices)))

    def measure(self):
        return [float(accuracy) for accuracy, _ in self.run_measurement(self.networks)]


class Products:
    """The floor: the matrix products of the protocol, and nothing else.

    For each network and step: forward, the gradient of each matrix, and the gradient of the inputs
    of each layer but the first. For each measurement: forward. The batch is gathered, since the
    products need one. A step begins when the one before has ended, as it must in training.
    """

    def train_step(self, images, matrices):
        """The products of one network and step; the gradients of its matrices."""
        outputs = [images]
        for matrix in matrices:
            outputs.append(self.product(outputs[-1], matrix))
        gradient, gradients = outputs.pop(), []
        for layer in reversed(range(len(matrices))):
            gradients.append(self.product_of_transposed(outputs[layer], gradient))
            if layer:
                gradient = self.product_with_transposed(gradient, matrices[layer])
        return gradients

    def forward(self, images, matrices):
        for matrix in matrices:
            images = self.product(images, matrix)
        return images

    def train(self, indices):
        for batch in indices:
            images = self.images[batch]
            for matrices in self.networks:
                self.train_step(images, matrices)

    def measure(self):
        for matrices in self.networks:
            self.forward(self.test_images, matrices)
        return [float("nan")] * len(self.networks)

    def product_of_transposed(self, a, b):
        return self.product(a.T, b)

    def product_with_transposed(self, a, b):
        return self.product(a, b.T)


class NumPyProducts(Products):
    """Through NumPy's BLAS."""

    product = staticmethod(np.matmul)

    def __init__(self, data, networks):
        self.images, self.test_images = data.train.images, data.test.images
        self.networks = [matrices for matrices, _ in networks]


class PyTorchProducts(Products):
    """Through PyTorch's."""

    def __init__(self, data, networks):
        import torch

        self.product = torch.mm
        self.images, self.test_images = map(torch.tensor, (data.train.images, data.test.images))
        self.networks = [[torch.tensor(matrix) for matrix in matrices] for matrices, _ in networks]


class TensorFlowProducts(Products):
    """Through TensorFlow's, inside one graph."""

    def __init__(self, data, networks):
        import tensorflow as tf

        self.tf, self.product = tf, tf.matmul
        images, test_images = tf.constant(data.train.images), tf.constant(data.test.images)
        networks = [[tf.Variable(matrix) for matrix in matrices] for matrices, _ in networks]

        @tf.function
        def train(indices):
            done = tf.constant(0)
            for step in tf.range(tf.shape(indices)[0]):
                batch = tf.gather(images, indices[step] + done)  # waits for the step before
                ends = [g[0, 0] for m in networks for g in self.train_step(batch, m)]
                done = tf.cast(0 * tf.add_n(ends), tf.int32)
            return done

        @tf.function
        def measure():
            return tf.add_n([self.forward(test_images, matrices)[0, 0] for matrices in networks])

        self.run_steps, self.run_measurement, self.count = train, measure, len(networks)

    def train(self, indices):
        return self.run_steps(self.tf.constant(indices)).numpy()

    def measure(self):
        self.run_measurement().numpy()
        return [float("nan")] * self.count

    def product_of_transposed(self, a, b):
        return self.tf.matmul(a, b, transpose_a=True)

    def product_with_transposed(self, a, b):
        return self.tf.matmul(a, b, transpose_b=True)


CONTENDERS = {
    "this package": Package,
    "this package, jit_compile": PackageByXla,
    "TensorFlow 1 way": TensorFlow1,
    "TensorFlow 2, a call a step": TensorFlow2StepByStep,
    "Keras fit": KerasFit,
    "PyTorch eager": PyTorchEager,
    "PyTorch compiled": PyTorchCompiled,
    "JAX lax.scan": JaxScan,
}
FLOORS = {
    "products alone, NumPy": NumPyProducts,
    "products alone, PyTorch": PyTorchProducts,
    "products alone, TensorFlow": TensorFlowProducts,
}
