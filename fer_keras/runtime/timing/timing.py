"""Times one model: the process that `python -m fer_keras.benchmark` starts for each of them.

A process of its own makes the memory the model's own, and a damaged file ends nothing else. The
benchmark writes one JSON object a line (`{"ask": "invoke", "threads": 1, ...}`) and reads one for
each, so it decides who runs when: while one model is timed the others wait.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from fer_keras.common.decode import decode_image, read_image_bytes
from fer_keras.common.errors import DataError, FerKerasError, ModelFileError
from fer_keras.common.opencv import cv2
from fer_keras.runtime.export_files import MANIFEST, MAX_MODEL_BYTES, read_model_files
from fer_keras.runtime.recognizer import Precision, Recognizer
from fer_keras.runtime.timing.machine import peak_memory_mib
from fer_keras.runtime.timing.onnx_session import onnx_session
from fer_keras.runtime.timing.scene import draw_scene

STAGES = ("decode", "detect", "align", "classify")
WARM_UP_CALLS = 5
# A slow model's round ends early, but never before this many calls.
_MIN_CALLS = 3


class TimedModel:
    """A TFLite model that is run again and again on random input of its own shape.

    Args:
        path: An export folder, a `.tflite` file inside one, or any other `.tflite` file: without
            `manifest.json` beside it, it is timed as it is.
        precision: Which file of the export folder.

    Attributes:
        facts: `bytes`, `input_shape`, `input_dtype`, `load_ms` (reading, verifying and preparing
            for one thread), `first_ms` (the first run), `peak_mib` (memory of the process after
            a few runs, None where the system does not tell) and `is_export`.

    Raises:
        ModelFileError: The file is missing, damaged or not what its manifest says, or has an input
            of no fixed size.
    """

    def __init__(self, path: Path, precision: Precision | None = None) -> None:
        self._path, self._precision = path, precision
        self.is_export = not is_bare(path)
        start = time.perf_counter()
        self._content = _read(path, precision, self.is_export)
        self._by_threads: dict[int, Callable[[], object]] = {1: self._prepare(1)}
        loaded = time.perf_counter()
        self._run(1)
        first = time.perf_counter()
        self._warm_up(1)
        self._pipelines: dict[tuple[str, int], Callable[[bytes], list[float]]] = {}
        self.facts = {
            "bytes": len(self._content),
            "input_shape": self._input_shape,
            "input_dtype": self._input_dtype,
            "load_ms": 1000 * (loaded - start),
            "first_ms": 1000 * (first - loaded),
            "peak_mib": peak_memory_mib(),
            "is_export": self.is_export,
        }

    def invoke_ms(self, threads: int, calls: int, limit_s: float) -> list[float]:
        """Time single runs: setting the input, running, getting the output.

        Args:
            threads: Of LiteRT.
            calls: How many runs.
            limit_s: No further run starts after so many seconds, once there are three.

        Returns:
            Milliseconds of each run.
        """
        if threads not in self._by_threads:
            self._by_threads[threads] = self._prepare(threads)
            self._warm_up(threads)
        start = last = time.perf_counter()
        taken: list[float] = []
        while len(taken) < calls and (len(taken) < _MIN_CALLS or last - start < limit_s):
            self._run(threads)
            now = time.perf_counter()
            taken.append(1000 * (now - last))
            last = now
        return taken

    def stages_ms(
        self, picture: bytes, detector: str, threads: int, calls: int, limit_s: float
    ) -> dict[str, list[float]]:
        """Time the way from a picture file to the expression of its largest face.

        Args:
            picture: Of a type that `fer_keras.common.decode` reads.
            detector: One of `fer_keras.runtime.faces.DETECTORS`.
            threads: Of LiteRT and OpenCV.
            calls: How many times.
            limit_s: As for `invoke_ms`.

        Returns:
            For each of `STAGES` the milliseconds of each time.

        Raises:
            DataError: No face is found in the picture, or it cannot be read.
            ModelFileError: The model is no export, or does not run as one.
        """
        if (detector, threads) not in self._pipelines:
            self._pipelines[detector, threads] = self._pipeline(detector, threads)
            self._pipelines[detector, threads](picture)
        cv2.setNumThreads(threads)
        start = time.perf_counter()
        rows: list[list[float]] = []
        while len(rows) < calls and (
            len(rows) < _MIN_CALLS or time.perf_counter() - start < limit_s
        ):
            rows.append(self._pipelines[detector, threads](picture))
        return {stage: [row[i] for row in rows] for i, stage in enumerate(STAGES)}

    def _pipeline(self, detector: str, threads: int) -> Callable[[bytes], list[float]]:
        recognizer = Recognizer(self._path, detector, threads, self._precision)

        def run(picture: bytes) -> list[float]:
            times = [time.perf_counter()]
            pixels = decode_image(picture, channels=3, source="picture")
            times.append(time.perf_counter())
            faces = recognizer.detect(pixels)
            times.append(time.perf_counter())
            if not faces:
                raise DataError(
                    f"no face found in the picture by {detector}: expected at least one. Choose "
                    "another --picture, or another --detector"
                )
            crops = recognizer.crop_faces(pixels, faces[:1])
            times.append(time.perf_counter())
            if recognizer.input_kind == "pair" and not recognizer.has_neutral():
                recognizer.set_neutral(pixels, faces=faces[:1])
            recognizer.read_crops(crops)
            times.append(time.perf_counter())
            return [1000 * (after - before) for before, after in pairwise(times)]

        return run

    def _prepare(self, threads: int) -> Callable[[], object]:
        if self._path.suffix == ".onnx":
            return self._prepare_onnx(threads)
        if self._content[4:8] != b"TFL3":
            raise ModelFileError(f"not a TFLite model: {self._path}")
        try:
            interpreter = Interpreter(model_content=self._content, num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise self._failure(error) from error
        details = interpreter.get_input_details()
        inputs = [(detail["index"], self._random(detail)) for detail in details]
        output = interpreter.get_output_details()[0]["index"]
        self._input_shape = list(inputs[0][1].shape)
        self._input_dtype = inputs[0][1].dtype.name

        def run() -> object:
            for index, values in inputs:
                interpreter.set_tensor(index, values)
            interpreter.invoke()
            return interpreter.get_tensor(output)

        return run

    def _prepare_onnx(self, threads: int) -> Callable[[], object]:
        session = onnx_session(self._content, self._path, threads)
        first = session.get_inputs()[0]
        # The batch may be of any size: here it is one face.
        shape = [side if isinstance(side, int) else 1 for side in first.shape]
        values = np.random.default_rng(0).random(shape).astype(np.float32)
        self._input_shape, self._input_dtype = shape, values.dtype.name
        output = session.get_outputs()[0].name
        return lambda: session.run([output], {first.name: values})

    def _random(self, detail: Mapping[str, Any]) -> NDArray[Any]:
        signature = [int(side) for side in detail["shape_signature"]]
        if min(signature[1:], default=1) < 1:
            raise ModelFileError(
                f"input: expected fixed sizes but for the batch, received {signature}. Export the "
                f"model with a fixed size: {self._path}"
            )
        rng = np.random.default_rng(0)
        if np.issubdtype(detail["dtype"], np.integer):
            return rng.integers(0, 128, detail["shape"]).astype(detail["dtype"])
        return rng.random(detail["shape"]).astype(detail["dtype"])

    def _run(self, threads: int) -> object:
        try:
            return self._by_threads[threads]()
        except (ValueError, RuntimeError) as error:
            raise self._failure(error) from error

    def _warm_up(self, threads: int) -> None:
        for _ in range(WARM_UP_CALLS):
            self._run(threads)

    def _failure(self, error: Exception) -> ModelFileError:
        reason = " ".join(str(error).split())[:300]
        return ModelFileError(
            "the model cannot be run; it is damaged or uses operations that are not built into "
            f"LiteRT ({reason}): {self._path}"
        )


def is_bare(path: Path) -> bool:
    """Whether a path is a `.tflite` file without manifest, or an `.onnx` file: timed as it is."""
    if path.suffix == ".onnx":
        return path.is_file()
    return path.is_file() and path.suffix == ".tflite" and not (path.parent / MANIFEST).is_file()


def picture_bytes(path: Path | None) -> bytes:
    """A picture file's content, or that of the drawn scene as a JPEG file.

    Raises:
        DataError: The file cannot be read.
    """
    if path is not None:
        return read_image_bytes(path)
    drawn = np.ascontiguousarray(draw_scene()[..., ::-1])
    return bytes(cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def serve(spec: Mapping[str, Any], requests: TextIO, replies: TextIO) -> None:
    """Answer requests until there are no more.

    Args:
        spec: `model` and `precision` for `TimedModel`, `picture` (a path or None).
        requests: A JSON object a line: `{"ask": "invoke", "threads", "calls", "limit_s"}` (reply
            `{"ms": [...]}`), `{"ask": "stages", "detector", "threads", "calls", "limit_s"}` (reply
            `{"ms": {stage: [...]}}`) or `{"ask": "memory"}` (reply `{"peak_mib": ...}`).
        replies: First the model's facts, then a JSON object a line for each request;
            `{"error": ...}` where the model or the picture cannot be used.
    """
    try:
        model = TimedModel(Path(spec["model"]), spec["precision"])
        picture = picture_bytes(Path(spec["picture"]) if spec["picture"] else None)
        _reply(replies, model.facts)
        for line in requests:
            request = json.loads(line)
            ask = request.pop("ask")
            if ask == "invoke":
                _reply(replies, {"ms": model.invoke_ms(**request)})
            elif ask == "stages":
                _reply(replies, {"ms": model.stages_ms(picture, **request)})
            else:
                _reply(replies, {"peak_mib": peak_memory_mib()})
    except FerKerasError as error:
        _reply(replies, {"error": str(error)})


def _reply(replies: TextIO, content: Mapping[str, Any]) -> None:
    replies.write(json.dumps(content) + "\n")
    replies.flush()


def _read(path: Path, precision: str | None, is_export: bool) -> bytes:
    if is_export:
        return read_model_files(path, precision).content
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise ModelFileError(f"file too large: expected at most {MAX_MODEL_BYTES} bytes: {path}")
    return path.read_bytes()


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]), sys.stdin, sys.stdout)
