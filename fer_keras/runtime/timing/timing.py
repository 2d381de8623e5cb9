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
from fer_keras.runtime.engines import EngineName, open_engine
from fer_keras.runtime.export_files import MANIFEST, MAX_MODEL_BYTES, read_model_files
from fer_keras.runtime.recognizer import Precision, Recognizer
from fer_keras.runtime.timing.machine import peak_memory_mib
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
        engine: What runs it, of `fer_keras.runtime.engines.ENGINES`.

    Attributes:
        facts: `bytes`, `input_shape`, `input_dtype`, `load_ms` (reading, verifying and preparing
            for one thread), `first_ms` (the first run), `peak_mib` (memory of the process after
            a few runs, None where the system does not tell) and `is_export`.

    Raises:
        ModelFileError: The file is missing, damaged or not what its manifest says, or has an input
            of no fixed size.
    """

    def __init__(
        self, path: Path, precision: Precision | None = None, engine: EngineName = "litert"
    ) -> None:
        self._path, self._precision, self._engine = path, precision, engine
        self.is_export = not is_bare(path)
        start = time.perf_counter()
        self._content, self._weights = _read(path, precision, engine, self.is_export)
        self._by_threads: dict[int, Callable[[int], object]] = {1: self._prepare(1)}
        loaded = time.perf_counter()
        self._run(1)
        first = time.perf_counter()
        self._warm_up(1)
        self._pipelines: dict[tuple[str, int], Callable[[bytes], list[float]]] = {}
        self.facts = {
            "bytes": len(self._content) + len(self._weights),
            "input_shape": self._input_shape,
            "input_dtype": self._input_dtype,
            "load_ms": 1000 * (loaded - start),
            "first_ms": 1000 * (first - loaded),
            "peak_mib": peak_memory_mib(),
            "is_export": self.is_export,
        }

    def invoke_ms(self, threads: int, calls: int, limit_s: float, batch: int = 1) -> list[float]:
        """Time runs: setting the input, running, getting the output.

        Args:
            threads: Of the engine.
            calls: How many runs.
            limit_s: No further run starts after so many seconds, once there are three.
            batch: Faces of a run; a model that takes one at a time runs so often.

        Returns:
            Milliseconds a face of each run.
        """
        if threads not in self._by_threads:
            self._by_threads[threads] = self._prepare(threads)
            self._warm_up(threads)
        start = last = time.perf_counter()
        taken: list[float] = []
        while len(taken) < calls and (len(taken) < _MIN_CALLS or last - start < limit_s):
            self._run(threads, batch)
            now = time.perf_counter()
            taken.append(1000 * (now - last) / batch)
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
        recognizer = Recognizer(self._path, detector, threads, self._precision, engine=self._engine)

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

    def _prepare(self, threads: int) -> Callable[[int], object]:
        if self._path.suffix == ".onnx" or self._engine != "litert":
            return self._prepare_engine(threads)
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

        def run(batch: int) -> object:
            for _ in range(batch):
                for index, values in inputs:
                    interpreter.set_tensor(index, values)
                interpreter.invoke()
                answer = interpreter.get_tensor(output)
            return answer

        return run

    def _prepare_engine(self, threads: int) -> Callable[[int], object]:
        name: EngineName = "onnx" if self._path.suffix == ".onnx" else self._engine
        try:
            model = open_engine(name, self._content, self._weights, self._path, threads)
        except (ValueError, RuntimeError) as error:
            raise self._failure(error) from error
        shape = model.inputs[0].shape
        any_batch = shape[0] == -1
        # Of another project's file any side may be open: it is one pixel here.
        one = [1, *(max(side, 1) for side in shape[1:])]
        values = np.random.default_rng(0).random(one).astype(model.inputs[0].dtype)
        self._input_shape, self._input_dtype = one, values.dtype.name
        # Made beforehand: making them is no part of a run.
        batches: dict[int, NDArray[Any]] = {1: values}

        def run(batch: int) -> object:
            if not any_batch:
                return [model.run(values) for _ in range(batch)]
            if batch not in batches:
                batches[batch] = np.repeat(values, batch, axis=0)
                model.run(batches[batch])
            return model.run(batches[batch])

        return run

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

    def _run(self, threads: int, batch: int = 1) -> object:
        try:
            return self._by_threads[threads](batch)
        except (ValueError, RuntimeError) as error:
            raise self._failure(error) from error

    def _warm_up(self, threads: int) -> None:
        for _ in range(WARM_UP_CALLS):
            self._run(threads)

    def _failure(self, error: Exception) -> ModelFileError:
        reason = " ".join(str(error).split())[:300]
        return ModelFileError(
            "the model cannot be run; it is damaged or uses operations that are not built into "
            f"the engine {self._engine} ({reason}): {self._path}"
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
        spec: `model`, `precision` and `engine` for `TimedModel`, `picture` (a path or None).
        requests: A JSON object a line: `{"ask": "invoke", "threads", "calls", "limit_s"}`, with
            `batch` if it is not 1 (reply `{"ms": [...]}`), `{"ask": "stages", "detector",
            "threads", "calls", "limit_s"}` (reply `{"ms": {stage: [...]}}`) or
            `{"ask": "memory"}` (reply `{"peak_mib": ...}`).
        replies: First the model's facts, then a JSON object a line for each request;
            `{"error": ...}` where the model or the picture cannot be used.
    """
    try:
        model = TimedModel(Path(spec["model"]), spec["precision"], spec["engine"])
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


def _read(
    path: Path, precision: str | None, engine: EngineName, is_export: bool
) -> tuple[bytes, bytes]:
    if is_export:
        files = read_model_files(path, precision, engine)
        return files.content, files.weights
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise ModelFileError(f"file too large: expected at most {MAX_MODEL_BYTES} bytes: {path}")
    return path.read_bytes(), b""


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]), sys.stdin, sys.stdout)
