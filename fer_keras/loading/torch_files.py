"""Reads the named tensors of PyTorch files, and of pickles of NumPy arrays, without PyTorch.

The file is data here (`fer_keras.loading.pickle_tree`): of all that a pickle can name, this module
understands storages, the functions that make tensors and arrays of them, and the attributes in
which a pickled module keeps its parts. Nothing else is looked at.

Formats: the archive that PyTorch 1.6 and later write, the stream of pickles before that, and a
plain pickle. `.pt`, `.pth`, `.pth.tar`, `.t7` and `.pkl` are all found with either content.
"""

import io
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ModelFileError
from fer_keras.common.files import first_line, read_bounded
from fer_keras.loading.checks import MAX_MODEL_BYTES
from fer_keras.loading.pickle_tree import PERSISTENT, PickleTreeError, Record, read_pickle_tree

Tensors = dict[str, npt.NDArray[np.float32]]
_Storage = npt.NDArray[Any]

# Where programs keep the weights in what they save, the innermost last.
_KEYS = ("model_state_dict", "state_dict", "net", "model")
# `torch.save` begins a stream of pickles with this number.
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_PICKLE_BYTES = 64 << 20
_MAX_MODULES = 100_000
_MAX_NAME = 1000
_DTYPES = {
    "Double": "f8", "Float": "f4", "Half": "f2", "BFloat16": "bf16", "Long": "i8", "Int": "i4",
    "Short": "i2", "Char": "i1", "Byte": "u1", "Bool": "u1",
}  # fmt: skip


def load_torch_tensors(path: str | Path) -> Tensors:
    """Reads the named tensors of a file; nothing in it is run, and PyTorch is not needed.

    Args:
        path: A state dict; a checkpoint that holds one as `model_state_dict`, `state_dict`, `net`
            or `model`; a pickled module; or a pickled dict of NumPy arrays. At most 1 GiB.

    Returns:
        Name -> array, float32. `module.` before every name is taken off.

    Raises:
        ModelFileError: Missing, too large, damaged, or without tensors by name.
    """
    where = Path(path)
    data = read_bounded(where, MAX_MODEL_BYTES)
    try:
        tree, storages = _archive(data) if data[:4] == b"PK\3\4" else _stream(data)
        found = _named(tree)
        tensors = {name: _as_array(value, storages, name) for name, value in found.items()}
    except PickleTreeError as error:
        raise ModelFileError(
            f"Expected a PyTorch file (state dict, checkpoint or module) or a pickle of NumPy "
            f"arrays. Received: {error}: {where}"
        ) from error
    if not tensors:
        raise ModelFileError(f"Expected tensors by name. Received none: {where}")
    if sum(array.nbytes for array in tensors.values()) > 2 * MAX_MODEL_BYTES:
        raise ModelFileError(f"The tensors take more than {2 * MAX_MODEL_BYTES} bytes: {where}")
    converted = {name: np.asarray(array, np.float32) for name, array in tensors.items()}
    while all(name.startswith("module.") for name in converted):
        converted = {name.removeprefix("module."): array for name, array in converted.items()}
    return converted


def is_torch_file(path: str | Path) -> bool:
    """Whether a file's name is one that programs give what `load_torch_tensors` reads."""
    return Path(path).name.endswith((".pt", ".pth", ".pth.tar", ".t7", ".pkl"))


