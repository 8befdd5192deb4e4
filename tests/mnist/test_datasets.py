import numpy as np
import pytest

from bn_tutorial import mnist
from bn_tutorial.mnist import Dataset, MnistError, datasets, files, load_mnist, mirrors


@pytest.fixture
def small(generator):
    pixels = generator.integers(0, 256, size=(10, 784), dtype=np.uint8)
    return Dataset(pixels, np.arange(10), seed=4)


@pytest.fixture
def no_mnist(monkeypatch, tmp_path):
    """A machine without MNIST and without network."""
    monkeypatch.delenv(files.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(files, "default_dir", lambda: tmp_path / "data")
    monkeypatch.setattr(mirrors, "MIRRORS", ("http://127.0.0.1:1/",))


class TestDataset:
    def test_images_and_labels(self, small):
        assert len(small) == 10
        assert small.images.dtype == np.float32
        assert small.images.shape == (10, 784)
        np.testing.assert_array_equal(small.images, small.pixels.astype(np.float32) / 255)
        assert small.images.max() <= 1.0
        np.testing.assert_array_equal(small.labels, np.eye(10))
        assert small.labels.dtype == np.float32

    def test_classes_as_labels(self, small):
        data = Dataset(small.pixels, small.classes, one_hot=False)
        assert data.labels.dtype == np.int32
        np.testing.assert_array_equal(data.labels, range(10))

    def test_next_batch_over_three_epochs_by_its_definition(self, small):
        """Each epoch is every sample once; its remainder begins the batch that enters the next."""
        seen = []
        for _ in range(10):
            images, labels = small.next_batch(3)
            assert images.shape == (3, 784)
            assert images.dtype == np.float32
            classes = labels.argmax(axis=1)
            np.testing.assert_array_equal(images, small.images[classes])
            seen.extend(classes)
        epochs = np.reshape(seen, (3, 10))
        for epoch in epochs:
            assert sorted(epoch) == list(range(10))
        assert len({tuple(epoch) for epoch in [*epochs, range(10)]}) == 4  # each order is new

    def test_indices_are_the_batches_to_come(self, small):
        twin = Dataset(small.pixels, small.classes, seed=4)
        indices = small.next_indices(45)
        batches = [twin.next_batch(9)[1].argmax(axis=1) for _ in range(5)]
        np.testing.assert_array_equal(indices, np.concatenate(batches))

    def test_seed(self, small):
        orders = [
            Dataset(small.pixels, small.classes, seed=seed).next_indices(10) for seed in (4, 5)
        ]
        np.testing.assert_array_equal(small.next_indices(10), orders[0])
        assert not np.array_equal(*orders)

    @pytest.mark.parametrize("size", [0, -1, 11])
    def test_size_out_of_range(self, small, size):
        with pytest.raises(ValueError, match=f"between 1 and 10, found {size}"):
            small.next_batch(size)

    def test_no_negative_number_of_indices(self, small):
        small.next_indices(3)
        with pytest.raises(ValueError, match="0 or more, found -1"):
            small.next_indices(-1)
        assert len(small.next_indices(7)) == 7

    def test_no_samples(self):
        with pytest.raises(ValueError, match="found an empty data set"):
            load_mnist(source="digits", validation_size=0).validation.next_indices(5)

    def test_size_that_is_no_whole_number(self, small):
        with pytest.raises(TypeError):
            small.next_batch(2.5)


class TestDigits:
    def test_split(self):
        data = load_mnist(source="digits")
        assert data.source == "digits"
        assert [len(part) for part in (data.train, data.validation, data.test)] == [1317, 120, 360]
        assert data.train.images.shape == (1317, 784)

    def test_frame_as_mnists(self):
        images = load_mnist(source="digits").test.images.reshape(-1, 28, 28)
        assert not images[:, :4].any()
        assert not images[:, -4:].any()
        assert not images[:, :, :4].any()
        assert not images[:, :, -4:].any()
        assert images.max() == 1.0

    def test_corners_of_the_scaled_image_are_the_originals(self):
        from sklearn.datasets import load_digits

        scaled = datasets.digits_arrays()[2]
        original = load_digits().images[-360:]
        expected = (original[:, 0, 7] * 255 / 16).round()
        np.testing.assert_array_equal(scaled[:, 4, 23], expected)
        labels = load_digits().target[-360:]
        np.testing.assert_array_equal(datasets.digits_arrays()[3], labels)

    def test_validation_size_is_scaled(self):
        data = load_mnist(source="digits", validation_size=30_000)
        assert len(data.validation) in (718, 719)
        assert len(load_mnist(source="digits", validation_size=0).validation) == 0
        assert len(load_mnist(source="digits", validation_size=59_999).train) == 1


def test_binarize():
    data = load_mnist(source="digits")
    binary = mnist.binarize(data)
    assert set(np.unique(binary.train.pixels)) == {0, 255}
    np.testing.assert_array_equal(binary.test.images, data.test.pixels >= 128)
    np.testing.assert_array_equal(binary.validation.labels, data.validation.labels)
    assert binary.source == "digits"


def test_binarize_keeps_the_form_of_the_labels():
    data = load_mnist(source="digits", one_hot=False)
    np.testing.assert_array_equal(mnist.binarize(data).test.labels, data.test.labels)


def test_binarize_seed(digits):
    orders = [mnist.binarize(digits, seed).train.next_indices(20) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


class TestLoadMnist:
    def test_auto_falls_back_with_a_notice(self, no_mnist, capsys):
        data = load_mnist()
        assert data.source == "digits"
        *passed_over, line = capsys.readouterr().err.strip().splitlines()
        assert "127.0.0.1:1" in line
        assert "the connection is refused" in line
        assert "scikit-learn's digits instead: 1,797 images of 8×8" in line
        assert all(text.startswith("MNIST: passed over") for text in passed_over)

    def test_mnist_or_an_error(self, no_mnist):
        with pytest.raises(MnistError, match="train-images.*127.0.0.1:1.*BN_TUTORIAL_DATA"):
            load_mnist(source="mnist")

    def test_unknown_source(self):
        with pytest.raises(ValueError, match="source must be one of .*, found 'fashion'"):
            load_mnist(source="fashion")

    @pytest.mark.parametrize("size", [-1, 60_000])
    @pytest.mark.parametrize("source", ["mnist", "digits"])
    def test_validation_size_out_of_range(self, size, source):
        with pytest.raises(ValueError, match=rf"validation_size .*, found {size}"):
            load_mnist(source=source, validation_size=size)

    @pytest.mark.parametrize("source", ["mnist", "auto", "digits"])
    def test_data_dir_is_a_file(self, tmp_path, source):
        (tmp_path / "file").touch()
        with pytest.raises(MnistError, match="data_dir: expected a folder, found a file"):
            load_mnist(tmp_path / "file", source=source)

    def test_real_mnist(self, real_mnist):
        data = load_mnist(source="mnist", one_hot=False)
        assert data.source == "mnist"
        assert [len(part) for part in (data.train, data.validation, data.test)] == [
            55_000, 5_000, 10_000,
        ]  # fmt: skip
        np.testing.assert_array_equal(data.test.labels[:10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9])
        np.testing.assert_array_equal(data.validation.labels[:5], [5, 0, 4, 1, 9])
        np.testing.assert_allclose(data.train.images.mean(), 0.1307, atol=1e-3)

    def test_real_mnist_validation_size(self, real_mnist):
        data = load_mnist(source="mnist", validation_size=1)
        assert len(data.train) == 59_999
        assert len(data.validation) == 1
