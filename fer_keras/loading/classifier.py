"""Something that classifies faces, wherever it comes from: labels, input, probabilities.

Commands and studies see a run, an export, a network in memory and another project's model as one
class. What differs is the function that it runs, which the readers of `fer_keras.loading` make.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.decode import resize
from fer_keras.common.errors import ConfigError, FerKerasError, ModelFileError
from fer_keras.common.labels import class_name
from fer_keras.common.progress import progress
from fer_keras.models.graphs import named_network
from fer_keras.runtime.pictures import AS_THEY_ARE, PictureRule, with_channels

if TYPE_CHECKING:
    from fer_keras.runtime.peer_card import PeerCard

Images = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]
Aligned = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to predict.

    Attributes:
        path: Where it was read from.
        kind: `"keras"`, `"tflite"`, `"onnx"`, `"openvino"`, or of another project `"hdf5"`.
        class_names: Ordered names of the outputs.
        image_shape: `(height, width, channels)` of one picture.
        sha256: Checksum of the model file, hexadecimal; empty for a network in memory.
        temperature: What `predict` divides the logits by; for `.tflite` it is in the graph.
        manifest: Of the export folder; empty where there is none.
        input_kind: `"image"`; `"pair"` where an input is a neutral face and a face: images are
            then `(n, 2, height, width, channels)`; `"clip"`: `(n, frames, height, width,
            channels)`.
        num_pictures: Pictures of an input: 1, 2 of a pair, the frames of a clip.
        name: For tables and figures.
        card: What the numbers of another project's model mean; such a model takes pictures of any
            size.
        pictures: How the pictures of its training were made. Colour that it does not know is taken
            off here; who reads pictures for it enlarges them in its way.
    """

    path: Path
    kind: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    sha256: str
    temperature: float
    manifest: Mapping[str, Any] = field(repr=False)
    _run: Callable[[Images], Scores] = field(repr=False)
    _batch_size: int | None = field(default=None, repr=False)
    input_kind: str = "image"
    num_pictures: int = 1
    _run_frames: Callable[[Images], Scores] | None = field(default=None, repr=False)
    name: str = ""
    card: "PeerCard | None" = field(default=None, repr=False)

    @property
    def is_peer(self) -> bool:
        """Whether it is another project's, run as its card says."""
        return self.card is not None

    pictures: PictureRule = AS_THEY_ARE

    @property
    def has_logits(self) -> bool:
        """Whether `logits` works: only where the softmax is not part of the file."""
        return self.kind == "keras" and not self.is_peer

    def logits(self, images: Images, batch_size: int = 64) -> Scores:
        """The scores before temperature and softmax.

        Args:
            images: `(n, height, width, channels)` uint8, raw pixels 0..255.
            batch_size: Images per call of the network.

        Returns:
            `(n, classes)` float32.

        Raises:
            ModelFileError: The file gives probabilities only, or the images do not fit.
        """
        if not self.has_logits:
            raise ModelFileError(
                f"A .tflite file holds its softmax and gives probabilities, no logits: {self.path}"
            )
        return self._scores(images, batch_size)

    def predict(self, images: Images, batch_size: int = 64) -> Scores:
        """The probability of every class.

        Args:
            images: `(n, height, width, channels)` uint8, raw pixels 0..255; of any height and
                width for another project's model.
            batch_size: Images per call of the network.

        Returns:
            `(n, classes)` float32, rows sum to 1.

        Raises:
            ModelFileError: The images do not fit, or the outputs are not finite.
        """
        scores = self._scores(images, batch_size)
        if self.has_logits:
            scaled = scores.astype(np.float64) / self.temperature
            scaled -= scaled.max(axis=1, keepdims=True)
            exponentials = np.exp(scaled)
            return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)
        if len(scores) and not np.abs(scores.sum(axis=1) - 1).max() < 0.05:
            raise ModelFileError(
                f"Expected probabilities that sum to 1 from {self.path}. "
                "Received other numbers; is its output logits?"
            )
        return scores

    def probabilities(self, images: Images, class_names: Sequence[str]) -> Aligned:
        """The probability of each class of a data set, for pictures of any size.

        Args:
            images: `(n, height, width, 1 or 3)` uint8 face crops, grey or RGB.
            class_names: Those of the data set, as for `aligned`.

        Returns:
            `(n, len(class_names))` float64.

        Raises:
            ModelFileError: The outputs are not finite or no probabilities.
        """
        return self.aligned(self.predict(self.as_input(images)), class_names)

    def as_input(self, images: Images) -> Images:
        """Pictures in the channels and the size that the model takes.

        Args:
            images: `(n, height, width, 1 or 3)` uint8, grey or RGB.

        Returns:
            `(n, *image_shape)`; another project's model resizes by itself.
        """
        fitting = in_channels(images, self.image_shape[2])
        size = self.image_shape[:2]
        if self.is_peer or fitting.shape[1:3] == size:
            return fitting
        return np.stack([resize(image, size, self.pictures.enlarge) for image in fitting])

    def aligned(
        self, probabilities: npt.NDArray[np.floating[Any]], class_names: Sequence[str]
    ) -> Aligned:
        """Probabilities of this model in the order of a data set's classes.

        Args:
            probabilities: `(n, own classes)`.
            class_names: Those of the data set. A class that the model does not know has
                probability 0; classes that only the model knows are left out and the rest
                renormalised.

        Returns:
            `(n, len(class_names))` float64.
        """
        raw = probabilities.astype(np.float64)
        own = [class_name(name) for name in self.class_names]
        wanted = [class_name(name) for name in class_names]
        aligned = np.zeros((len(raw), len(wanted)))
        for column, name in enumerate(wanted):
            if name in own:
                aligned[:, column] = np.maximum(raw[:, own.index(name)], 0.0)
        if set(own) <= set(wanted):
            return aligned
        total = aligned.sum(axis=1, keepdims=True)
        return np.where(total > 0, aligned / np.where(total > 0, total, 1.0), 1.0 / len(wanted))

    def knows(self, name: str) -> bool:
        """Whether the model has an output for this class, in whatever spelling."""
        return class_name(name) in [class_name(own) for own in self.class_names]

    def frame_scores(self, clips: Images, batch_size: int = 64) -> Scores:
        """The scores of every frame of clips; those of padding mean nothing.

        Args:
            clips: `(n, frames, height, width, channels)` uint8.
            batch_size: Clips per call of the network.

        Returns:
            `(n, frames, classes)` float32: logits, of a `.tflite` file probabilities.

        Raises:
            ModelFileError: The model reads no clips, or these do not fit.
        """
        if self._run_frames is None:
            raise ModelFileError(f"Expected a model of clips, which scores frames: {self.path}")
        self._check(clips)
        starts = range(0, len(clips), self._batch_size or batch_size)
        size = starts.step
        blocks = (self.pictures.applied(np.asarray(clips[i : i + size])) for i in starts)
        return np.concatenate([self._run_frames(block) for block in blocks])

    def _check(self, images: Images) -> None:
        if self.is_peer:
            channels = self.image_shape[2]
            if images.ndim != 4 or images.shape[3] != channels or images.dtype != np.uint8:
                raise ModelFileError(
                    f"Expected uint8 images (n, height, width, {channels}). Received: "
                    f"{images.dtype} {images.shape}: {self.path}"
                )
            return
        several = () if self.input_kind == "image" else (self.num_pictures,)
        shape = (*several, *self.image_shape)
        if images.shape[1:] != shape or images.dtype != np.uint8:
            raise ModelFileError(
                f"Expected uint8 images of shape (n, {', '.join(map(str, shape))}). "
                f"Received: {images.dtype} {images.shape}. Prepare the data in the model's size: "
                f"{self.path}"
            )

    def _scores(self, images: Images, batch_size: int) -> Scores:
        self._check(images)
        size = self._batch_size or batch_size
        out = np.empty((len(images), len(self.class_names)), np.float32)
        with progress(f"reading by {self.path.name}", len(images), "picture") as bar:
            for start in range(0, len(images), size):
                block = self.pictures.applied(np.asarray(images[start : start + size]))
                n = len(block)
                if n < size and start:
                    # One shape for all calls: a second one would compile the graph again.
                    rest = np.zeros((size - n, *block.shape[1:]), np.uint8)
                    block = np.concatenate([block, rest])
                out[start : start + n] = self._run(block)[:n]
                bar.update(n)
        if not np.isfinite(out).all():
            raise ModelFileError(f"The model gives NaN or infinity for some images: {self.path}")
        return out


