"""Facial expressions from pictures with an exported model: NumPy, OpenCV and an engine only."""

import hashlib
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypedDict, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.arguments import LEAST_MIN_FACE
from fer_keras.common.decode import resize
from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.prior import (
    parse_prior,
    prior_weights,
    read_class_prior,
    read_default_prior,
    reweighted,
)
from fer_keras.runtime.clips import ClipBuffers, ClipNetwork, single_pictures_refused
from fer_keras.runtime.decision import Decision, read_decision
from fer_keras.runtime.engines import EngineName, require_engine
from fer_keras.runtime.estimator import PretrainedClassifier
from fer_keras.runtime.export_files import read_model_files
from fer_keras.runtime.faces.align import Box, crop_upright
from fer_keras.runtime.faces.detect import BUILT_IN, BuiltInDetector, Detector, build_detector
from fer_keras.runtime.faces.face import Face
from fer_keras.runtime.faces.look import Look, is_turned_away, look_at
from fer_keras.runtime.network import BATCH_SIZE, Network
from fer_keras.runtime.pictures import (
    Picture,
    Pixels,
    as_pixels,
    each_picture,
    read_picture_rule,
    with_channels,
)
from fer_keras.runtime.shipped import default_model
from fer_keras.runtime.table import face_table

P = TypeVar("P", bound=Picture)
Precision = Literal["float32", "float16", "dynamic", "int8"]


class FaceResult(TypedDict):
    """What was read from one face; plain Python values, ready for JSON.

    Keys:
        box: Left, top, width, height in pixels of the picture.
        landmarks: Five (x, y) in pixels: eyes, nose tip, mouth corners, left ones first; or None.
        emotions: Label -> probability; they sum to 1.
        dominant: The label with the highest probability.
        score: The detector's confidence in the face (see `fer_keras.runtime.faces.Face`).
        unsure: Whether the highest probability is below the model's rejection threshold (never
            where the model has none, or with shares or labels of your own), or the head is turned
            farther than the faces that the models were measured on
            (`fer_keras.runtime.faces.look.is_turned_away`).
        label_set: The labels that cannot be ruled out at the coverage that the model states, the
            most probable first; the dominant one alone where the model has no threshold, or with
            shares or labels of your own.
        track: Number of the person in a stream; None for single pictures.
        pose: Where the head looks: yaw, pitch and roll in degrees, as
            `fer_keras.runtime.faces.look.HeadPose`; None from detectors without landmarks.
        quality: How well the face can be read, 0 to 1: see `fer_keras.runtime.faces.look.quality`;
            None where nobody asked for it.
        valence: How pleasant the expression is, -1 to 1; None from models without it.
        arousal: How excited it is, -1 to 1; None from models without it.
    """

    box: tuple[float, float, float, float]
    landmarks: list[tuple[float, float]] | None
    emotions: dict[str, float]
    dominant: str
    score: float
    unsure: bool
    label_set: list[str]
    track: int | None
    pose: dict[str, float] | None
    quality: float | None
    valence: float | None
    arousal: float | None


