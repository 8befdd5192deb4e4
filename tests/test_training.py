import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial import mnist, training
from bn_tutorial.networks import (
    BatchNormNetwork,
    NaiveBatchNormNetwork,
    PlainNetwork,
    initial_weights,
)
from bn_tutorial.training import DivergenceError, train
from tests.variables import assert_all_close, values

v1 = tf.compat.v1
fresh_digits = partial(mnist.load_mnist, source="digits")


def networks(scheme="normal"):
    weights = initial_weights(scheme=scheme)
    return {
        "without BN": PlainNetwork(weights),
        "naive BN": NaiveBatchNormNetwork(weights),
        "fixed BN": BatchNormNetwork(weights),
    }


@pytest.fixture
def replace_steps(monkeypatch):
    """Let a function `run(run_steps, batches)` stand in for the compiled steps."""
    compiled = training.compile_steps

    def replace(run):
        def compile_steps(*arguments, **options):
            return partial(run, compiled(*arguments, **options))

        monkeypatch.setattr(training, "compile_steps", compile_steps)

    return replace


def article_layer(inputs, weights, with_bn):
    """One hidden layer as the article's graph has it."""
    z = tf.matmul(inputs, v1.Variable(weights))
    shift = v1.Variable(tf.zeros([weights.shape[1]]))
    if with_bn:
        scale = v1.Variable(tf.ones([weights.shape[1]]))
        mean, variance = tf.nn.moments(z, [0])
        return tf.nn.batch_normalization(z, mean, variance, shift, scale, 1e-3)
    return z + shift


def article_graph(with_bn):
    """The article's network, loss and training step, by TensorFlow 1's means."""
    weights = initial_weights()
    x, y_ = v1.placeholder(tf.float32, [None, 784]), v1.placeholder(tf.float32, [None, 10])
    activation_inputs = outputs = x
    for matrix in weights[:2]:
        activation_inputs = article_layer(outputs, matrix, with_bn)
        outputs = tf.sigmoid(activation_inputs)
    b3 = v1.Variable(tf.zeros([10]))
    logits = tf.matmul(outputs, v1.Variable(weights[2])) + b3
    loss = -tf.reduce_sum(y_ * tf.nn.log_softmax(logits))
    step = v1.train.GradientDescentOptimizer(0.01).minimize(loss)
    return x, y_, step, logits, activation_inputs


def train_as_in_the_article(data, steps, record_every, with_bn):
    accuracies, inputs = [], []
    with tf.Graph().as_default(), v1.Session() as session:
        x, y_, step, *measured = article_graph(with_bn)
        session.run(v1.global_variables_initializer())
        for i in range(steps + 1):
            if i % record_every == 0:
                logits, activation_inputs = session.run(measured, {x: data.test.images})
                accuracies.append(np.mean(logits.argmax(axis=1) == data.test.classes))
                inputs.append(activation_inputs.mean(axis=0))
            if i < steps:
                images, labels = data.train.next_batch(60)
                session.run(step, {x: images, y_: labels})
    return np.array(accuracies), np.array(inputs)


@pytest.mark.parametrize("name", ["without BN", "naive BN"])
def test_a_hundred_steps_equal_the_articles_protocol(name):
    group, data = {name: networks()[name]}, fresh_digits(seed=5)
    history = train(group, data, steps=100, record_every=20)[name]
    data = fresh_digits(seed=5)
    accuracies, inputs = train_as_in_the_article(data, 100, 20, with_bn=name == "naive BN")
    np.testing.assert_allclose(history.test_accuracy, accuracies, atol=1.01 / len(data.test))
    # Two graphs round differently, and steps from saturated units make more of it.
    np.testing.assert_allclose(history.activation_inputs, inputs, atol=1e-3, rtol=1e-3)