def from_network(
    network: Any,
    *,
    path: Path | None = None,
    sha256: str = "",
    temperature: float = 1.0,
    pictures: PictureRule = AS_THEY_ARE,
) -> LoadedModel:
    """A network in memory, behind the same interface as a file.

    Args:
        network: A functional Keras model whose dict of outputs has `logits`, or a plain one of
            `fer_keras.build_model`; with `ClassNames`.
        path: Named in messages.
        sha256: Of the file it came from.
        temperature: For `predict`.
        pictures: How the pictures of its training were made.

    Returns:
        The model.

    Raises:
        ModelFileError: No `logits`, no class names, or an input that is not one image, pair or
            clip.
    """
    import keras

    from fer_keras.models.layers import class_names_of

    where = path or Path(str(network.name))
    with suppress(ConfigError):
        network = named_network(network)
    # A Sequential raises for it.
    outputs = getattr(network, "output", None)
    if not isinstance(outputs, dict) or "logits" not in outputs:
        raise ModelFileError(
            "Expected a network of fer_keras, with a dict of outputs with 'logits'. Another "
            "project's network is read with a card beside it that says what its numbers mean "
            f"({where.stem}.card.json, docs/compare.md): {where}"
        )
    shapes = [tuple(tensor.shape) for tensor in network.inputs]
    if len(shapes) != 1 or len(shapes[0]) not in (4, 5):
        raise ModelFileError(
            "Expected a network with one input (batch, height, width, channels), or (batch, 2, "
            "height, width, channels) for pairs, (batch, frames, height, width, channels) for "
            f"clips. Received: {shapes}: {where}"
        )
    height, width, channels = shapes[0][-3:]
    if None in (height, width, channels):
        raise ModelFileError(
            f"Expected a fixed image size. Received: {network.inputs[0].shape}: {where}"
        )
    try:
        names = tuple(class_names_of(network))
    except FerKerasError as error:
        raise ModelFileError(f"{error}: {where}") from error
    if len(names) != outputs["logits"].shape[-1]:
        raise ModelFileError(
            f"The network names {len(names)} classes but has {outputs['logits'].shape[-1]} "
            f"outputs: {where}"
        )
    # The other outputs (feature maps) are left out: they can be far larger than the logits.
    scorer = keras.Model(network.inputs[0], outputs["logits"])

    def run(images: Images) -> Scores:
        scores = scorer.predict_on_batch(images.astype(np.float32))
        return np.asarray(scores, np.float32)

    num_pictures = int(shapes[0][1]) if len(shapes[0]) == 5 else 1
    kind = input_kind_of(num_pictures)
    return LoadedModel(
        where,
        "keras",
        names,
        (int(height), int(width), int(channels)),
        sha256,
        temperature,
        {},
        run,
        input_kind=kind,
        num_pictures=num_pictures,
        # A plain network keeps what its answer needs, which need not be answers for frames.
        _run_frames=_frame_scorer(network) if "frame_logits" in outputs else None,
        name=where.resolve().name if where.is_dir() else where.stem,
        pictures=pictures,
    )


def _frame_scorer(network: Any) -> Callable[[Images], Scores]:
    import keras

    scorer = keras.Model(network.inputs[0], network.output["frame_logits"])

    def run(clips: Images) -> Scores:
        return np.asarray(scorer.predict_on_batch(clips.astype(np.float32)), np.float32)

    return run


def in_channels(images: Images, channels: int) -> Images:
    """Pictures `(n, height, width, 1 or 3)` as grey or as RGB, with the runtime's grey."""
    if images.shape[3] == channels:
        return images
    return np.stack([with_channels(np.ascontiguousarray(image), channels) for image in images])


def input_kind_of(num_pictures: int) -> str:
    """What an input of so many pictures is: `"image"`, `"pair"` or `"clip"`."""
    return {1: "image", 2: "pair"}.get(num_pictures, "clip")