class Recognizer(PretrainedClassifier):
    """A face detector and an exported model, in the manner of scikit-learn.

    `predict` and `predict_proba` take ready face crops; `recognize` takes a whole picture and finds
    the faces in it. Arrays are RGB or grey, never OpenCV's BGR.

    Threads may share one object: those that need the model or the detector at the same moment take
    turns. What it remembers of people (neutral faces, frames of clips) is shared with it, by track.

    A pair model compares a face with a neutral face of the same person: call `set_neutral` first.
    A clip model reads a face over several frames: `predict_clip`, or a stream; single pictures are
    refused.

    Args:
        model: An export folder (with `manifest.json`) or a `.tflite` file inside one; the name of a
            shipped model (`fer_keras.list_models()`); another project's `NAME.tflite` with a
            card, `NAME.card.json`, beside it; or `hf://OWNER/NAME`, which huggingface_hub fetches.
            None takes `ferplus`, which is shipped.
        detector: "mtcnn", "haar", "yunet", "blazeface", "none" (every picture is one face), or a
            detector of your own.
        threads: How many threads the engine uses, at least 1.
        precision: Which of the folder's files: "float32", "float16", "dynamic", "int8"; None takes
            the one that the manifest names as default, otherwise float32, or the first there is.
        prior: How frequent each label is where you look, see `fer_keras.common.prior`: "training"
            leaves the answers as they are; "balanced:0.5", "uniform" and shares of your own, such
            as `{"happiness": 0.3, "neutral": 0.6}`, need the model's `class_prior`. None takes the
            manifest's `default_prior`, "training" where it has none.
        labels: Keep only these, two or more; the others have the probability 0. None keeps all.
        min_face: Side of the smallest face to find, in pixels of the picture; smaller ones are left
            out. None looks for all from 48 pixels on in single pictures (what the models read),
            and in frames of streams, for speed, from a sixteenth of the longer side on; blazeface
            looks at whole pictures only. A detector of your own has a size of its own.
        min_quality: Faces of a lower `quality` are left out, 0..1.
        engine: What runs the model: "litert", or "onnx" (ONNX Runtime) or "openvino" where they are
            installed and the export has a file for them (`export --formats`). Their file is in
            float32, and runs many faces at once.
        device: "cpu", or an accelerator by the engine's own name, such as "cuda" with ONNX Runtime.
        min_score: Faces of which the detector is less sure are left out: 0..1, with haar from 0 on.

    A face that lies or stands on its head is turned upright before it is read, by the landmarks of
    mtcnn or yunet. In a single picture where nobody stands upright, both look for such faces.

    The thresholds of a model are fitted to its probabilities for its default prior, and for every
    `balanced:TAU` in steps of 0.05. For shares of your own, or for some of the labels, nobody knows
    what they would keep or cover: then they are not used, `unsure` is False and `label_set` is the
    dominant label alone, as for a model without thresholds.

    Attributes:
        classes_: The labels, in the order of the columns of `predict_proba`.
        image_size: `(height, width)` of the model's input in pixels.
        channels: 1 (grey) or 3 (RGB).
        input_kind: "image", "pair" for a pair model, "clip" for a clip model.
        manifest: The model's `manifest.json`; empty for a bare file.
        file_name: Of the model's file.
        file_sha256: Of its content.
        prior: The prior that the answers are for, as `fer_keras.common.prior.parse_prior` reads it.
        decision: The thresholds behind `unsure` and `label_set`.
        notes: What a user should be told about the choices above.

    Raises:
        ModelFileError: The model is missing, damaged, not what the manifest says, uses operations
            that are not built in, or does not fit its labels.
        ConfigError: The detector is unknown or cannot be used, `threads` is under 1, the prior or
            the labels are not of the model, or the engine or device cannot be used.
    """

    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        detector: str | Detector = "mtcnn",
        threads: int = 1,
        precision: Precision | None = None,
        prior: str | Sequence[str] | Mapping[str, float] | None = None,
        labels: Sequence[str] | None = None,
        min_face: int | None = None,
        min_quality: float = 0.0,
        engine: EngineName = "litert",
        device: str = "cpu",
        min_score: float = 0.0,
    ) -> None:
        self._parameters = {
            "model": model, "detector": detector, "threads": threads, "precision": precision,
            "prior": prior, "labels": labels, "min_face": min_face, "min_quality": min_quality,
            "min_score": min_score, "engine": engine, "device": device,
        }  # fmt: skip
        if threads < 1:
            raise ConfigError(f"threads: expected at least 1, received {threads}")
        if min_face is not None and min_face < LEAST_MIN_FACE:
            raise ConfigError(
                f"min_face: expected at least {LEAST_MIN_FACE} pixels, received {min_face}"
            )
        # Written so that NaN fails.
        if not 0 <= min_quality <= 1:
            raise ConfigError(f"min_quality: expected a number in 0..1, received {min_quality}")
        if not min_score >= 0:
            raise ConfigError(f"min_score: expected a number from 0, received {min_score}")
        self._min_quality = min_quality
        # A cascade's weight may be under 0.
        self._min_score = min_score or -math.inf
        require_engine(engine)
        files = read_model_files(default_model() if model is None else model, precision, engine)
        self._own_scaling = files.card is not None
        self._network = (
            ClipNetwork(files, threads)
            if files.input_kind == "clip"
            else Network(files, threads, device)
        )
        # By track, in memory only, as the neutral faces.
        self._clips = ClipBuffers(self._network) if isinstance(self._network, ClipNetwork) else None
        self._detector = build_detector(detector) if isinstance(detector, str) else detector
        self._built_in = (
            cast(BuiltInDetector, self._detector) if type(self._detector) in BUILT_IN else None
        )
        if min_face is not None and self._built_in is None:
            raise ConfigError(
                "min_face: expected a detector of this package, received "
                f"{self._detector.name!r}. Leave it out"
            )
        self._min_face = min_face
        # A detector that was built with settings of its own keeps them.
        self._picture_min_face = (
            self._built_in.default_min_face
            if min_face is None and self._built_in is not None and isinstance(detector, str)
            else min_face
        )
        # A detector of the user's own need not be safe to share.
        self._detector_lock = threading.Lock()
        # By track; that of None is for everybody. In memory only: it shows a person's face.
        self._neutral: dict[int | None, Pixels] = {}
        self.classes_: NDArray[np.str_] = np.array(files.class_names)
        self.image_size = self._network.image_size
        self.channels = self._network.channels
        self.input_kind = self._network.input_kind
        self.manifest = files.manifest
        self._rule = read_picture_rule(files.manifest, files.path)
        self.file_name = files.path.name
        self.file_sha256 = hashlib.sha256(files.content).hexdigest()
        default = read_default_prior(files.manifest, files.path)
        choice = default if prior is None else parse_prior(prior)
        self.prior = str(choice)
        self.decision = read_decision(files.manifest, files.path, choice)
        self.notes: tuple[str, ...] = ()
        class_prior = read_class_prior(files.manifest, files.class_names, files.path)
        # Without a choice the probabilities stay those of the file, bit by bit.
        self._weights: NDArray[np.float64] | None = None
        if labels or not choice.is_training:
            try:
                self._weights = prior_weights(files.class_names, class_prior, choice, labels or ())
            except ConfigError as error:
                raise ConfigError(f"{error}: {files.path}") from error
            if labels:
                self.decision = Decision()
            if self.decision == Decision() and "decision" in files.manifest:
                self.notes = (
                    "the thresholds of the model are fitted to other probabilities and are not "
                    f"used with prior {choice}{' and these labels' if labels else ''}: unsure is "
                    "said of turned heads alone, label_set is the dominant label",
                )

    def predict_proba(self, images: Pixels | Iterable[Picture]) -> NDArray[np.float32]:
        """Probabilities of ready face crops.

        Args:
            images: uint8 array `(n, height, width)` or `(n, height, width, 1 or 3)` in 0..255 of
                any size, or paths, file contents (bytes) or arrays without the n, in a list or
                from a generator.

        Returns:
            float32 `(n, classes)`; rows sum to 1; columns as in `classes_`.

        Raises:
            DataError: A picture cannot be read, or an array is not of that kind.
            ConfigError: A pair model has no neutral face for everybody, or it is a clip model.
        """
        crops = self.ready_crops(images)
        return self._readings(crops, [None] * len(crops))[:, : len(self.classes_)]

    def ready_crops(self, images: Pixels | Iterable[Picture]) -> list[Pixels]:
        """Face crops as the model wants them: the first half of `predict_proba`.

        Args:
            images: As for `predict_proba`.

        Returns:
            What `read_crops` takes, one for each.

        Raises:
            DataError: A picture cannot be read, or an array is not of that kind.
        """
        return [self._input(pixels) for pixels in each_picture(images)]

    def predict_clip(
        self, frames: Pixels | Iterable[Picture]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities of one clip of ready face crops, by a clip model.

        Args:
            frames: As for `predict_proba`, in the order of time; of more than the model's number
                of frames, the last ones are read.

        Returns:
            float32: of the clip `(classes,)`, and of each of its frames `(n, classes)`.

        Raises:
            ConfigError: It is no clip model, or there is no frame.
            DataError: A picture cannot be read, or an array is not of that kind.
        """
        crops = [self._input(pixels) for pixels in each_picture(frames)]
        if not isinstance(self._network, ClipNetwork) or not crops:
            raise ConfigError(
                "predict_clip: expected a clip model and at least one frame, received a model of "
                f"kind {self.input_kind!r} and {len(crops)} frames"
            )
        last = crops[-self._network.num_frames :]
        whole, each = self._network.read([self._network.encode(crop) for crop in last])
        return self._adjusted(whole), self._adjusted(each)

    def predict(self, images: Pixels | Iterable[Picture]) -> NDArray[np.str_]:
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
        faces, looks, crops = self.detect_and_crop(picture)
        rows = self.read_crops(crops)
        return [
            self.result(face, row, look=look)
            for face, row, look in zip(faces, rows, looks, strict=True)
        ]

    def detect_and_crop(self, picture: Picture) -> tuple[list[Face], list[Look], list[Pixels]]:
        """Find the faces of one picture and cut them out: all of `recognize` but the reading.

        Args:
            picture: As for `recognize`.

        Returns:
            The faces that are good enough, the largest first; how each is seen; and the crop of
            each for `read_crops`.

        Raises:
            DataError: The picture cannot be read, or the array is not of that kind.
        """
        pixels = as_pixels(picture)
        faces, looks = self.worth_reading(pixels, self.detect(pixels))
        return faces, looks, self.crop_faces(pixels, faces)

    def worth_reading(
        self, picture: Picture, faces: Sequence[Face]
    ) -> tuple[list[Face], list[Look]]:
        """How faces are seen, and which of them are good enough for `min_quality`.

        Args:
            picture: As for `recognize`.
            faces: Of this picture.

        Returns:
            Those that are good enough, in their order, and the look of each.

        Raises:
            DataError: The picture cannot be read, the array is not of that kind, or a box lies
                outside the picture.
        """
        pixels = as_pixels(picture)
        looks = [look_at(pixels, face, self._detector.margin) for face in faces]
        good = [i for i, look in enumerate(looks) if look.quality >= self._min_quality]
        return [faces[i] for i in good], [looks[i] for i in good]

    def detect(
        self, picture: Picture, *, is_frame: bool = False, upright: Sequence[Box] = ()
    ) -> list[Face]:
        """Find the faces of one picture: the first step of `recognize`.

        Args:
            picture: As for `recognize`.
            is_frame: Whether it is one of a stream, in which time counts: then only `min_face`, if
                it was given, makes the detector look for small faces.
            upright: Where faces stood upright in the frame before, as boxes.

        Returns:
            The faces, the largest first.

        Raises:
            DataError: The picture cannot be read, or the array is not of that kind.
        """
        pixels = with_channels(as_pixels(picture), 3)
        if self._built_in is None:
            with self._detector_lock:
                found = self._detector.detect(pixels)
            return [face for face in found if face.score >= self._min_score]
        least = self._min_face if is_frame else self._picture_min_face
        faces = self._built_in.detect(pixels, least, turned=not is_frame, upright=upright)
        wanted = self._min_face or 0
        return [
            face for face in faces if max(face.box[2:]) >= wanted and face.score >= self._min_score
        ]

    def read_faces(
        self, picture: Picture, faces: Sequence[Face], tracks: Sequence[int | None] | None = None
    ) -> NDArray[np.float32]:
        """Read the expressions of faces that are known: the second step of `recognize`.

        Args:
            picture: As for `recognize`.
            faces: Of this picture; from `detect`, or moved along by a tracker.
            tracks: Whose faces they are, for a pair model with a neutral face per person; one
                number for each face, None where it is not known.

        Returns:
            Readings, float32 `(n, classes)`: probabilities, which sum to 1, columns as in
            `classes_`. A model with valence and arousal adds these as two more columns.

        Raises:
            DataError: The picture cannot be read, the array is not of that kind, or a box lies
                outside the picture.
            ConfigError: A pair model has no neutral face for one of them, or there are not as many
                tracks as faces.
        """
        return self.read_crops(self.crop_faces(picture, faces), tracks)

    def crop_faces(self, picture: Picture, faces: Sequence[Face]) -> list[Pixels]:
        """Cut faces out as the model wants them: the first half of `read_faces`.

        Args:
            picture: As for `recognize`.
            faces: Of this picture.

        Returns:
            uint8 arrays `(*image_size, channels)`, one for each face.

        Raises:
            DataError: The picture cannot be read, the array is not of that kind, or a box lies
                outside the picture.
        """
        pixels = as_pixels(picture)
        return [self._crop(pixels, face) for face in faces]

    def read_crops(
        self, crops: Sequence[Pixels], tracks: Sequence[int | None] | None = None
    ) -> NDArray[np.float32]:
        """Read the expressions of what `crop_faces` returned: the second half of `read_faces`.

        Args:
            crops: uint8 arrays `(*image_size, channels)`.
            tracks: As for `read_faces`.

        Returns:
            Readings, float32 `(n, classes)`: probabilities, which sum to 1, columns as in
            `classes_`. A model with valence and arousal adds these as two more columns.

        Raises:
            ConfigError: As for `read_faces`.
        """
        return self.read_over_time(crops, tracks)[0]

    def read_over_time(
        self, crops: Sequence[Pixels], tracks: Sequence[int | None] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As `read_crops`, and what this frame says alone: for clip models that is not the same.

        Args:
            crops: uint8 arrays `(*image_size, channels)`.
            tracks: As for `read_faces`. A clip model adds each crop to the last ones of its track,
                and needs them all.

        Returns:
            Readings as of `read_crops`: of the clips that end here, and of this frame.

        Raises:
            ConfigError: As for `read_faces`.
        """
        if tracks is not None and len(tracks) != len(crops):
            raise ConfigError(
                f"tracks: expected one for each of {len(crops)} faces, received {len(tracks)}"
            )
        known = [None] * len(crops) if tracks is None else tracks
        if self._clips is None:
            readings = self._readings(crops, known)
            return readings, readings
        rows = np.empty((2, len(crops), len(self.classes_)), np.float32)
        for i, (crop, track) in enumerate(zip(crops, known, strict=True)):
            if track is None:
                raise single_pictures_refused(self._clips.num_frames)
            rows[:, i] = self._clips.add(track, crop)
        return self._adjusted(rows[0]), self._adjusted(rows[1])

    def result(
        self,
        face: Face,
        reading: NDArray[np.floating],
        track: int | None = None,
        *,
        look: Look | None = None,
    ) -> FaceResult:
        """What is said about a face: the last step of `recognize`.

        Args:
            face: Where it is.
            reading: A row of `read_crops`, for instance smoothed over time.
            track: Number of the person in a stream.
            look: From `worth_reading`; None where nobody asked.

        Returns:
            Plain Python values, ready for JSON.
        """
        names = [str(name) for name in self.classes_]
        probabilities, affect = reading[: len(names)], [float(x) for x in reading[len(names) :]]
        label_set = self.decision.label_set(probabilities)
        pose = None if look is None else look.pose
        points = face.landmarks
        return {
            "box": face.box,
            "landmarks": None if points is None else [(float(x), float(y)) for x, y in points],
            "emotions": {name: float(p) for name, p in zip(names, probabilities, strict=True)},
            "dominant": names[label_set[0]],
            "score": face.score,
            "unsure": self.decision.unsure(probabilities) or is_turned_away(pose),
            "label_set": [names[i] for i in label_set],
            "track": track,
            "pose": None if pose is None else pose._asdict(),
            "quality": None if look is None else look.quality,
            "valence": affect[0] if affect else None,
            "arousal": affect[1] if affect else None,
        }

    @overload
    def recognize_each(self, pictures: Iterable[P]) -> Iterator[tuple[P, list[FaceResult]]]: ...

    @overload
    def recognize_each(
        self, pictures: Iterable[P], passed_over: tuple[type[Exception], ...]
    ) -> Iterator[tuple[P, list[FaceResult] | Exception]]: ...

    def recognize_each(
        self, pictures: Iterable[P], passed_over: tuple[type[Exception], ...] = ()
    ) -> Iterator[tuple[P, list[FaceResult] | Exception]]:
        """As `recognize`, one picture after the other; faces go through the model in batches.

        That is faster where the engine runs many faces at once. Then some pictures are read before
        the first answer comes; of them the crops are held, not the pictures.

        Args:
            pictures: Each as for `recognize`.
            passed_over: What may happen to a picture without ending the others.

        Yields:
            Each picture with its faces, or with the error that was passed over.

        Raises:
            DataError: As `recognize`.
        """
        # A TFLite file of an export takes one face at a time: nothing is gained by waiting.
        is_batched = isinstance(self._network, Network) and self._network.any_batch
        waiting: list[tuple[P, list[tuple[Face, Look]] | Exception]] = []
        crops: list[Pixels] = []
        for picture in pictures:
            try:
                faces, looks, more = self.detect_and_crop(picture)
                crops += more
                waiting.append((picture, list(zip(faces, looks, strict=True))))
            except passed_over as error:
                waiting.append((picture, error))
            if not is_batched or max(len(crops), len(waiting)) >= BATCH_SIZE:
                yield from self._answers(waiting, crops)
                waiting, crops = [], []
        yield from self._answers(waiting, crops)

    def _answers(
        self,
        waiting: Sequence[tuple[P, list[tuple[Face, Look]] | Exception]],
        crops: Sequence[Pixels],
    ) -> Iterator[tuple[P, list[FaceResult] | Exception]]:
        rows = iter(self.read_crops(crops) if crops else ())
        for picture, seen in waiting:
            if isinstance(seen, Exception):
                yield picture, seen
            else:
                yield picture, [self.result(face, next(rows), look=look) for face, look in seen]

    def recognize_many(self, pictures: Pixels | Iterable[Picture]) -> Any:
        """Find and read the faces of many pictures, as a table.

        Args:
            pictures: As for `predict_proba`, but whole pictures.

        Returns:
            A `pandas.DataFrame` with the columns of `fer_keras.runtime.table.face_table`: one row
            per face, and one with empty fields for a picture without a face.

        Raises:
            DataError: A picture cannot be read, or an array is not of that kind.
            ConfigError: pandas is not installed.
        """
        pictures = pictures if isinstance(pictures, np.ndarray | str | bytes) else [*pictures]
        paths = [str(p) if isinstance(p, str | PathLike) else None for p in pictures]
        results = (faces for _, faces in self.recognize_each(each_picture(pictures)))
        return face_table(results, paths, [str(name) for name in self.classes_])

    def set_neutral(
        self,
        pictures: Picture | Sequence[Picture],
        track: int | None = None,
        faces: Sequence[Face] | None = None,
    ) -> None:
        """Remember a person's neutral face, with which a pair model compares.

        The faces of several pictures are averaged pixel by pixel after cropping. The mean stays in
        memory and is written nowhere.

        Args:
            pictures: One picture, or several of the same person, as for `recognize`.
            track: Whose face it is; None keeps it for everybody without one of their own.
            faces: Where the face is, one for each picture; None looks for it and takes the largest.

        Raises:
            ConfigError: The model takes single pictures, there is no picture, or there are not as
                many faces as pictures.
            DataError: A picture cannot be read, or has no face.
        """
        if self.input_kind != "pair":
            raise ConfigError(
                "set_neutral: expected a pair model, received one that reads single pictures. It "
                "needs no neutral face"
            )
        alone = isinstance(pictures, str | bytes | PathLike) or (
            isinstance(pictures, np.ndarray)
            and (pictures.ndim == 2 or (pictures.ndim == 3 and pictures.shape[2] in (1, 3)))
        )
        frames = (
            [as_pixels(cast(Picture, pictures))]
            if alone
            else list(each_picture(cast(Sequence[Picture], pictures)))
        )
        if not frames or (faces is not None and len(faces) != len(frames)):
            received = f"{len(frames)} pictures" + (
                "" if faces is None else f", {len(faces)} faces"
            )
            raise ConfigError(
                "set_neutral: expected at least one picture, and one face for each or none at all, "
                f"received {received}"
            )
        total = np.zeros((*self.image_size, self.channels))
        for i, pixels in enumerate(frames):
            found = self.detect(pixels)[:1] if faces is None else faces[i : i + 1]
            if not found:
                raise DataError(
                    f"set_neutral: no face found in picture {i + 1} of {len(frames)}. Look "
                    "straight at the camera, or give detector='none' for ready crops"
                )
            total += self._crop(pixels, found[0])
        self._neutral[track] = np.rint(total / len(frames)).astype(np.uint8)

    def has_neutral(self, track: int | None = None) -> bool:
        """Whether `read_faces` can be called for a track; always true for other models."""
        return self.input_kind != "pair" or track in self._neutral or None in self._neutral

    def clear_neutral(self, track: int | None = None) -> None:
        """Forget what `set_neutral` remembers of a track, for instance when it ends."""
        self._neutral.pop(track, None)

    def clear_clips(self, tracks: Sequence[int] | None = None) -> None:
        """Forget the last frames of tracks, for instance when they end; None for all."""
        if self._clips is not None and tracks is None:
            self._clips.clear()
        elif self._clips is not None and tracks is not None:
            self._clips.drop(tracks)

    def _input(self, pixels: Pixels) -> Pixels:
        fitting = with_channels(pixels, self.channels)
        # A card says how its model wants faces scaled, and the network does it.
        if self._own_scaling:
            return fitting
        return self._rule.applied(resize(fitting, self.image_size, self._rule.enlarge))

    def _crop(self, pixels: Pixels, face: Face) -> Pixels:
        margin = self._detector.margin
        return self._input(crop_upright(pixels, face.box, face.landmarks, margin=margin))

    def _readings(
        self, crops: Sequence[Pixels], tracks: Sequence[int | None]
    ) -> NDArray[np.float32]:
        if isinstance(self._network, ClipNetwork):
            raise single_pictures_refused(self._network.num_frames)
        if self.input_kind != "pair":
            return self._adjusted(self._network.read(crops))
        for track in tracks:
            if not self.has_neutral(track):
                raise ConfigError(
                    "the model compares a face with a neutral face of the same person, and "
                    f"{'none is known' if track is None else f'that of track {track} is unknown'}. "
                    "Call set_neutral(pictures) first"
                )
        neutral = [self._neutral.get(track, self._neutral.get(None)) for track in tracks]
        pairs = [np.stack([n, c]) for n, c in zip(neutral, crops, strict=True) if n is not None]
        return self._adjusted(self._network.read(pairs))

    def _adjusted(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """For the prior and the labels that were chosen."""
        if self._weights is None:
            return rows
        count = len(self.classes_)
        shares = reweighted(rows[..., :count], self._weights).astype(np.float32)
        return np.concatenate([shares, rows[..., count:]], axis=-1)