def test_records_are_measurements_with_is_training_false(digits, capsys):
    def observe(network, images):
        return tf.reduce_max(network.activation_inputs(images, is_training=False), axis=0)

    group = networks()
    histories = train(group, digits, steps=25, record_every=10, observe=observe)
    shown = capsys.readouterr().out.split("\r")[-1]
    assert "25/25" in shown
    assert list(histories) == list(group)
    for name, history in histories.items():
        np.testing.assert_array_equal(history.steps, [0, 10, 20, 25])
        assert (history.test_accuracy.shape, history.test_accuracy.dtype) == ((4,), np.float32)
        assert history.activation_inputs.shape == history.observations.shape == (4, 100)
        inputs = group[name].activation_inputs(digits.test.images, is_training=False)
        predictions = np.argmax(group[name].output(inputs), axis=1)
        accuracy = np.mean(predictions == digits.test.classes)
        np.testing.assert_allclose(history.test_accuracy[-1], accuracy, atol=1e-6)
        np.testing.assert_allclose(history.activation_inputs[-1], np.mean(inputs, 0), atol=1e-4)
        np.testing.assert_allclose(history.observations[-1], np.max(inputs, 0), atol=1e-4)
        assert f"{name} {history.test_accuracy[-1]:.3f}" in shown
        assert history.accuracy_after(10) == history.test_accuracy[1]
        assert np.isnan(history.accuracy_after(15))


