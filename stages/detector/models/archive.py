"""Read the file that `torch.save` wrote, of which nothing is trusted.

in: a file · out: its content: dicts, plain values, tensors as arrays · unit: a file
promise: nothing in it is executed; memory and time are bounded by the size of the file, whatever
numbers, shapes and strides it claims

`torch.load(weights_only=True)` executes nothing either, but it unpacks compressed entries without a
limit, gives tensors of 10**12 elements in few bytes, by strides of 0, and needs torch.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MOST_BYTES = 4 << 30
"""Largest file that is read; shipped models have 2 MB."""
_CONTENT = "data.pkl"
_TYPES = {
    name: np.dtype(kind)
    for name, kind in {
        "FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16,
        "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16,
        "CharStorage": np.int8, "ByteStorage": np.uint8, "BoolStorage": np.bool_,
    }.items()
}  # fmt: skip


def read_archive(source: Path | bytes) -> Any:
    """Return the content of a file, or of what was one.

    Raises
    ------
    ValueError
        When it is no such file, or claims what it does not hold.
    """
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"it has {size} bytes; the limit is {MOST_BYTES}")
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with zipfile.ZipFile(file) as archive:
            return _Reader(archive, _find_content(archive, size)).load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle may come to anything
        raise ValueError(str(error) or type(error).__name__) from error


def _find_content(archive: zipfile.ZipFile, size: int) -> str:
    """Return the folder of the content, after checking that no entry unpacks to more than it is."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("an entry is compressed, which PyTorch never does")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError(f"its entries have more bytes than the file, {size}")
    folders = [name.removesuffix(_CONTENT) for name in archive.namelist()
               if name.endswith(f"/{_CONTENT}")]  # fmt: skip
    if len(folders) != 1:
        raise ValueError(f"it has {len(folders)} entries {_CONTENT}, not one")
    if f"{folders[0]}byteorder" in archive.namelist():
        order = archive.read(f"{folders[0]}byteorder")
        if order != b"little":
            raise ValueError(f"its byte order is {order[:10]!r}")
    return folders[0]


class _Reader(pickle._Unpickler):
    """Reads the pickle of an archive, in which only tensors and plain values are known.

    The Python version of `pickle.Unpickler`: the other one allocates as much as an index in the
    file asks for.
    """

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(folder + _CONTENT)))
        self._archive, self._folder = archive, folder
        self._storages: dict[str, Array] = {}
        self._unused = 0  # bytes of storages that are in no tensor yet

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name in the pickle means."""
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._view
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise ValueError(f"it names {module}.{name}, which a checkpoint does not have")

    def persistent_load(self, pid: Any) -> Array:
        """Return a storage, as an array of one dimension."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise ValueError(f"an entry is {kind!r} of {dtype}, not a storage")
        if key not in self._storages:
            content = self._archive.read(f"{self._folder}data/{key}")
            if len(content) != count * dtype.itemsize:
                raise ValueError(f"storage {key} has {len(content)} bytes, not {count} of {dtype}")
            self._storages[key] = np.frombuffer(bytearray(content), dtype)
            self._unused += len(content)
        return self._storages[key]

    def _view(
        self, storage: Array, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
    ) -> Array:
        """Return a tensor of a storage; only what is contiguous in it."""
        count = math.prod(size)
        plain = tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))
        if min((offset, *size)) < 0 or offset + count > len(storage):
            raise ValueError(f"a tensor of shape {size} is not within its {len(storage)} elements")
        if count and any(
            length > 1 and (step != expected)
            for length, step, expected in zip(size, stride, plain, strict=True)
        ):
            raise ValueError(f"a tensor of shape {size} has strides {stride}, not {plain}")
        self._unused -= count * storage.itemsize
        if self._unused < 0:
            raise ValueError("its tensors have more bytes than the file")
        return storage[offset : offset + count].reshape(size)
