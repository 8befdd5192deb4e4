import contextlib
import gzip
import os
import signal
import sys
import time
import tracemalloc
from pathlib import Path
from subprocess import PIPE, Popen
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from bn_tutorial import mnist
from bn_tutorial.mnist import Dataset, MnistError, load_mnist, mnist_arrays, read_idx
from tests.small_mnist import ARRAYS, CONTENTS, KERAS, UNPACKED, Mirrors, idx_bytes, replace_mnist

IMAGES = "train-images-idx3-ubyte"
ROOT = Path(__file__).parents[1]


@pytest.fixture
def small(generator):
    pixels = generator.integers(0, 256, size=(10, 784), dtype=np.uint8)
    return Dataset(pixels, np.arange(10), seed=4)


def test_batches_over_three_epochs_by_their_definition(small):
    """Each epoch is every sample once; its remainder begins the batch that enters the next."""
    np.testing.assert_array_equal(small.labels, np.eye(10))
    seen = []
    for _ in range(10):
        images, labels = small.next_batch(3)
        seen.extend(classes := labels.argmax(axis=1))
        np.testing.assert_array_equal(images, small.pixels[classes].astype(np.float32) / 255)
        np.testing.assert_array_equal(images, small.images[classes])
        assert images.dtype == small.images.dtype == labels.dtype == np.float32
    epochs = np.reshape(seen, (3, 10))
    np.testing.assert_array_equal(np.sort(epochs), [range(10)] * 3)
    assert len({tuple(epoch) for epoch in [*epochs, range(10)]}) == 4  # each order is new
    again = Dataset(small.pixels, small.classes, one_hot=False, seed=4)
    assert again.next_indices(2).dtype == again.labels.dtype == np.int32
    np.testing.assert_array_equal(again.next_batch(5)[1], seen[2:7])
    np.testing.assert_array_equal(again.next_indices(23), seen[7:])


def test_changed_images_are_rounded_and_cut(small):
    changed = mnist.change_images(small, lambda images: 1.7 * images - 0.5, seed=4)
    expected = np.clip(1.7 * small.pixels - 127.5, 0, 255)
    np.testing.assert_allclose(changed.pixels, expected, atol=0.51)
    np.testing.assert_array_equal(changed.next_indices(10), small.next_indices(10))
    classes = Dataset(small.pixels, small.classes, one_hot=False)
    binary = mnist.binarize(mnist.Datasets(small, small, classes, "digits"), seed=4)
    np.testing.assert_array_equal(binary.train.images, small.pixels >= 128)
    np.testing.assert_array_equal(binary.train.labels, small.labels)
    np.testing.assert_array_equal(binary.test.labels, small.classes)


def test_digits_are_scaled_and_framed_as_mnists(digits):
    original = load_digits()
    _, train_labels, images, labels = mnist.digits_arrays()
    corners = (original.images[-360:, ::7, ::7] * 255 / 16).round()
    np.testing.assert_array_equal(images[:, 4:24:19, 4:24:19], corners)
    np.testing.assert_array_equal(labels, original.target[-360:])
    assert images.sum() == images[:, 4:24, 4:24].sum()
    for size, sizes in [(5000, (1317, 120)), (0, (1437, 0)), (59_999, (1, 1436))]:
        data = load_mnist(source="digits", validation_size=size)
        assert (len(data.train.images), len(data.validation.images)) == sizes
        classes = np.concatenate([data.validation.classes, data.train.classes])
        np.testing.assert_array_equal(classes, train_labels)
    parts = (digits.train, digits.validation, digits.test)  # the chapters' numbers rest on these:
    orders = [part.next_indices(3).tolist() for part in parts]
    assert orders == [[462, 630, 397], [45, 15, 112], [99, 239, 202]]


def test_bad_arguments(small, tmp_path):
    for size in (0, -1, 11):
        with pytest.raises(ValueError, match=f"between 1 and 10, found {size}"):
            small.next_batch(size)
    with pytest.raises(ValueError, match="0 or more, .*found -1"):
        small.next_indices(-1)
    with pytest.raises(ValueError, match="found 5 of 0"):
        load_mnist(source="digits", validation_size=0).validation.next_indices(5)
    for size in (-1, 60_000):
        with pytest.raises(ValueError, match=rf"validation_size .*, found {size}"):
            load_mnist(source="digits", validation_size=size)
    with pytest.raises(ValueError, match="source must be one of .*, found 'fashion'"):
        load_mnist(source="fashion")
    (tmp_path / "file").touch()
    for source in mnist.SOURCES:
        with pytest.raises(MnistError, match="data_dir: expected a folder, found a file"):
            load_mnist(tmp_path / "file", source=source)
    for name in ("", "nowhere", "nul\0"):
        with pytest.raises(MnistError, match="expected an IDX file"):
            read_idx(tmp_path / name)


