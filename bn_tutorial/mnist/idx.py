"""Safe readers for the two formats MNIST comes in: IDX, and NumPy's archive.

Whatever bytes a file holds, the result is an array or a `MnistError`, within a bound of memory.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

MAXIMUM_BYTES = 2**28  # of an unpacked file: five times the largest of MNIST's
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class MnistError(Exception):
    """MNIST can't be had, or a file of it is not what it should be."""


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read one IDX file, the format of MNIST; gzip is recognised by its first bytes.

    The format: two zero bytes, a type code, the number of dimensions, each dimension as 4 bytes,
    then the values; all big-endian. At most `MAXIMUM_BYTES` of values are read.

    Returns:
        An array of the file's shape and type, read-only.

    Raises:
        MnistError: with the file, what was expected and what was found.
    """
    try:
        with open_regular(path) as file:
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return _parse_idx(unpacked, path)
            return _parse_idx(file, path)
    except (OSError, EOFError, MemoryError, ValueError, zlib.error) as error:
        raise MnistError(f"{path}: expected a readable IDX file, found: {error}") from error


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """The file, open to read its bytes; a folder, FIFO or device is refused, not waited for.

    Raises:
        OSError: it can't be opened, or is not a regular file.
    """
    if os.path.exists(path) and not Path(path).is_file():
        raise OSError("not a regular file")
    return Path(path).open("rb")


def _parse_idx(stream: BinaryIO | gzip.GzipFile, path: str | os.PathLike[str]) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in IDX_TYPES:
        raise MnistError(f"{path}: expected IDX (0, 0, type code, dimensions), found {magic!r}")
    header = stream.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise MnistError(f"{path}: expected {magic[3]} dimensions, found {len(header)} bytes")
    shape = struct.unpack(f">{magic[3]}I", header)
    dtype = np.dtype(IDX_TYPES[magic[2]])
    size = math.prod(shape) * dtype.itemsize
    if size > MAXIMUM_BYTES:
        raise MnistError(f"{path}: expected {MAXIMUM_BYTES:,} bytes at most, found shape {shape}")
    values = _read_at_most(stream, size + 1)  # one more shows what is too long; gzip checks its end
    if len(values) != size:
        found = f"only {len(values):,}" if len(values) < size else "more"
        raise MnistError(f"{path}: expected {size:,} bytes for shape {shape}, found {found}")
    # ValueError: more dimensions than NumPy has, or 0 times too many.
    array = np.ndarray(shape, dtype, values).astype(dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    return array


def _read_at_most(stream: BinaryIO | gzip.GzipFile, size: int) -> bytearray:
    """In pieces: read(size) would set aside as much as a header claims, whatever the file holds."""
    values = bytearray()
    while piece := stream.read(min(size - len(values), 2**20)):
        values += piece
    return values


def read_npz(path: Path, key: str) -> np.ndarray:
    """One array of a NumPy archive, such as Keras's mnist.npz; nothing is ever unpickled."""
    try:
        with open_regular(path) as stored, zipfile.ZipFile(stored) as archive:
            member = archive.getinfo(f"{key}.npy")
            if member.file_size > MAXIMUM_BYTES:
                raise ValueError(f"more than {MAXIMUM_BYTES:,} bytes")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("a compression without bound, which NumPy does not use")
            with archive.open(member) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # zipfile, its codecs and NumPy's header parser raise all sorts
        raise MnistError(f"{path}: expected an archive with {key}, found: {error}") from error
