"""Models that read clips: an encoder for every new frame, a head over the last frames of a face.

A frame is encoded once, when it comes; what the encoder made of it stays in a ring buffer as long
as it is one of the last frames of its track. The head reads the buffer. While it is not full, the
rest counts as padding, as it did in training.
"""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.runtime.export_files import ModelFiles

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SUM_TOLERANCE = 0.05


class ClipNetwork:
    """Both interpreters of a clip model, checked against the labels and the manifest.

    Safe to share between threads, which then take turns.

    Args:
        files: The verified model, with its `head`.
        threads: How many threads LiteRT uses, at least 1.

    Attributes:
        input_kind: "clip".
        num_frames: Frames of a clip.
        image_size: `(height, width)` of a frame in pixels.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        ModelFileError: A file is damaged, uses operations that are not built in, does not fit the
            other one or the manifest, or gives something else than probabilities.
    """

    def __init__(self, files: ModelFiles, threads: int) -> None:
        self._path = files.path
        self.input_kind: Literal["clip"] = "clip"
        self.num_frames = files.clip_frames
        # An interpreter holds one input and one output at a time.
        self._lock = threading.Lock()
        self._encoder = self._interpreter(files.content, threads)
        self._head = self._interpreter(files.head, threads)
        frame, features = self._encoder_tensors(files)
        _, height, width, self.channels = (int(side) for side in frame["shape"])
        self.image_size = (height, width)
        self._frame, self._features = frame["index"], features["index"]
        self._feature_shape = tuple(int(side) for side in features["shape"])[1:]
        self._clip, self._mask, self._clip_scores, self._frame_scores = self._head_tensors(files)
        self._check_output()

    def encode(self, crop: Pixels) -> Floats:
        """What the encoder makes of one frame.

        Args:
            crop: uint8 `(*image_size, channels)`, raw pixels 0..255.

        Returns:
            float32 features, of one shape for all frames.

        Raises:
            ModelFileError: The model fails.
        """
        try:
            with self._lock:
                self._encoder.set_tensor(self._frame, crop[np.newaxis].astype(np.float32))
                self._encoder.invoke()
                return np.array(self._encoder.get_tensor(self._features)[0], np.float32)
        except (ValueError, RuntimeError) as error:
            raise self._failure(error) from error

    def read(self, features: Sequence[Floats]) -> tuple[Floats, Floats]:
        """What the head reads from the frames of one face.

        Args:
            features: Of `encode`, 1 to `num_frames` of them, the oldest first.

        Returns:
            Probabilities of the clip `(classes,)` and of each of its frames `(n, classes)`.

        Raises:
            ModelFileError: The model fails.
        """
        n = len(features)
        clip = np.zeros((1, self.num_frames, *self._feature_shape), np.float32)
        clip[0, :n] = np.stack(features)
        mask = (np.arange(self.num_frames) < n).astype(np.float32)[np.newaxis]
        try:
            with self._lock:
                self._head.set_tensor(self._clip, clip)
                self._head.set_tensor(self._mask, mask)
                self._head.invoke()
                scores = np.array(self._head.get_tensor(self._clip_scores)[0], np.float32)
                by_frame = np.array(self._head.get_tensor(self._frame_scores)[0, :n], np.float32)
        except (ValueError, RuntimeError) as error:
            raise self._failure(error) from error
        return scores, by_frame

    def _interpreter(self, content: bytes, threads: int) -> Any:
        if content[4:8] != b"TFL3":
            raise ModelFileError(f"not a TFLite model. Export it again: {self._path}")
        try:
            # The default resolver knows the built-in operations alone.
            interpreter = Interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise self._failure(error) from error
        return interpreter

    def _encoder_tensors(self, files: ModelFiles) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs, outputs = self._encoder.get_input_details(), self._encoder.get_output_details()
        expected = (1, *(files.image_size or ()), files.channels)
        shapes = [tuple(tensor["shape"].tolist()) for tensor in (*inputs, *outputs)]
        are_floats = all(tensor["dtype"] is np.float32 for tensor in (*inputs, *outputs))
        if len(inputs) != 1 or len(outputs) != 1 or shapes[0] != expected or not are_floats:
            raise ModelFileError(
                f"encoder: expected one float32 input {expected} and one float32 output, received "
                f"tensors of the shapes {shapes}. Export it again: {self._path}"
            )
        return inputs[0], outputs[0]

    def _head_tensors(self, files: ModelFiles) -> tuple[int, int, int, int]:
        """The places of features, mask, scores of the clip and scores of the frames."""
        classes, frames = len(files.class_names), self.num_frames
        expected = (
            {(1, frames, *self._feature_shape), (1, frames)},
            {(1, classes), (1, frames, classes)},
        )
        # A converter keeps no order of inputs and outputs: the shapes tell them apart.
        inputs, outputs = (
            {tuple(tensor["shape"].tolist()): int(tensor["index"]) for tensor in details}
            for details in (self._head.get_input_details(), self._head.get_output_details())
        )
        if (set(inputs), set(outputs)) != expected:
            raise ModelFileError(
                f"head: expected inputs {sorted(expected[0])} and outputs {sorted(expected[1])}, "
                "as the encoder and the labels have them, received "
                f"{sorted(inputs)} and {sorted(outputs)}. Export it again: {self._path}"
            )
        return (
            inputs[1, frames, *self._feature_shape],
            inputs[1, frames],
            outputs[1, classes],
            outputs[1, frames, classes],
        )

    def _check_output(self) -> None:
        # One grey frame tells probabilities from logits before a user's pictures are read.
        grey = np.full((*self.image_size, self.channels), 128, np.uint8)
        clip, frames = self.read([self.encode(grey)])
        for row in (clip, frames[0]):
            if not np.isfinite(row).all() or row.min() < 0 or abs(row.sum() - 1) > _SUM_TOLERANCE:
                raise ModelFileError(
                    f"output: expected probabilities (from 0, sum 1), received {row.tolist()}. "
                    f"Export it again: {self._path}"
                )

    def _failure(self, error: Exception) -> ModelFileError:
        reason = " ".join(str(error).split())[:300]
        return ModelFileError(
            "the model cannot be run; it is damaged or uses operations that are not built into "
            f"LiteRT ({reason}). Export it again: {self._path}"
        )