class _Storages:
    """The bytes of the storages of a file, by key."""

    def __init__(self, raw: Callable[[str], bytes], byte_order: str) -> None:
        self._raw = raw
        self._byte_order = byte_order
        self._known: dict[str, _Storage] = {}

    def get(self, record: Any, dtype: str = "") -> _Storage:
        """The numbers of a storage that a pickle names.

        Args:
            record: What stands in the place of the storage.
            dtype: Of `_DTYPES`, where the storage itself has none.
        """
        if not isinstance(record, Record) or record.name != PERSISTENT:
            raise PickleTreeError("a tensor without a storage")
        key = record.args
        if not isinstance(key, tuple) or len(key) < 5 or key[0] != "storage":
            raise PickleTreeError("a storage of an unknown kind")
        kind = key[1].name.rpartition(".")[2] if isinstance(key[1], Record) else ""
        code = dtype or _DTYPES.get(kind.removesuffix("Storage"), "")
        if not code:
            raise PickleTreeError(f"a storage of the unknown kind {kind[:40]!r}")
        values = self._decoded(str(key[2]), code)
        view = key[5] if len(key) > 5 else None
        if view is None:
            return values
        if not isinstance(view, tuple) or len(view) != 3:
            raise PickleTreeError("a view of a storage of an unknown kind")
        _, offset, size = view
        return values[_count(offset) : _count(offset) + _count(size)]

    def _decoded(self, key: str, code: str) -> _Storage:
        name = f"{key} {code}"
        if name not in self._known:
            raw = self._raw(key)
            if code == "bf16":
                halves = np.frombuffer(raw, f"{self._byte_order}u2").astype(np.uint32)
                self._known[name] = (halves << 16).view(np.float32)
            else:
                itemsize = np.dtype(code).itemsize
                self._known[name] = np.frombuffer(
                    raw[: len(raw) // itemsize * itemsize], f"{self._byte_order}{code}"
                )
        return self._known[name]


def _archive(data: bytes) -> tuple[Any, _Storages]:
    """The pickle of an archive, and the storages beside it."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = {info.filename: info for info in archive.infolist()}
        if sum(info.file_size for info in members.values()) > 2 * MAX_MODEL_BYTES:
            raise PickleTreeError("an archive that unpacks to more than a model needs")
        pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
        if any(name.endswith("constants.pkl") for name in members):
            raise PickleTreeError("a TorchScript program, which holds code; save its state dict")
        if len(pickles) != 1:
            raise PickleTreeError("an archive without data.pkl")
        prefix = pickles[0].removesuffix("data.pkl")
        if members[pickles[0]].file_size > _MAX_PICKLE_BYTES:
            raise PickleTreeError(f"a pickle of more than {_MAX_PICKLE_BYTES} bytes")
        tree = read_pickle_tree(io.BytesIO(archive.read(pickles[0])))
        order = f"{prefix}byteorder"
        is_big = order in members and archive.read(order) == b"big"
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise PickleTreeError(f"a damaged archive ({first_line(error)})") from error

    def raw(key: str) -> bytes:
        name = f"{prefix}data/{key}"
        if name not in members:
            raise PickleTreeError(f"an archive without {name[:60]}")
        try:
            return archive.read(name)
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise PickleTreeError(f"a damaged archive ({first_line(error)})") from error

    return tree, _Storages(raw, ">" if is_big else "<")


def _stream(data: bytes) -> tuple[Any, _Storages]:
    """The pickle of the older format and its storages, or a plain pickle."""
    stream = io.BytesIO(data)
    first = read_pickle_tree(stream)
    if first != _STREAM_MAGIC:
        return first, _Storages(_no_storage, "<")
    read_pickle_tree(stream)  # The version of the format.
    system = read_pickle_tree(stream)
    tree = read_pickle_tree(stream)
    keys = read_pickle_tree(stream)
    is_big = isinstance(system, dict) and system.get("little_endian") is False
    sizes = _storage_sizes(tree)
    places: dict[str, tuple[int, int]] = {}
    position = stream.tell()
    for key in keys if isinstance(keys, list) else ():
        count = int.from_bytes(data[position : position + 8], "big" if is_big else "little")
        start = position + 8
        position = start + count * sizes.get(str(key), 4)
        if position > len(data):
            raise PickleTreeError("a file that is cut off: a storage ends behind its end")
        places[str(key)] = (start, position)

    def raw(key: str) -> bytes:
        if key not in places:
            raise PickleTreeError(f"a file without the storage {key[:40]}")
        start, end = places[key]
        return data[start:end]

    return tree, _Storages(raw, ">" if is_big else "<")


def _no_storage(key: str) -> bytes:
    raise PickleTreeError(f"a plain pickle that names the storage {key[:40]}")


def _storage_sizes(tree: Any) -> dict[str, int]:
    """Bytes of one number of each storage; the older format states only how many there are."""
    sizes = {}
    for value in _every_value(tree):
        if isinstance(value, Record) and value.name == PERSISTENT:
            key = value.args
            if isinstance(key, tuple) and len(key) >= 5 and isinstance(key[1], Record):
                kind = key[1].name.rpartition(".")[2].removesuffix("Storage")
                code = _DTYPES.get(kind, "f4")
                sizes[str(key[2])] = 2 if code == "bf16" else np.dtype(code).itemsize
    return sizes


def _every_value(tree: Any) -> Iterator[Any]:
    """Every value of a tree once, however often and deep it occurs."""
    seen: set[int] = set()
    stack = [tree]
    while stack:
        value = stack.pop()
        if not isinstance(value, (Record, dict, list, tuple)) or id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, Record):
            stack.extend((value.args, value.state, value.items))
        else:
            stack.extend(value.values() if isinstance(value, dict) else value)


def _named(tree: Any) -> dict[str, Any]:
    """What stands under a name: the entries of a state dict, or those of a pickled module."""
    content = tree
    while True:
        if isinstance(content, Record) and _is_module(content):
            return _module_parts(content)
        if not isinstance(content, dict):
            raise PickleTreeError(f"{_described(content)} in the place of a state dict")
        inner = [content[key] for key in _KEYS if key in content]
        inner = [value for value in inner if isinstance(value, dict) or _is_module(value)]
        if not inner:
            break
        content = inner[0]
    named = {name: value for name, value in content.items() if name != "_metadata"}
    for name, value in named.items():
        if not isinstance(name, str) or not _is_tensor(value):
            raise PickleTreeError(f"{_described(value)} named {str(name)[:60]!r}")
    return named


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Record) and (value.name in _REBUILT or value.name in _ARRAYS)


def _is_module(value: Any) -> bool:
    state = value.state if isinstance(value, Record) else None
    return isinstance(state, dict) and "_modules" in state and "_parameters" in state


def _module_parts(module: Record) -> dict[str, Any]:
    """The parameters and buffers of a pickled module and of those in it, named as PyTorch does."""
    named: dict[str, Any] = {}
    pending: list[tuple[str, Any]] = [("", module)]
    visited = 0
    while pending:
        prefix, part = pending.pop()
        if part is None:
            continue
        # A module may hold itself, or in a small file two of what holds two and so on.
        visited += 1
        if not _is_module(part) or visited > _MAX_MODULES or len(prefix) > _MAX_NAME:
            raise PickleTreeError(f"{_described(part)} as the module {prefix[:60]!r}")
        state = part.state
        for group in ("_parameters", "_buffers"):
            entries = state.get(group)
            for name, value in entries.items() if isinstance(entries, dict) else ():
                if value is not None:
                    if not _is_tensor(value):
                        raise PickleTreeError(f"{_described(value)} named {name!s:.60}")
                    named[f"{prefix}{name}"] = value
        modules = state.get("_modules")
        for name, value in modules.items() if isinstance(modules, dict) else ():
            pending.append((f"{prefix}{name}.", value))
    return named


def _as_array(value: Record, storages: _Storages, name: str) -> npt.NDArray[Any]:
    try:
        if value.name in _ARRAYS:
            return _ARRAYS[value.name](value)
        return _REBUILT[value.name](value, storages)
    except PickleTreeError as error:
        raise PickleTreeError(f"{error} ({name[:60]})") from error
    except (TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
        raise PickleTreeError(
            f"a tensor that cannot be read: {first_line(error)} ({name[:60]})"
        ) from error


def _tensor(value: Record, storages: _Storages) -> npt.NDArray[Any]:
    """Of `_rebuild_tensor` and its successors: storage, offset, size, stride, ..."""
    storage, offset, size, stride = value.args[:4]
    dtype = ""
    if value.name.endswith("_v3"):
        dtype = _dtype_of(value.args[6])
    values = storages.get(storage, dtype)
    shape = tuple(_count(side) for side in size)
    steps = tuple(_count(step) for step in stride)
    start, total = _count(offset), math.prod(shape)
    if len(shape) != len(steps):
        raise PickleTreeError("a tensor with another number of strides than of axes")
    if total == 0:
        return np.zeros(shape, values.dtype)
    last = start + sum((side - 1) * step for side, step in zip(shape, steps, strict=True))
    # More numbers than the storage has is what a stride of 0 makes, a bomb in a small file.
    if last >= len(values) or total > len(values):
        raise PickleTreeError(f"a tensor of shape {shape} in a storage of {len(values)} numbers")
    return np.lib.stride_tricks.as_strided(
        values[start:], shape, tuple(step * values.itemsize for step in steps), writeable=False
    )


def _dtype_of(record: Any) -> str:
    names = {
        "torch.float64": "f8", "torch.float32": "f4", "torch.float16": "f2",
        "torch.bfloat16": "bf16", "torch.int64": "i8", "torch.int32": "i4", "torch.int16": "i2",
        "torch.int8": "i1", "torch.uint8": "u1", "torch.bool": "u1",
    }  # fmt: skip
    name = record.name if isinstance(record, Record) else ""
    if name not in names:
        raise PickleTreeError(f"a tensor of the unknown type {name[:40]!r}")
    return names[name]


def _parameter(value: Record, storages: _Storages) -> npt.NDArray[Any]:
    inner = value.args[0]
    if not isinstance(inner, Record) or inner.name not in _REBUILT or inner.name in _PARAMETERS:
        raise PickleTreeError("a parameter without a tensor")
    return _REBUILT[inner.name](inner, storages)


def _array(value: Record) -> npt.NDArray[Any]:
    """Of `numpy.ndarray`: its state is (version, shape, type, whether column-first, bytes)."""
    _, shape, dtype, column_first, raw = value.state
    return _checked_array(_bytes(raw), _numpy_dtype(dtype), shape, "F" if column_first else "C")


def _buffer_array(value: Record) -> npt.NDArray[Any]:
    """Of protocol 5: bytes, type, shape, order."""
    raw, dtype, shape, order = value.args
    return _checked_array(_bytes(raw), _numpy_dtype(dtype), shape, "F" if order == "F" else "C")


def _checked_array(
    raw: bytes, dtype: np.dtype[Any], shape: Any, order: Literal["C", "F"]
) -> npt.NDArray[Any]:
    sides = tuple(_count(side) for side in shape)
    if math.prod(sides) * dtype.itemsize != len(raw):
        raise PickleTreeError(f"an array of shape {sides} in {len(raw)} bytes")
    return np.frombuffer(raw, dtype).reshape(sides, order=order)


def _numpy_dtype(record: Any) -> np.dtype[Any]:
    if not isinstance(record, Record) or record.name != "numpy.dtype" or not record.args:
        raise PickleTreeError("an array without a type")
    code = record.args[0]
    if not isinstance(code, str) or code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1"):
        raise PickleTreeError(f"an array of the type {str(code)[:20]!r}; expected numbers")
    state = record.state
    is_big = isinstance(state, tuple) and len(state) > 1 and state[1] == ">"
    return np.dtype(f"{'>' if is_big else '<'}{code}")


def _bytes(value: Any) -> bytes:
    # Python 2 has the bytes of an array as a string; Python 3 writes them for it as latin-1 text.
    if isinstance(value, Record) and value.name == "_codecs.encode" and value.args:
        value = value.args[0]
    if isinstance(value, str):
        value = value.encode("latin-1")
    if not isinstance(value, bytes | bytearray):
        raise PickleTreeError("an array without its bytes")
    return bytes(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1 << 40:
        raise PickleTreeError("a tensor with a size that is no count")
    return value


def _described(value: Any) -> str:
    return f"{value.name[:60]}" if isinstance(value, Record) else type(value).__name__


_PARAMETERS = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
_REBUILT: dict[str, Callable[[Record, _Storages], npt.NDArray[Any]]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    **dict.fromkeys(_PARAMETERS, _parameter),
}
_ARRAYS: dict[str, Callable[[Record], npt.NDArray[Any]]] = {
    "numpy.core.multiarray._reconstruct": _array,
    "numpy._core.multiarray._reconstruct": _array,
    "numpy.core.numeric._frombuffer": _buffer_array,
    "numpy._core.numeric._frombuffer": _buffer_array,
}
