import numpy as np
import pytest

from bn_tutorial.networks import (
    BatchNormNetwork,
    NaiveBatchNormNetwork,
    PlainNetwork,
    initial_weights,
)
from bn_tutorial.prediction import measure_accuracy, predict_in_batches, predict_one_by_one
from tests.variables import unchanged


@pytest.fixture
def sample(digits):
    return digits.test.images[:50], digits.test.labels[:50]


@pytest.mark.parametrize("batch_size", [1, 7, 10, 50, 999])
def test_equals_the_network_batch_by_batch(sample, batch_size):
    network = NaiveBatchNormNetwork(initial_weights())
    images, labels = sample
    batches = np.split(images, range(batch_size, len(images), batch_size))
    expected = np.concatenate([np.argmax(network(batch, False), axis=1) for batch in batches])
    predictions, accuracy = predict_in_batches(network, images, labels, batch_size)
    np.testing.assert_array_equal(predictions, expected)
    classes = np.argmax(labels, axis=1)
    assert accuracy == np.mean(expected == classes)
    assert predict_in_batches(network, images, classes, batch_size)[1] == accuracy


def test_one_by_one_is_batches_of_one(sample):
    """In which naive BN finds one class alone."""
    network = NaiveBatchNormNetwork(initial_weights())
    predictions, accuracy = predict_one_by_one(network, *sample)
    assert set(predictions) == {np.argmax(network(sample[0][:1], False))}
    assert accuracy == predict_in_batches(network, *sample, 1)[1]
    assert isinstance(accuracy, float)


def test_is_training_is_handed_on(sample):
    network = BatchNormNetwork(initial_weights())
    predict_in_batches(network, *sample, 50, is_training=True)
    assert np.any(network.layers[0].batch_norm.pop_mean)
    with pytest.raises(ValueError, match="2 samples or more"):
        predict_one_by_one(network, *sample, is_training=True)


def test_bad_arguments(sample):
    images, labels = sample
    network = PlainNetwork(initial_weights())
    with pytest.raises(ValueError, match="found 49 labels and 50 images"):
        predict_one_by_one(network, images, labels[:49])
    with pytest.raises(ValueError, match="found 0 labels and 0 images"):
        predict_one_by_one(network, images[:0], labels[:0])
    with pytest.raises(ValueError, match="batch_size must be 1 or more, found 0"):
        predict_in_batches(network, images, labels, 0)


def test_accuracy_of_a_data_set_leaves_the_network_as_it_was(digits):
    network, test = BatchNormNetwork(initial_weights(), decay=0.5), digits.test
    network(digits.train.images[:60], is_training=True)
    _, population = predict_in_batches(network, test.images, test.labels, 60)
    with unchanged(network.variables):
        assert measure_accuracy(network, test) == pytest.approx(population)
        found = [measure_accuracy(network, test, size) for size in (60, 10**6)]
    by_batch = (
        predict_in_batches(network, test.images, test.labels, size, True)[1] for size in (60, 360)
    )
    assert found == pytest.approx(list(by_batch))
