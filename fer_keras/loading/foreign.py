"""Keras files of other projects, read within the same trust boundary as our own.

Old `.hdf5` files (Keras 1.2 to 3) say only the names of their layers: those of Keras are built, any
other is refused, and so is whatever could run code or point to other files. A `.keras` file passes
the checks of `fer_keras.loading.checks`. TFLite and ONNX files go to `fer_keras.loading.peer`.
"""

import io
import json
import tempfile
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fer_keras.common.errors import FerKerasError, ModelFileError
from fer_keras.common.files import MAX_CONFIG_BYTES, first_line
from fer_keras.loading.checks import REFUSED_CLASSES, check_config
from fer_keras.loading.classifier import LoadedModel
from fer_keras.loading.keras_files import network_of
from fer_keras.loading.peer import carded_model, model_bytes, model_suffix, open_peer
from fer_keras.runtime.peer_card import PeerCard, Values

HDF5_SUFFIXES = (".hdf5", ".h5")
_BATCH_SIZE = 64
_NETWORK_CLASSES = {"Model", "Functional", "Sequential"}


def open_foreign(
    card: PeerCard, path: str | PathLike[str], threads: int = 1
) -> tuple[LoadedModel, Any]:
    """Opens a model of another project, of any format that is read.

    Args:
        card: What its numbers mean.
        path: A `.tflite`, `.onnx`, `.keras` or `.hdf5` file, or the wheel that holds it.
        threads: Of LiteRT or ONNX Runtime; Keras takes what it likes.

    Returns:
        The model, and its Keras network (None for other formats).

    Raises:
        ModelFileError: Missing, damaged, refused, or not what the card says.
    """
    kind = model_suffix(card, path)
    if kind not in (*HDF5_SUFFIXES, ".keras"):
        return open_peer(card, path, threads), None
    content = model_bytes(card, path)
    where = Path(path)
    network = network_of(content, where) if kind == ".keras" else load_hdf5(content, where)
    shapes = [tuple(tensor.shape) for tensor in (*network.inputs, *network.outputs)]
    expected = [(None, *card.input_shape), (None, len(card.labels))]
    if shapes != expected:
        raise ModelFileError(
            f"Expected one input {expected[0]} and one output {expected[1]} for "
            f"{', '.join(card.labels)}. Received: {shapes}: {where}"
        )

    def run(values: Values) -> Values:
        missing = _BATCH_SIZE - len(values)
        # One shape for all calls: a second one would compile the graph again.
        full = np.concatenate([values, np.zeros((missing, *values.shape[1:]), np.float32)])
        scores = network.predict_on_batch(full)
        if isinstance(scores, dict):
            (scores,) = scores.values()
        return np.asarray(scores, np.float32)[: len(values)]

    kind_name = "keras" if kind == ".keras" else "hdf5"
    return carded_model(run, card, where, kind_name, content, _BATCH_SIZE), network


def load_hdf5(content: bytes, where: Path) -> Any:
    """The Keras network of an old file.

    Args:
        content: The file.
        where: Named in messages.

    Returns:
        The network, not compiled.

    Raises:
        ModelFileError: Damaged, or holding layers that are not Keras' own, code, links or data
            outside the file.
    """
    _check_hdf5(content, where)
    # Keras opens files by name only: a private copy of the bytes that were checked.
    with tempfile.TemporaryDirectory(prefix="fer_keras-") as folder:
        copy = Path(folder) / "model.hdf5"
        copy.write_bytes(content)
        try:
            return keras.saving.load_model(copy, compile=False, safe_mode=True)
        except Exception as error:  # of many kinds, inside Keras or HDF5
            raise ModelFileError(
                f"Keras cannot read this file ({first_line(error)}): {where}"
            ) from error


def _check_hdf5(content: bytes, where: Path) -> None:
    import h5py  # type: ignore[import-untyped]

    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            text = file.attrs.get("model_config")
            if text is None:
                raise ModelFileError(
                    f"The file has weights only, no network; give it as .keras: {where}"
                )
            _check_members(file, where)
            text = text.decode("utf-8") if isinstance(text, bytes) else str(text)
            if len(text) > MAX_CONFIG_BYTES:
                raise ModelFileError(f"model_config is longer than {MAX_CONFIG_BYTES}: {where}")
            config = json.loads(text)
    except FerKerasError:
        raise
    except Exception as error:  # of many kinds, inside HDF5
        raise ModelFileError(
            f"Not a readable HDF5 file of Keras ({first_line(error)}): {where}"
        ) from error
    check_config(config, where, _legacy_names())


def _check_members(file: Any, where: Path) -> None:
    """Refuses what would make HDF5 read other files: links and data stored outside."""
    import h5py

    groups = [file]
    while groups:
        group = groups.pop()
        for name in group:
            link = group.get(name, getlink=True)
            member = group[name] if isinstance(link, h5py.HardLink) else None
            if isinstance(member, h5py.Group):
                groups.append(member)
            elif member is None or member.external or member.is_virtual:
                raise ModelFileError(f"{name!r} points outside the file: refused: {where}")


def _legacy_names() -> frozenset[str]:
    """Names of Keras' own classes, which old files state without a module."""
    parts = (keras.layers, keras.initializers, keras.regularizers, keras.constraints)
    names = {name for part in parts for name in dir(part) if name[0].isupper()}
    return frozenset((names | _NETWORK_CLASSES) - REFUSED_CLASSES)
