"""One model in its engine, checked once against its labels and its manifest."""

import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import ModelFileError
from fer_keras.runtime.engines import Tensor, open_engine
from fer_keras.runtime.export_files import ModelFiles

Pixels = NDArray[np.uint8]
InputKind = Literal["image", "pair"]

BATCH_SIZE = 32
_TITLES = {"litert": "LiteRT", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}
# An int8 softmax counts in steps of 1/256, so eight classes can miss the sum of 1 by 8 x 1/512.
_SUM_TOLERANCE = 0.05


class Network:
    """Pixels in, probabilities out. Safe to share between threads, which then take turns.

    Args:
        files: The verified model.
        threads: How many threads the engine uses, at least 1.
        device: What runs it, see `fer_keras.runtime.engines.open_engine`.

    Attributes:
        any_batch: Whether it runs many pictures at once, which is faster than one by one.
        input_kind: "image", or "pair" where an input is a reference and a face.
        image_size: `(height, width)` of one picture of the input in pixels.
        channels: 1 (grey) or 3 (RGB).
        has_affect: Whether it answers with valence and arousal too.

    Raises:
        ModelFileError: The model is damaged, uses operations that are not built in, does not fit
            its labels or its manifest, or gives something else than probabilities.
    """

    def __init__(self, files: ModelFiles, threads: int, device: str = "cpu") -> None:
        self._path = files.path
        self._card = files.card
        # An interpreter holds one input and one output at a time.
        self._lock = threading.Lock()
        if files.engine == "litert" and files.content[4:8] != b"TFL3":
            raise ModelFileError(f"not a TFLite model. Export it again: {files.path}")
        self._engine_name = files.engine
        try:
            self._engine = open_engine(
                files.engine, files.content, files.weights, files.path, threads, device
            )
        except (ValueError, RuntimeError) as error:
            raise self._failure(error) from error
        self.has_affect = len(files.outputs) > 1
        self._input, output = self._tensors()
        self._check_input(files)
        shape = self._input.shape
        self.any_batch = shape[0] == -1
        self.input_kind: InputKind = "pair" if len(shape) == 5 else "image"
        self.image_size, self.channels = (shape[-3], shape[-2]), shape[-1]
        if self._card is not None:
            self.image_size, self.channels = self._card.image_size, self._card.channels
        self._num_classes = len(files.class_names)
        self._check_output(output, files)

    def probabilities(self, inputs: Sequence[Pixels]) -> NDArray[np.float32]:
        """Run the model for the labels alone.

        Args:
            inputs: As for `read`.

        Returns:
            float32 `(n, classes)`.

        Raises:
            ModelFileError: The model fails.
        """
        return self.read(inputs)[:, : self._num_classes]

    def read(self, inputs: Sequence[Pixels]) -> NDArray[np.float32]:
        """Run the model.

        Args:
            inputs: uint8 arrays in 0..255, `(height, width, channels)` of the model's own size
                (of any size where a card says how they are scaled), or `(2, height, width,
                channels)` for pairs.

        Returns:
            float32 `(n, classes)`: probabilities; `(n, classes + 2)` where the model `has_affect`:
            then valence and arousal, -1..1 where the training was.

        Raises:
            ModelFileError: The model fails.
        """
        rows = [np.empty((0, self._num_classes + 2 * self.has_affect), np.float32)]
        batch_size = BATCH_SIZE if self.any_batch else 1
        for start in range(0, len(inputs), batch_size):
            rows.append(self._run(self._batch(inputs[start : start + batch_size])))
        return np.concatenate(rows)

    def _batch(self, inputs: Sequence[Pixels]) -> NDArray[Any]:
        if self._card is None:
            return np.stack(inputs)
        return np.concatenate([self._card.prepare(pixels[np.newaxis]) for pixels in inputs])

    def _run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        pixels = self._quantised(batch)
        try:
            with self._lock:
                result, *affect = self._engine.run(pixels)
        except (ValueError, RuntimeError) as error:
            raise self._failure(error) from error
        if result.shape != (len(batch), self._num_classes):
            raise ModelFileError(
                f"output: expected shape {(len(batch), self._num_classes)}, received "
                f"{result.shape}. Export it again: {self._path}"
            )
        scores = np.asarray(result, np.float32)
        if self._card is not None:
            return self._card.probabilities(scores)
        return np.hstack([scores, *affect]) if affect else scores

    def _failure(self, error: Exception) -> ModelFileError:
        reason = " ".join(str(error).split())[:300]
        return ModelFileError(
            "the model cannot be run; it is damaged or uses operations that are not built into "
            f"{_TITLES[self._engine_name]} ({reason}). Export it again: {self._path}"
        )

    def _quantised(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Pixels 0..255 as the type, and on the scale, that the model's input has."""
        dtype = self._input.dtype
        scale, zero_point = self._input.quantization
        # (0, 0) means not quantised; (1, 0) means that a step is a grey level.
        if dtype is np.float32 or (dtype is np.uint8 and (scale, zero_point) in ((0, 0), (1, 0))):
            return batch.astype(dtype)
        steps = np.rint(batch / (scale or 1.0) + zero_point)
        limits = np.iinfo(dtype)
        return np.clip(steps, limits.min, limits.max).astype(dtype)

    def _tensors(self) -> tuple[Tensor, Tensor]:
        """The input, and the output with the probabilities."""
        inputs, outputs = self._engine.inputs, self._engine.outputs
        if len(inputs) != 1 or len(outputs) != 1 + self.has_affect:
            expected = "two outputs" if self.has_affect else "one output"
            raise ModelFileError(
                f"expected one input and {expected}, received {len(inputs)} and {len(outputs)}: "
                f"{self._path}"
            )
        if self.has_affect and outputs[1].shape[1:] != (2,):
            raise ModelFileError(
                f"valence_arousal: expected output shape ['n', 2], received "
                f"{list(outputs[1].shape)}. Export it again: {self._path}"
            )
        return inputs[0], outputs[0]

    def _check_input(self, files: ModelFiles) -> None:
        dtype = self._input.dtype
        shape = list(self._input.shape)
        if files.card is not None:
            wanted = list(files.card.input_shape)
            if shape[0] not in (-1, 1) or shape[1:] != wanted or dtype != np.float32:
                raise ModelFileError(
                    f"input: the card says float32 {['n', *wanted]}, received "
                    f"{dtype.__name__} {shape}. Correct image_size, colour or layout in "
                    f"the card: {files.path}"
                )
            return
        # Only a manifest says what the input is; a bare file shows it by its shape.
        kind = files.input_kind or ("pair" if len(shape) == 5 else "image")
        middle = ["2"] if kind == "pair" else []
        expected = [
            "n", *middle, *(files.image_size or ("height", "width")), files.channels or "1 or 3",
        ]  # fmt: skip
        fits = (
            len(shape) == len(expected)
            and shape[0] in (-1, 1)
            and shape[1:-3] == ([2] if kind == "pair" else [])
            and min(shape[1:]) >= 1
            and shape[-1] in (1, 3)
            and files.image_size in (None, (shape[-3], shape[-2]))
            and files.channels in (None, shape[-1])
        )
        if not fits or dtype not in (np.float32, np.uint8, np.int8):
            raise ModelFileError(
                f"input: expected {expected} raw pixels as float32, uint8 or int8, received "
                f"{shape} {dtype.__name__}. Export it again: {files.path}"
            )

    def _check_output(self, output: Tensor, files: ModelFiles) -> None:
        num_outputs = output.shape[-1] if len(output.shape) == 2 else None
        if num_outputs != self._num_classes:
            raise ModelFileError(
                f"the model's outputs do not fit its labels: {self._num_classes} labels "
                f"{list(files.class_names)}, output shape {list(output.shape)}. Give it its "
                f"own labels: {files.path}"
            )
        if output.dtype is not np.float32:
            raise ModelFileError(
                f"output: expected float32 probabilities, received {output.dtype.__name__}. "
                f"Export it again: {files.path}"
            )
        # One grey input tells probabilities from logits before a user's pictures are read.
        shape = (*self.image_size, self.channels)
        grey = np.full((2, *shape) if self.input_kind == "pair" else shape, 128, np.uint8)
        row = self.probabilities([grey])[0]
        if not np.isfinite(row).all() or row.min() < 0 or abs(row.sum() - 1) > _SUM_TOLERANCE:
            mend = "Export the model with its softmax"
            if files.card is not None:
                mend = "If these are logits, say output: logits in its card"
            raise ModelFileError(
                f"output: expected probabilities (from 0, sum 1), received {row.tolist()}. {mend}: "
                f"{files.path}"
            )
