"""Facial expressions from pictures with an exported model: NumPy, OpenCV and LiteRT only."""

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from fer_keras.decode import decode_image, read_image, resize
from fer_keras.errors import ConfigError, DataError, ModelFileError
from fer_keras.faces.align import crop_face
from fer_keras.faces.detect import Detector, Face, build_detector
from fer_keras.opencv import cv2
from fer_keras.runtime.calibration import read_decision
from fer_keras.runtime.model_files import ModelFiles, read_model_files

Pixels = NDArray[np.uint8]
Picture = str | PathLike[str] | bytes | Pixels
Precision = Literal["float32", "float16", "dynamic", "int8"]

_BATCH_SIZE = 32
# An int8 softmax counts in steps of 1/256, so eight classes can miss the sum of 1 by 8 x 1/512.
_SUM_TOLERANCE = 0.05


class FaceResult(TypedDict):
    """What was read from one face; plain Python values, ready for JSON.

    Keys:
        box: Left, top, width, height in pixels of the picture.
        landmarks: Five (x, y) in pixels: eyes, nose tip, mouth corners, left ones first; or None.
        emotions: Label -> probability; they sum to 1.
        dominant: The label with the highest probability.
        score: The detector's confidence in the face (see `fer_keras.faces.Face`).
        unsure: Whether the highest probability is below the model's rejection threshold; False
            where the model has none.
        label_set: The labels that cannot be ruled out at the coverage that the model states, the
            most probable first; the dominant one alone where the model has no threshold.
        track: Number of the person in a stream; None for single pictures.
    """

    box: tuple[float, float, float, float]
    landmarks: list[tuple[float, float]] | None
    emotions: dict[str, float]
    dominant: str
    score: float
    unsure: bool
    label_set: list[str]
    track: int | None


class Recognizer:
    """A face detector and an exported model, in the manner of scikit-learn.

    `predict` and `predict_proba` take ready face crops; `recognize` takes a whole picture and finds
    the faces in it. Arrays are RGB or grey, never OpenCV's BGR. One object serves one thread.

    Args:
        model: An export folder (with `manifest.json`) or a `.tflite` file inside one; or a
            `.tflite` file with `labels.txt` beside it.
        detector: "mtcnn", "haar", "yunet", "blazeface", "none" (every picture is one face), or a
            detector of your own.
        threads: How many threads LiteRT uses, at least 1.
        precision: Which of the folder's files: "float32", "float16", "dynamic", "int8"; None takes
            float32, or the first there is.

    Attributes:
        classes_: The labels, in the order of the columns of `predict_proba`.
        image_size: `(height, width)` of the model's input in pixels.
        channels: 1 (grey) or 3 (RGB).
        manifest: The model's `manifest.json`; empty for a bare file.
        decision: The thresholds behind `unsure` and `label_set`.

    Raises:
        ModelFileError: The model is missing, damaged, not what the manifest says, uses operations
            that are not built in, or does not fit its labels.
        ConfigError: The detector is unknown or cannot be used, or `threads` is under 1.
    """

    def __init__(
        self,
        model: str | PathLike[str],
        detector: str | Detector = "mtcnn",
        threads: int = 1,
        precision: Precision | None = None,
    ) -> None:
        if threads < 1:
            raise ConfigError(f"threads: expected at least 1, received {threads}")
        files = read_model_files(model, precision)
        self._network = _Network(files, threads)
        self._detector = build_detector(detector) if isinstance(detector, str) else detector
        self.classes_: NDArray[np.str_] = np.array(files.class_names)
        self.image_size = self._network.image_size
        self.channels = self._network.channels
        self.manifest = files.manifest
        self.decision = read_decision(files.manifest, files.path)

    def predict_proba(self, images: Pixels | Sequence[Picture]) -> NDArray[np.float32]:
        """Probabilities of ready face crops.

        Args:
            images: uint8 array `(n, height, width)` or `(n, height, width, 1 or 3)` in 0..255 of
                any size, or a sequence of paths, file contents (bytes) or arrays without the n.

        Returns:
            float32 `(n, classes)`; rows sum to 1; columns as in `classes_`.

        Raises:
            DataError: A picture cannot be read, or an array is not of that kind.
        """
        crops = [self._input(pixels) for pixels in _each_picture(images)]
        return self._network.probabilities(crops)

    def predict(self, images: Pixels | Sequence[Picture]) -> NDArray[np.str_]:
        """The most probable label of each ready face crop; arguments as `predict_proba`.

        Returns:
            Array of str `(n,)`.
        """
        return self.classes_[self.predict_proba(images).argmax(axis=1)]

    def recognize(self, picture: Picture) -> list[FaceResult]:
        """Find the faces of one picture and read their expressions.

        Args:
            picture: A path, a file's content (bytes), or a uint8 array `(height, width)` or
                `(height, width, 1 or 3)`, grey or RGB, in 0..255.

        Returns:
            One dict per face, the largest first; empty where no face is found.

        Raises:
            DataError: The picture cannot be read, or the array is not of that kind.
        """
        pixels = _pixels(picture)
        faces = self.detect(pixels)
        rows = self.read_faces(pixels, faces)
        return [self.result(face, row) for face, row in zip(faces, rows, strict=True)]

    def detect(self, picture: Picture) -> list[Face]:
        """Find the faces of one picture: the first step of `recognize`.

        Args:
            picture: As for `recognize`.

        Returns:
            The faces, the largest first.

        Raises:
            DataError: The picture cannot be read, or the array is not of that kind.
        """
        return self._detector.detect(_with_channels(_pixels(picture), 3))

    def read_faces(self, picture: Picture, faces: Sequence[Face]) -> NDArray[np.float32]:
        """Read the expressions of faces that are known: the second step of `recognize`.

        Args:
            picture: As for `recognize`.
            faces: Of this picture; from `detect`, or moved along by a tracker.

        Returns:
            Probabilities, float32 `(n, classes)`; rows sum to 1, columns as in `classes_`.

        Raises:
            DataError: The picture cannot be read, or the array is not of that kind.
        """
        pixels = _with_channels(_pixels(picture), 3)
        crops = [
            self._input(crop_face(pixels, face.box, margin=self._detector.margin)) for face in faces
        ]
        return self._network.probabilities(crops)

    def result(
        self, face: Face, probabilities: NDArray[np.floating], track: int | None = None
    ) -> FaceResult:
        """What is said about a face: the last step of `recognize`.

        Args:
            face: Where it is.
            probabilities: `(classes,)`, for instance smoothed over time; columns as in `classes_`.
            track: Number of the person in a stream.

        Returns:
            Plain Python values, ready for JSON.
        """
        names = [str(name) for name in self.classes_]
        label_set = self.decision.label_set(probabilities)
        points = face.landmarks
        return {
            "box": face.box,
            "landmarks": None if points is None else [(float(x), float(y)) for x, y in points],
            "emotions": {name: float(p) for name, p in zip(names, probabilities, strict=True)},
            "dominant": names[label_set[0]],
            "score": face.score,
            "unsure": self.decision.unsure(probabilities),
            "label_set": [names[i] for i in label_set],
            "track": track,
        }

    def _input(self, pixels: Pixels) -> Pixels:
        return resize(_with_channels(pixels, self.channels), self.image_size)


