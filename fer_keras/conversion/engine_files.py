"""Files of an export for other engines than LiteRT: ONNX, and OpenVINO's own format.

Keras' own `model.export` writes them, in float32 and with any number of pictures at once. They are
compared with Keras in the engine that will run them.
"""

import importlib.util
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError, ExportError
from fer_keras.conversion.tflite import TIMING_RUNS, quietly
from fer_keras.runtime.engines import Engine, import_openvino, open_engine, require_engine

# Runs from ONNX Runtime 1.14 (2023) on.
ONNX_OPSET = 18
FORMATS = ("onnx", "openvino")
ENGINE_FILES = {"onnx": "model.onnx", "openvino": "model.xml"}
_WARM_UP_RUNS = 20
_BATCH_SIZE = 32

Images = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]


def check_formats(formats: Sequence[str]) -> None:
    """Refuses formats that are unknown or cannot be written here.

    Raises:
        ConfigError: One is, with the command that installs what it needs.
    """
    for name in formats:
        if name not in FORMATS:
            raise ConfigError(f"--formats: expected some of {', '.join(FORMATS)}, received {name}")
        require_engine(name)
    if "onnx" in formats and importlib.util.find_spec("tf2onnx") is None:
        raise ConfigError(
            "--formats onnx needs tf2onnx, which is not installed. Mend: pip install "
            "'fer_keras[onnx]'"
        )


def write_engine_file(deploy: Any, folder: Path, name: str) -> dict[str, Any]:
    """Writes one format.

    Args:
        deploy: Of `fer_keras.conversion.tflite.deploy_graph`.
        folder: Where to.
        name: Of `FORMATS`.

    Returns:
        What the manifest says of it: `opset` of an ONNX file.

    Raises:
        ExportError: The network has an operation that the format lacks.
    """
    import tensorflow as tf

    if name == "openvino":
        import_openvino()
    shape = (None, *deploy.inputs[0].shape[1:])
    options: dict[str, Any] = {"opset_version": ONNX_OPSET} if name == "onnx" else {}

    def write() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            deploy.export(
                str(folder / ENGINE_FILES[name]),
                format=name,
                verbose=False,
                input_signature=[tf.TensorSpec(shape, tf.float32, name="image")],
                **options,
            )

    quietly(write)
    return {"opset": ONNX_OPSET} if name == "onnx" else {}


def engine_file_bytes(folder: Path, name: str) -> int:
    """Size of what `write_engine_file` wrote, in bytes."""
    path = folder / ENGINE_FILES[name]
    paths = [path, path.with_suffix(".bin")] if name == "openvino" else [path]
    return sum(one.stat().st_size for one in paths)


def open_written(folder: Path, name: str) -> Engine:
    """The file in its engine, on one thread.

    Raises:
        ExportError: The engine cannot run it.
    """
    path = folder / ENGINE_FILES[name]
    weights = path.with_suffix(".bin").read_bytes() if name == "openvino" else b""
    try:
        return open_engine(name, path.read_bytes(), weights, path, 1)  # type: ignore[arg-type]
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ExportError(f"Not published: the {name} file cannot be run ({reason}).") from error


def engine_answers(engine: Engine, images: Images) -> list[Scores]:
    """Answers of the engine by its outputs, in batches, `(n, classes)` and `(n, 2)`."""
    blocks = [
        engine.run(images[start : start + _BATCH_SIZE].astype(np.float32))
        for start in range(0, len(images), _BATCH_SIZE)
    ]
    return [np.concatenate(column) for column in zip(*blocks, strict=True)]


def engine_ms_per_face(engine: Engine, images: Images) -> float:
    """Median milliseconds of one picture on one thread."""
    times = []
    for i in range(_WARM_UP_RUNS + TIMING_RUNS):
        image = images[i % len(images)][np.newaxis].astype(np.float32)
        start = time.perf_counter()
        engine.run(image)
        times.append(time.perf_counter() - start)
    return round(1000 * float(np.median(times[_WARM_UP_RUNS:])), 4)
