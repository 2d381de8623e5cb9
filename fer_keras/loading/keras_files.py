"""Reads and writes `.keras` files; what is read is checked before Keras sees it."""

import hashlib
import io
import json
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.errors import ConfigError, FerKerasError, ModelFileError, TrainingError
from fer_keras.common.files import atomic_path, first_line, read_bounded
from fer_keras.common.installed import require_keras
from fer_keras.loading.checks import (
    MAX_MODEL_BYTES,
    checked_archive,
)
from fer_keras.models.graphs import named_network


def load_network(path: str | Path) -> tuple[Any, str]:
    """Reads the Keras network of a `.keras` file, for further training or export.

    Args:
        path: The file.

    Returns:
        The functional model and the sha256 of the file. Its outputs are a dict; of a plain network
        of `fer_keras.build_model` with `logits` alone.

    Raises:
        ModelFileError: Missing, too large, damaged, or holding anything but Keras' own layers and
            the layers of this package.
    """
    where = Path(path)
    data = read_bounded(where, MAX_MODEL_BYTES)
    network = network_of(data, where)
    # Another project's network is for its reader to judge.
    with suppress(ConfigError):
        network = named_network(network)
    return network, hashlib.sha256(data).hexdigest()


def input_shape(path: str | Path) -> tuple[int, ...]:
    """The shape of one input of the network in a `.keras` file; Keras is not needed.

    Args:
        path: The file.

    Returns:
        `(height, width, channels)`, for pairs and clips with their number in front.

    Raises:
        ModelFileError: Missing, too large or damaged, or not one input of a fixed shape.
    """
    where = Path(path)
    data = read_bounded(where, MAX_MODEL_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            layers = json.loads(archive.read("config.json"))["config"]["layers"]
        inputs = [each for each in layers if each["class_name"] == "InputLayer"]
        shapes = [tuple(each["config"]["batch_shape"][1:]) for each in inputs]
    except (zipfile.BadZipFile, LookupError, TypeError, ValueError, OSError) as error:
        raise ModelFileError(
            f"Not a .keras file of a network ({first_line(error)}): {where}"
        ) from error
    if len(shapes) != 1 or not all(isinstance(side, int) for side in shapes[0]):
        raise ModelFileError(f"Expected one input of a fixed shape. Received: {shapes}: {where}")
    return shapes[0]


def network_of(data: bytes, where: Path) -> Any:
    """The Keras network in the bytes of a `.keras` file.

    Args:
        data: The file.
        where: Named in messages.

    Returns:
        The model, not compiled.

    Raises:
        ModelFileError: As `load_network`.
        ConfigError: Keras or its backend is not installed.
    """
    require_keras("A .keras file")
    checked = checked_archive(data, where)
    import keras

    # Keras opens files by name only. What it opens is a private copy of the bytes that were
    # checked, so that nobody can exchange the file in between.
    with tempfile.TemporaryDirectory(prefix="fer_keras-") as folder:
        copy = Path(folder) / "model.keras"
        copy.write_bytes(checked)
        try:
            return keras.saving.load_model(copy, compile=False, safe_mode=True)
        except FerKerasError:
            raise
        except Exception as error:
            # A damaged or hostile file can fail anywhere inside Keras or HDF5.
            raise ModelFileError(
                f"Keras cannot read this file ({first_line(error)}): {where}"
            ) from error


def save_network(
    network: Any, path: str | Path, *, error: type[FerKerasError] = TrainingError
) -> None:
    """Writes a network to a `.keras` file: either wholly or not at all.

    Args:
        network: A functional Keras model.
        path: Ends in `.keras`; an existing file stays intact until the new one is on the disk.
        error: The class of what is raised.

    Raises:
        FerKerasError: Of class `error`: a weight is not finite, the disk is full, the folder
            cannot be written to.
    """
    where = Path(path)
    if where.suffix != ".keras":
        raise error(f"A network is saved as .keras. Received: {where}")
    import keras

    for variable in network.variables:
        # TensorFlow keeps a variable of several devices in parts; a copy is one array.
        values = np.asarray(keras.ops.convert_to_numpy(keras.ops.copy(variable.value)))
        # bfloat16 is no kind of float for NumPy itself.
        if values.dtype.kind == "V":
            values = values.astype(np.float32)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise error(
                f"Not saved: weight {variable.path} holds NaN or infinity. "
                f"The earlier file, if any, is unchanged: {where}"
            )
    try:
        with atomic_path(where) as temporary:
            network.save(temporary, overwrite=True)
    # HDF5 reports a full disk as a RuntimeError.
    except (OSError, RuntimeError) as reason:
        cause = reason.strerror if isinstance(reason, OSError) else None
        raise error(
            f"The network could not be written ({cause or first_line(reason)}). What was there "
            f"before is unchanged: {where}"
        ) from reason