def test_each_step_is_gradient_descent_on_the_summed_cross_entropy(digits):
    network = PlainNetwork(initial_weights(scheme="glorot"))
    images, classes = digits.train.images[:60], digits.train.classes[:60]
    before = network.output_biases.numpy()
    logits = network(images, True).numpy().astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    gradient = (probabilities - np.eye(10)[classes]).sum(axis=0)
    loss = training.gradient_descent_step(network, tf.constant(images), tf.constant(classes), 0.01)
    np.testing.assert_allclose(
        network.output_biases, before - 0.01 * gradient, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(loss, -np.log(probabilities[range(60), classes]).sum(), rtol=1e-5)


def test_same_numbers_however_often_it_measures_and_whatever_the_form_of_the_labels():
    seldom, often = networks(), networks()
    train(seldom, fresh_digits(seed=9), steps=20, record_every=20)
    train(often, fresh_digits(seed=9, one_hot=False), steps=20, record_every=1)
    for name, network in seldom.items():
        np.testing.assert_equal(values(network.variables), values(often[name].variables))


def test_each_trains_as_it_would_alone():
    """On the same batches, at its own rate; from Glorot's weights, where rounding stays small."""
    rate_of = {"without BN": 0.001, "naive BN": 0.01, "fixed BN": 0.002}
    together = networks("glorot")
    train(together, fresh_digits(), steps=20, learning_rate=rate_of)
    for name, alone in networks("glorot").items():
        train({"alone": alone}, fresh_digits(), steps=20, learning_rate=rate_of[name])
        assert_all_close(alone.variables, together[name].variables, atol=1e-5)


def test_xla_takes_the_same_steps():
    """From Glorot's weights, where rounding stays small; the last stretch is a shorter one."""
    plain, compiled = networks("glorot"), networks("glorot")
    for group, jit_compile in ((plain, False), (compiled, True)):
        train(group, fresh_digits(), steps=25, record_every=10, jit_compile=jit_compile)
    for name, network in plain.items():
        assert_all_close(network.variables, compiled[name].variables, atol=1e-5)


def test_divergence_midway_names_its_step(digits, replace_steps):
    """A loss that turns infinite at step 17 of 30, in the second of three stretches."""
    seen = []

    def run_with_fault(run_steps, batches):
        losses = run_steps(batches).numpy()
        seen.append(len(batches))
        if sum(seen) == 20:
            losses[6, 2] = np.inf
        return tf.constant(losses)

    replace_steps(run_with_fault)
    with pytest.raises(DivergenceError, match='"fixed BN" is inf at step 17;') as caught:
        train(networks(), digits, steps=30, record_every=10)
    np.testing.assert_array_equal(caught.value.histories["fixed BN"].steps, [0, 10])


def test_divergence_in_the_last_step(digits):
    """No loss follows it; the measurement shows it."""
    with pytest.raises(DivergenceError, match='"it" is nan at step 2;') as caught:
        train({"it": PlainNetwork(initial_weights())}, digits, steps=1, learning_rate=1e38)
    np.testing.assert_array_equal(caught.value.histories["it"].steps, [0])


def test_ctrl_c_keeps_the_history(digits, replace_steps, capsys):
    """It nearly always comes between training and measuring, and then waits for the latter."""
    calls = []

    def run_before_interrupt(run_steps, batches):
        calls.append(batches)
        losses = run_steps(batches)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return losses

    replace_steps(run_before_interrupt)
    handler = signal.default_int_handler  # a shell's background jobs start without it
    before = signal.signal(signal.SIGINT, handler)
    trained = networks()
    for name, history in train(trained, digits, steps=1000, record_every=10).items():
        np.testing.assert_array_equal(history.steps, [0, 10, 20])
        left = trained[name].activation_inputs(digits.test.images, is_training=False)
        np.testing.assert_allclose(history.activation_inputs[-1], np.mean(left, axis=0), atol=1e-5)
    assert "up to step 20" in capsys.readouterr().out
    assert signal.signal(signal.SIGINT, before) is handler


def test_in_another_thread(digits):
    """Where no Ctrl-C arrives, and none can be waited for."""
    with ThreadPoolExecutor(1) as pool:
        histories = pool.submit(train, networks(), digits, steps=10).result()
    np.testing.assert_array_equal(histories["fixed BN"].steps, [0, 10])


@pytest.mark.parametrize(
    ("compiled", "steps"), [("compile_steps", [0]), ("compile_measurement", [])]
)
def test_ctrl_c_while_a_graph_is_compiled(compiled, steps, digits, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, compiled, interrupt)
    for history in train(networks(), digits, steps=10).values():
        np.testing.assert_array_equal(history.steps, steps)
        assert history.test_accuracy.shape == (len(steps),)
        assert history.activation_inputs.shape == (len(steps), 100)


def test_bad_arguments(digits):
    for argument in ("steps", "batch_size", "record_every"):
        with pytest.raises(ValueError, match=f"{argument} must be 1 or more, found 0"):
            train(networks(), digits, **{argument: 0})
        with pytest.raises(TypeError, match="float.* integer"):
            train(networks(), digits, **{argument: 1.5})
    with pytest.raises(ValueError, match="networks must be 1 or more, found 0"):
        train({}, digits)
    for argument in ("learning_rate", "weight_decay"):
        with pytest.raises(KeyError, match="naive BN"):
            train(networks(), digits, steps=1, **{argument: {"without BN": 0.1}})


def test_one_that_diverges_need_not_stop_the_others(digits):
    group = networks()
    group["naive BN"].output_biases.assign([np.inf] + [0] * 9)
    histories = train(group, digits, steps=20, record_every=10, stop_when_diverged=False)
    assert np.isnan(histories["naive BN"].test_accuracy).all()
    for name in ("without BN", "fixed BN"):
        assert np.isfinite(histories[name].test_accuracy).all()
        assert len(histories[name].steps) == 3


def test_all_may_diverge(digits):
    """Without a warning, which would be an error here."""
    group = {number: PlainNetwork(initial_weights()) for number in range(4)}
    histories = train(group, digits, 2, learning_rate=1e38, stop_when_diverged=False)
    assert all(np.isnan(history.test_accuracy[-1]) for history in histories.values())


def test_steps_to():
    history = training.History(np.array([0, 10, 20]), np.array([0.1, 0.8, 0.7]), np.zeros((3, 1)))
    assert history.steps_to(0.05) == 0
    assert history.steps_to(0.75) == 10
    assert history.steps_to(0.9) is None


def test_many_steps_are_one_call(digits):
    """No Python between steps: the traced function holds the loop."""
    run_steps = training.compile_steps(
        networks(), digits.train, 60, dict.fromkeys(networks(), 0.01)
    )
    operations = run_steps.graph.get_operations()
    assert any(operation.type in ("While", "StatelessWhile") for operation in operations)
    losses = run_steps(tf.constant(digits.train.next_indices(300).reshape(5, 60)))
    assert losses.shape == (5, 3)


def test_seeds_are_gathered():
    a, b, c, d = (training.History(np.zeros(1), np.zeros(1), np.zeros((1, 2))) for _ in range(4))
    groups = training.gather_seeds({("x", 1): a, ("y", 1): b, ("x", 2): c})
    assert groups == {"x": [a, c], "y": [b]}
    assert training.gather_seeds({("x", "z", 1): d}) == {("x", "z"): [d]}


def test_weight_decay_shrinks_the_matrices_of_those_it_names_and_nothing_else(digits):
    """After the step of gradient descent, by 1 − rate · decay."""
    group = {name: BatchNormNetwork(initial_weights()) for name in ("decayed", "plain")}
    train(group, digits, 1, learning_rate=0.01, weight_decay={"decayed": 2.0, "plain": 0.0})
    for decayed, plain in zip(*(network.variables for network in group.values()), strict=True):
        factor = 0.98 if plain.shape.rank == 2 else 1
        np.testing.assert_allclose(decayed, factor * plain.numpy(), rtol=1e-5, atol=1e-7)