def test_real_mnist(real_mnist):
    data = load_mnist(source="mnist", one_hot=False)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [55000, 5000, 10000]
    np.testing.assert_array_equal(data.test.labels[:10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9])
    np.testing.assert_array_equal(data.validation.labels[:5], [5, 0, 4, 1, 9])


def read(folder, content):
    (folder / "file").write_bytes(content)
    return read_idx(folder / "file")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(("code", "dtype"), mnist.IDX_TYPES.items())
@pytest.mark.parametrize("shape", [(), (0, 5), (2, 1, 3)])
def test_idx_round_trip(code, dtype, shape, pack, generator, tmp_path):
    values = generator.integers(0, 100, shape).astype(dtype)
    found = read(tmp_path, pack(idx_bytes(values, code)))
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    assert not found.flags.writeable


FILE = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
PACKED = gzip.compress(FILE)
POSITIONS = st.integers(0, len(PACKED))
BAD = [
    (b"", "found: b''"),
    (b"\0\0\x0a" + FILE[3:], "type code"),
    (FILE[:-1], r"23 bytes of values instead of 24 for shape \(2, 3, 4\)"),
    (FILE + b"\0", "25 bytes of values instead of 24"),
    (b"\0\0\x08\3" + b"\xff" * 12, "0 bytes of values instead of 79,"),
    (PACKED[:-1], "gzip cut off"),
    (PACKED[:-8] + b"abcd" + PACKED[-4:], "incorrect data check"),
    (PACKED + b"garbage", "more behind it"),
    (gzip.compress(bytes(10**7), 1), "above 65,536 bytes"),
    (bytes(2**16 + 1), "more than 65,536 bytes"),
]