class _Network:
    """The LiteRT interpreter, checked once against its labels and its manifest."""

    def __init__(self, files: ModelFiles, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._path = files.path
        self._batch_size = 1
        if files.content[4:8] != b"TFL3":
            raise ModelFileError(f"not a TFLite model. Export it again: {files.path}")
        try:
            # The default resolver knows the built-in operations alone; others end in an error, here
            # or in the first run.
            self._interpreter: Any = Interpreter(model_content=files.content, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise self._failure(error) from error
        self._input, output = self._only_tensors()
        self.image_size, self.channels = self._check_input(files)
        self._output_index = output["index"]
        self._num_classes = len(files.class_names)
        num_outputs = int(output["shape"][-1]) if len(output["shape"]) == 2 else None
        if num_outputs != self._num_classes:
            raise ModelFileError(
                f"the model's outputs do not fit its labels: {self._num_classes} labels "
                f"{list(files.class_names)}, output shape {output['shape'].tolist()}. Give it its "
                f"own labels: {files.path}"
            )
        if output["dtype"] is not np.float32:
            raise ModelFileError(
                f"output: expected float32 probabilities, received {output['dtype'].__name__}. "
                f"Export it again: {files.path}"
            )
        # One grey picture tells probabilities from logits before a user's pictures are read.
        grey = np.full((*self.image_size, self.channels), 128, np.uint8)
        row = self.probabilities([grey])[0]
        if not np.isfinite(row).all() or row.min() < 0 or abs(row.sum() - 1) > _SUM_TOLERANCE:
            raise ModelFileError(
                f"output: expected probabilities (from 0, sum 1), received {row.tolist()}. Export "
                f"the model with its softmax: {files.path}"
            )

    def probabilities(self, crops: Sequence[Pixels]) -> NDArray[np.float32]:
        """uint8 crops of the model's own size and channels -> float32 `(n, classes)`."""
        rows = [np.empty((0, self._num_classes), np.float32)]
        batch_size = _BATCH_SIZE if self._any_batch else 1
        for start in range(0, len(crops), batch_size):
            rows.append(self._run(np.stack(crops[start : start + batch_size])))
        return np.concatenate(rows)

    def _run(self, batch: Pixels) -> NDArray[np.float32]:
        index = self._input["index"]
        try:
            if self._any_batch and self._batch_size != len(batch):
                self._interpreter.resize_tensor_input(index, batch.shape)
                self._interpreter.allocate_tensors()
                self._batch_size = len(batch)
            self._interpreter.set_tensor(index, self._quantised(batch))
            self._interpreter.invoke()
            result = self._interpreter.get_tensor(self._output_index)
        except (ValueError, RuntimeError) as error:
            raise self._failure(error) from error
        if result.shape != (len(batch), self._num_classes):
            raise ModelFileError(
                f"output: expected shape {(len(batch), self._num_classes)}, received "
                f"{result.shape}. Export it again: {self._path}"
            )
        return np.asarray(result, np.float32)

    def _failure(self, error: Exception) -> ModelFileError:
        reason = " ".join(str(error).split())[:300]
        return ModelFileError(
            "the model cannot be run; it is damaged or uses operations that are not built into "
            f"LiteRT ({reason}). Export it again: {self._path}"
        )

    def _quantised(self, batch: Pixels) -> NDArray[Any]:
        """Pixels 0..255 as the type, and on the scale, that the model's input has."""
        dtype = self._input["dtype"]
        scale, zero_point = self._input["quantization"]
        # (0, 0) means not quantised; (1, 0) means that a step is a grey level.
        if dtype is np.float32 or (dtype is np.uint8 and (scale, zero_point) in ((0, 0), (1, 0))):
            return batch.astype(dtype)
        steps = np.rint(batch / (scale or 1.0) + zero_point)
        limits = np.iinfo(dtype)
        return np.clip(steps, limits.min, limits.max).astype(dtype)

    def _only_tensors(self) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelFileError(
                f"expected one input and one output, received {len(inputs)} and {len(outputs)}: "
                f"{self._path}"
            )
        return inputs[0], outputs[0]

    def _check_input(self, files: ModelFiles) -> tuple[tuple[int, int], int]:
        details = self._input
        shape = [int(side) for side in details["shape_signature"]]
        expected = ["n", *(files.image_size or ("height", "width")), files.channels or "1 or 3"]
        fits = (
            len(shape) == 4
            and shape[0] in (-1, 1)
            and min(shape[1:]) >= 1
            and shape[3] in (1, 3)
            and files.image_size in (None, (shape[1], shape[2]))
            and files.channels in (None, shape[3])
        )
        if not fits or details["dtype"] not in (np.float32, np.uint8, np.int8):
            raise ModelFileError(
                f"input: expected {expected} raw pixels as float32, uint8 or int8, received "
                f"{shape} {details['dtype'].__name__}. Export it again: {files.path}"
            )
        self._any_batch = shape[0] == -1
        return (shape[1], shape[2]), shape[3]


def _each_picture(images: Pixels | Sequence[Picture]) -> Iterator[Pixels]:
    if isinstance(images, str | bytes | PathLike):
        raise DataError("images: expected a sequence of pictures, received one. Put it into a list")
    if isinstance(images, np.ndarray) and (
        images.ndim not in (3, 4) or (images.ndim == 3 and images.shape[2] in (1, 3))
    ):
        raise DataError(
            "images: expected an array (n, height, width) or (n, height, width, 1 or 3), received "
            f"{images.shape}. For one picture: images[np.newaxis]"
        )
    for picture in images:
        yield _pixels(cast(Picture, picture))


def _pixels(picture: Picture) -> Pixels:
    """A path, file content or array as a uint8 array `(height, width, channels)`."""
    if isinstance(picture, bytes):
        return decode_image(picture, channels=3, source="picture given as bytes")
    if isinstance(picture, str | PathLike):
        return read_image(Path(picture))
    usable = isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.size
    if usable and picture.ndim == 2:
        return picture[:, :, np.newaxis]
    if not usable or picture.ndim != 3 or picture.shape[2] not in (1, 3):
        received = (
            f"{picture.dtype} {picture.shape}"
            if isinstance(picture, np.ndarray)
            else type(picture).__name__
        )
        raise DataError(
            "picture: expected a path, bytes or a uint8 array (height, width[, 1 or 3]) in 0..255, "
            f"received {received}"
        )
    return picture


def _with_channels(pixels: Pixels, channels: int) -> Pixels:
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    # The same weights as `decode_image` uses.
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, np.newaxis]