def single_pictures_refused(num_frames: int) -> ConfigError:
    """The error for a clip model that is given single pictures."""
    return ConfigError(
        f"the model reads clips of {num_frames} frames of one face, not single pictures. Give it a "
        "video or a camera, or call Recognizer.predict_clip(frames)"
    )


class ClipBuffers:
    """The last frames of every face, as the encoder sees them, each in a ring of its own.

    Args:
        network: Encodes and reads.

    Attributes:
        num_frames: Frames of a full ring.
    """

    def __init__(self, network: ClipNetwork) -> None:
        self._network = network
        self.num_frames = network.num_frames
        self._rings: dict[int, deque[Floats]] = {}

    def add(self, track: int, crop: Pixels) -> tuple[Floats, Floats]:
        """Take the next frame of a face and read its clip.

        Args:
            track: Number of the face.
            crop: uint8 `(*image_size, channels)`.

        Returns:
            Probabilities of the clip that ends here and of this frame, each `(classes,)`.
        """
        ring = self._rings.setdefault(track, deque(maxlen=self.num_frames))
        ring.append(self._network.encode(crop))
        clip, frames = self._network.read(list(ring))
        return clip, frames[-1]

    def drop(self, tracks: Sequence[int]) -> None:
        """Forget faces that are gone."""
        for track in tracks:
            self._rings.pop(track, None)

    def clear(self) -> None:
        """Forget all faces, before another stream."""
        self._rings.clear()