@pytest.mark.parametrize(("content", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_file_is_the_one_error_in_little_memory(content, message, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "MAXIMUM_BYTES", 2**16)
    tracemalloc.start()
    with pytest.raises(MnistError, match=message) as caught:
        read(tmp_path, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value).startswith(f"{tmp_path / 'file'}: expected an IDX file")
    assert peak < 2**20


@settings(deadline=None, derandomize=True, max_examples=1000, suppress_health_check=HealthCheck)
@given(st.sampled_from([FILE, PACKED]), POSITIONS, st.binary(max_size=12), POSITIONS, st.booleans())
def test_any_damage_gives_an_array_or_the_one_error(tmp_path, content, start, middle, end, pack):
    damaged = content[:start] + middle + content[end:]
    with contextlib.suppress(MnistError):
        assert isinstance(read(tmp_path, gzip.compress(damaged) if pack else damaged), np.ndarray)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves the small MNIST, which no folder has; its good mirror is the only one."""
    monkeypatch.setattr(mnist, "default_dir", lambda: tmp_path / "default")
    monkeypatch.delenv(mnist.ENVIRONMENT_VARIABLE, raising=False)
    with Mirrors() as server, replace_mnist([server.url("good")], timeout=1):
        yield server
        server.shutdown()


def place(folder, contents=CONTENTS):
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def visible(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def assert_loads(data_dir=None):
    for array, right in zip(mnist_arrays(data_dir), ARRAYS, strict=True):
        np.testing.assert_array_equal(array, right)


def test_order_of_folders(server, tmp_path, monkeypatch, capsys):
    """What is missing goes into data_dir or the default one, never into the environment's."""
    monkeypatch.setenv(mnist.ENVIRONMENT_VARIABLE, str(tmp_path / "named"))
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    place(tmp_path / "mine")
    assert_loads("~/mine")
    assert server.requests == []
    assert f"{tmp_path / 'named'}: BN_TUTORIAL_DATA" in capsys.readouterr().err
    place(tmp_path / "named", {f"{IMAGES}.gz": b"rotten", IMAGES: UNPACKED[IMAGES]})
    assert_loads("~/mine")
    assert capsys.readouterr().err == ""  # the environment's comes later
    for _ in range(2):
        assert_loads()
    assert server.requests == [("good", name, "identity") for name in list(CONTENTS)[1:]]
    assert visible(tmp_path / "named") == {f"{IMAGES}.gz", IMAGES}
    assert visible(tmp_path / "default") == set(list(CONTENTS)[1:])
    monkeypatch.undo()
    assert mnist.default_dir() == ROOT / "data"


PACKED_ANEW = {f"{name}.gz": gzip.compress(content, 1) for name, content in UNPACKED.items()}


@pytest.mark.parametrize("contents", [UNPACKED, PACKED_ANEW, KERAS])
def test_placed_by_hand(contents, server, tmp_path, capsys):
    assert_loads(place(tmp_path, contents))
    assert server.requests == []
    assert capsys.readouterr().err == ""


ROTTEN = [(f"{IMAGES}.gz", 400), (f"{IMAGES}.gz", -1), (IMAGES, 2), (IMAGES, 900), (*KERAS, -1)]
FIFOS = [(f"{IMAGES}.gz", "fifo")] if hasattr(os, "mkfifo") else []


@pytest.mark.parametrize(("name", "position"), ROTTEN + FIFOS)
def test_a_rotten_file_is_named_once(name, position, server, tmp_path, capsys):
    """The next folder, or a download, takes its place; a FIFO is refused, not waited for."""
    content = bytearray((UNPACKED | CONTENTS | KERAS)[name])
    path = place(tmp_path / "mine", {}) / name
    if position == "fifo":
        os.mkfifo(path)
    else:
        content[position] ^= 1
        path.write_bytes(content)
    place(tmp_path / "default", {name: CONTENTS[name] for name in list(CONTENTS)[1:]})
    assert_loads(tmp_path / "mine")
    assert [asked for _, asked, _ in server.requests] == [f"{IMAGES}.gz"]
    assert capsys.readouterr().err.count(f"{path}: expected") == 1


@pytest.mark.parametrize("name", ["file/data", "x" * 5000, "nul\0", "locked"])
def test_a_folder_that_cannot_be_written(name, server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    if name == "locked":  # in place of its mode, since root may write everywhere
        refuse = mock.Mock(side_effect=PermissionError(13, "Permission denied"))
        monkeypatch.setattr(mnist.filelock.FileLock, "acquire", refuse)
    with pytest.raises(MnistError, match="expected to download .*by hand"):
        mnist_arrays(tmp_path / name)


FAULTS = dict.fromkeys(("html", "wrong"), "does not match")
FAULTS |= dict.fromkeys(("silent", "stalling"), "timed out")
FAULTS |= dict.fromkeys(("404", "incomplete"), "404 Client Error")
FAULTS |= {"down": "refused", "midway": "IncompleteRead"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_mirror_is_passed_over_with_one_line(fault, server, tmp_path, capsys):
    mnist.MIRRORS.insert(0, server.url(fault))
    assert_loads(tmp_path)
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if mnist.MIRRORS[0] in line]
    assert FAULTS[fault] in line
    assert visible(tmp_path) == set(CONTENTS)
    assert len(server.requests) == 4 + (fault != "down")  # what has come is not asked for again


def test_all_fail(server, tmp_path, capsys):
    path = place(tmp_path, {IMAGES: b"rotten"}) / IMAGES
    mnist.MIRRORS[:] = map(server.url, ("404", "wrong", "down"))
    with pytest.raises(MnistError, match="expected to download.*by hand") as caught:
        load_mnist(tmp_path, source="mnist")
    assert str(caught.value).startswith(f"{path}: expected")
    for address in mnist.MIRRORS:
        assert f"{address}: " in str(caught.value)
        assert FAULTS[address.split("/")[-2]] in str(caught.value)
    assert visible(tmp_path) == {IMAGES}  # what is there is not thrown away
    assert load_mnist(tmp_path).source == "digits"
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"{caught.value}. Using scikit-learn's digits" in line


def test_without_standard_error(server, tmp_path, monkeypatch):
    closed = mock.Mock(write=mock.Mock(side_effect=ValueError("closed")))
    monkeypatch.setattr(sys, "stderr", closed)
    with pytest.raises(MnistError, match=r"open standard error.*closed.*digits instead"):
        load_mnist()
    monkeypatch.setattr(sys, "stderr", None)
    assert_loads(tmp_path / "new" / "folder")


def start_download(folder, address):
    command = [sys.executable, "-m", "tests.small_mnist", str(folder), address]
    return Popen(command, cwd=ROOT, umask=0o027, stdout=PIPE, stderr=PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="modes are Unix's")
def test_of_several_processes_one_downloads(server, tmp_path):
    processes = [start_download(tmp_path, server.url("slow")) for _ in range(4)]
    answers = [process.communicate() for process in processes]
    assert [output for output, _ in answers] == ["loaded False\n"] * 4, answers
    assert len(server.requests) == len(CONTENTS)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert {name: modes[name] for name in visible(tmp_path)} == dict.fromkeys(CONTENTS, 0o640)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are Unix's")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_a_download_that_is_ended_leaves_nothing_that_is_believed(name, server, tmp_path):
    process = start_download(tmp_path, server.url("stalling"))
    while not (tmp_path / mnist.DOWNLOAD).exists():
        time.sleep(0.01)
    process.send_signal(getattr(signal, name))
    _, error = process.communicate()
    assert ("KeyboardInterrupt" in error) == (name == "SIGINT")
    assert visible(tmp_path) == set()
    output, error = start_download(tmp_path, server.url("good")).communicate()
    assert output == "loaded False\n", error
