import numpy as np
import pytest

from benchmarks import report
from benchmarks.contenders import (
    KerasFit,
    NumPyProducts,
    Package,
    TensorFlow1,
    TensorFlow2StepByStep,
    TensorFlowProducts,
)
from bn_tutorial.mnist import load_mnist
from bn_tutorial.networks import initial_weights


def trained(contender):
    """After 50 steps on the digits, with a network without BN and one with."""
    data = load_mnist(source="digits")
    weights = initial_weights()
    running = contender(data, [(weights, False), (weights, True)])
    running.train(data.train.next_indices(3000).reshape(50, 60))
    return running


def accuracies(contender):
    return trained(contender).measure()


@pytest.mark.parametrize("contender", [TensorFlow1, TensorFlow2StepByStep])
def test_contenders_do_the_same_work(contender):
    np.testing.assert_allclose(accuracies(contender), accuracies(Package), atol=1.01 / 360)


def test_keras_does_the_same_work():
    """The same weights come out; measured is by population statistics there."""
    keras_models, networks = trained(KerasFit).models, trained(Package).networks
    for model, network in zip(keras_models, networks.values(), strict=True):
        weights = model.layers[-1].kernel
        np.testing.assert_allclose(weights, network.output_weights, atol=1e-3)


@pytest.mark.parametrize("products", [NumPyProducts, TensorFlowProducts])
def test_floors_run(products):
    assert len(accuracies(products)) == 2


def test_products_are_those_of_the_gradients():
    """With the identity for the nonlinearity and outputs² / 2 for the loss."""
    data, weights = load_mnist(source="digits"), initial_weights(layer_sizes=(784, 4, 3, 2))
    floor, images = NumPyProducts(data, []), data.test.images[:5].astype(np.float64)
    gradients = floor.train_step(images, weights)[::-1]

    def loss(matrices):
        return np.sum(floor.forward(images, matrices) ** 2) / 2

    for number, index in ((0, (400, 2)), (1, (1, 1)), (2, (2, 0))):
        moved = [np.array(matrix, np.float64) for matrix in weights]
        moved[number][index] += 1e-4
        above = loss(moved)
        moved[number][index] -= 2e-4
        slope = (above - loss(moved)) / 2e-4
        np.testing.assert_allclose(gradients[number][index], slope, rtol=1e-3, atol=1e-3)


def test_speeds_ratios_and_shares_of_the_floor():
    run = {"measure_ms": 25.0, "first_step_s": 1.0, "peak_mb": 2.0, "accuracies": []}
    training = {report.PACKAGE: 0.5, "Keras fit": 1.5, "products alone, NumPy": 0.25}
    results = {name: [run | {"train_ms": ms}] for name, ms in training.items()}
    package, keras, floor = report.comparison_table(results).splitlines()[2:]
    assert "| 1,000 | 1.00 |" in package
    assert "| 0.50, 1.00, 0.75 |" in package
    assert "| 500 | 0.50 |" in keras
    assert "| 1.00, 1.00, 1.00 |" in floor
    parts = report.parts_table({"floor": (0.3, 0.2), "both": (0.4, 0.25)})
    assert "| 0.30 | 1.00 | 0.20 | 1.00 |" in parts
    assert "| 0.40 | 0.75 | 0.25 | 0.80 |" in parts
    grown = report.growth_table({("networks", 8, 1000): [2.0, 1.0]})
    assert "| 2.00 | 1.00 | 0.50 |" in grown
