import contextlib
import gzip
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from bn_tutorial import mnist
from bn_tutorial.mnist import idx
from bn_tutorial.mnist.idx import MnistError, read_idx
from tests.mnist.faulty_mirror import idx_bytes
from tests.mnist.fuzz_read_idx import check, damaged_files


@pytest.fixture
def read(tmp_path):
    """Read these bytes as a file."""

    def read_bytes(content):
        (tmp_path / "file").write_bytes(content)
        return read_idx(tmp_path / "file")

    return read_bytes


ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
FILE = idx_bytes(ARRAY)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_round_trip(read, pack):
    found = read(pack(FILE))
    np.testing.assert_array_equal(found, ARRAY)
    assert found.dtype == np.uint8


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(8, "u1"), (9, "i1"), (0xB, "i2"), (0xC, "i4"), (0xD, "f4"), (0xE, "f8")],
)
def test_types(read, code, dtype):
    values = np.array([1, -3, 100] if dtype != "u1" else [1, 3, 100])
    content = struct.pack(">BBBBI", 0, 0, code, 1, 3) + values.astype(f">{dtype}").tobytes()
    found = read(content)
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative
    assert not found.flags.writeable


def test_scalar_and_empty_arrays(read):
    assert read(b"\0\0\x08\0\x07").item() == 7
    assert read(struct.pack(">BBBBII", 0, 0, 8, 2, 0, 5)).shape == (0, 5)


def header(*shape, code=8):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)


PACKED = gzip.compress(FILE)
BAD = {
    "empty": (b"", r"expected IDX .* found b''"),
    "wrong magic": (b"\1" + FILE[1:], "expected IDX"),
    "html": (b"<!doctype html>", r"found b'<!do'"),
    "wrong type code": (b"\0\0\x0a" + FILE[3:], "expected IDX"),
    "header cut": (FILE[:10], "expected 3 dimensions, found 6 bytes"),
    "too short": (FILE[:-1], r"expected 24 bytes for shape \(2, 3, 4\), found only 23"),
    "too long": (FILE + b"\0", "expected 24 bytes .* found more"),
    "past memory": (header(2**32 - 1, 2**32 - 1, 2**32 - 1), "bytes at most, found shape"),
    "past the bound": (header(2**28 + 1), "268,435,456 bytes at most"),
    "too many dimensions": (header(*[1] * 200) + b"\0", "readable IDX file"),
    "overflow behind a zero": (header(0, *[2**32 - 1] * 6), "readable IDX file"),
    "gzip of nothing": (gzip.compress(b""), "expected IDX"),
    "gzip magic alone": (b"\x1f\x8b", "expected a readable IDX file"),
    "truncated gzip": (PACKED[:-12], "expected a readable IDX file, found: .*ended"),
    "gzip without trailer": (PACKED[:-8], "ended before the end-of-stream"),
    "wrong checksum": (PACKED[:-8] + b"abcd" + PACKED[-4:], "CRC check failed"),
    "wrong length in trailer": (PACKED[:-4] + b"abcd", "Incorrect length"),
    "damaged deflate stream": (PACKED[:20] + b"\xff\xff" + PACKED[22:], "readable IDX file"),
    "garbage behind gzip": (PACKED + b"garbage", "Not a gzipped file"),
    "a second gzip member": (PACKED + PACKED, "found more"),
    "bomb": (gzip.compress(header(10) + bytes(10**8), 1), "expected 10 bytes .* found more"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD.keys())
def test_bad_files(read, content, message, tmp_path):
    tracemalloc.start()
    try:
        with pytest.raises(MnistError, match=message) as caught:
            read(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(str(tmp_path / "file"))
    assert peak < 4 * len(content) + 2**20


def test_a_header_that_claims_much_takes_no_memory(read):
    """Just within the bound; NumPy's and Python's readers would set it all aside first."""
    tracemalloc.start()
    try:
        for content in (header(2**28) + b"abc", gzip.compress(header(2**28) + b"abc")):
            with pytest.raises(MnistError, match="found only 3"):
                read(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**23


def test_no_memory(read, monkeypatch):
    def refuse(*arguments):
        raise MemoryError("none left")

    monkeypatch.setattr(idx, "_read_at_most", refuse)
    with pytest.raises(MnistError, match="none left"):
        read(FILE)


def test_npz_that_unpacks_without_bound(tmp_path):
    """zipfile unpacks bz2 and LZMA whole, whatever size is promised."""
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x_train.npy", bytes(100))
    with pytest.raises(MnistError, match="a compression without bound"):
        idx.read_npz(tmp_path / "mnist.npz", "x_train")


def test_npz_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "MAXIMUM_BYTES", 100)
    np.savez(tmp_path / "mnist.npz", x_train=ARRAY)
    with pytest.raises(MnistError, match="more than 100 bytes"):
        idx.read_npz(tmp_path / "mnist.npz", "x_train")


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(MnistError, match="nowhere: .*No such file"):
        read_idx(tmp_path / "nowhere")
    with pytest.raises(MnistError, match="expected a readable IDX file"):
        read_idx(tmp_path / "nul\0")
    with pytest.raises(MnistError, match="expected a readable IDX file"):
        read_idx(tmp_path)


def test_the_loader_hands_it_out():
    assert mnist.read_idx is read_idx
    assert mnist.MnistError is MnistError


@settings(
    max_examples=2000,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(content=damaged_files())
def test_any_damage_gives_an_array_or_the_one_error(content, tmp_path):
    check(content, tmp_path / "file")


@pytest.mark.parametrize("content", [content for content, _ in BAD.values()], ids=BAD.keys())
def test_npz_readers_one_error(content, tmp_path):
    (tmp_path / "mnist.npz").write_bytes(content)
    with pytest.raises(MnistError, match="expected a"):
        idx.read_npz(tmp_path / "mnist.npz", "x_train")


def test_npz_that_is_damaged_anywhere(tmp_path, generator):
    path = tmp_path / "mnist.npz"
    np.savez_compressed(path, x_train=ARRAY)
    sound = path.read_bytes()
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        with contextlib.suppress(MnistError):
            idx.read_npz(path, "x_train")
    path.write_bytes(sound)
    np.testing.assert_array_equal(idx.read_npz(path, "x_train"), ARRAY)


@pytest.mark.parametrize("header", [b"", b"(((\n", b"{[]:1}\n", b"{'descr': (), 'shape': ()}\n"])
def test_npz_with_a_header_made_up(header, tmp_path):
    """NumPy's parser raises TokenError, TypeError and more; one error comes out."""
    member = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header if header else b"text"
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w") as archive:
        archive.writestr("x_train.npy", member)
    with pytest.raises(MnistError, match="expected an archive with x_train"):
        idx.read_npz(tmp_path / "mnist.npz", "x_train")
