"""Readers of files that hold weights and no network: HDF5 of Keras and NumPy files."""

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ModelFileError
from fer_keras.common.files import first_line, read_bounded
from fer_keras.loading.checks import MAX_MODEL_BYTES


def load_weights(network: Any, path: str | Path) -> None:
    """Fills a network from a Keras file of weights alone, for instance of `keras.applications`.

    Args:
        network: A Keras model whose layers are those of the file.
        path: A `.h5` file.

    Raises:
        ModelFileError: Missing, too large, damaged, or the weights of another network.
    """
    where = Path(path)
    data = read_bounded(where, MAX_MODEL_BYTES)
    suffix = ".weights.h5" if where.name.endswith(".weights.h5") else ".h5"
    if not where.name.endswith(suffix):
        raise ModelFileError(f"Expected a file of weights, .h5: {where}")
    with tempfile.TemporaryDirectory(prefix="fer_keras-") as folder:
        copy = Path(folder) / f"weights{suffix}"
        copy.write_bytes(data)
        try:
            network.load_weights(copy)
        except Exception as error:
            # As with whole models, a damaged file can fail anywhere inside Keras or HDF5.
            raise ModelFileError(
                f"Keras cannot read these weights ({first_line(error)}): {where}"
            ) from error


def load_arrays(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """Reads named arrays from a `.npz` file; one that holds Python objects is refused.

    Args:
        path: The file, at most 1 GiB, unpacked too.

    Returns:
        Name -> array.

    Raises:
        ModelFileError: Missing, too large, damaged, or with anything but numbers in it.
    """
    where = Path(path)
    data = read_bounded(where, MAX_MODEL_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > MAX_MODEL_BYTES:
            raise ModelFileError(f"Unpacks to {size} bytes; {MAX_MODEL_BYTES} are read: {where}")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFileError(
            f"Not a readable .npz file of numbers ({first_line(error)}): {where}"
        ) from error
