"""What users hand over as pictures - paths, file contents, arrays - as pixels.

And how a model wants them made, where its own input does not show it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.decode import Enlarge, decode_image, read_image
from fer_keras.common.errors import DataError, ModelFileError
from fer_keras.common.opencv import cv2

Pixels = NDArray[np.uint8]
_ONE_SLASH = re.compile(r":/(?!/)")
# A drive of Windows has one letter.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:")
Picture = str | PathLike[str] | bytes | Pixels

# Data sets of grey pictures alone: what is known of exports that say nothing of their pictures.
_GREY_DATASETS = {"fer2013", "fer2013_folders", "ferplus", "synthetic_faces"}


@dataclass(frozen=True)
class PictureRule:
    """How the pictures of a training were made, so that others are made in the same way.

    Attributes:
        is_grey: They were grey, in three channels that are the same. Colour is then something that
            the network has never seen, and is taken off.
        enlarge: How pictures grew that are smaller than the input.
    """

    is_grey: bool = False
    enlarge: Enlarge = "cubic"

    def applied(self, images: Pixels) -> Pixels:
        """Pictures without their colour, where the network knows none.

        Args:
            images: uint8 `(..., height, width, channels)`; grey ones come back as they are.
        """
        if not self.is_grey or images.shape[-1] != 3:
            return images
        rows = images.reshape(-1, images.shape[-2], 3)
        grey = np.asarray(cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY), np.uint8)
        return np.repeat(grey[..., np.newaxis], 3, axis=-1).reshape(images.shape)

    def record(self) -> dict[str, str]:
        """As it stands in a manifest."""
        return {"colour": "grey" if self.is_grey else "colour", "enlarge": self.enlarge}


AS_THEY_ARE = PictureRule()


def picture_rule_of(images: Pixels, enlarge: Enlarge = "cubic") -> PictureRule:
    """The rule by which some pictures were made.

    Args:
        images: Of a training, `(n, ..., height, width, channels)`; some, spread evenly, are looked
            at.
        enlarge: As they were read.
    """
    some = np.asarray(images[:: max(1, len(images) // 64)])
    is_grey = bool(some.shape[-1] == 3 and (some == some[..., :1]).all())
    return PictureRule(is_grey, enlarge)


def read_picture_rule(record: Mapping[str, Any], where: Path) -> PictureRule:
    """The rule that a manifest, or the result of a run, states.

    Args:
        record: Its content. Older ones state none: then the pictures were grey where the data set
            is known to have no others.
        where: Named in messages.

    Raises:
        ModelFileError: It is malformed.
    """
    stated = record.get("pictures")
    if stated is None:
        return PictureRule(record.get("dataset") in _GREY_DATASETS)
    colour = stated.get("colour") if isinstance(stated, Mapping) else None
    enlarge = stated.get("enlarge", "cubic") if isinstance(stated, Mapping) else None
    if colour not in ("grey", "colour") or enlarge not in ("cubic", "linear"):
        raise ModelFileError(
            "pictures: expected colour grey or colour and enlarge cubic or linear, received "
            f"{stated!r}: {where}"
        )
    return PictureRule(colour == "grey", enlarge)


def as_pixels(picture: Picture) -> Pixels:
    """One picture as an array.

    Args:
        picture: A path, a file's content (bytes), or a uint8 array `(height, width)` or
            `(height, width, 1 or 3)`, grey or RGB, in 0..255.

    Returns:
        uint8 `(height, width, channels)`; files have 3 channels.

    Raises:
        DataError: The picture cannot be read, or the array is not of that kind.
    """
    if isinstance(picture, bytes):
        return decode_image(picture, channels=3, source="picture given as bytes")
    if isinstance(picture, str | PathLike):
        refuse_url(str(picture))
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


def each_picture(images: Pixels | Iterable[Picture]) -> Iterator[Pixels]:
    """Several pictures, one after the other.

    Args:
        images: uint8 array `(n, height, width)` or `(n, height, width, 1 or 3)`, or several of what
            `as_pixels` takes, in a list or from a generator.

    Yields:
        uint8 `(height, width, channels)`.

    Raises:
        DataError: One picture in place of several, or one that `as_pixels` refuses.
    """
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
        yield as_pixels(picture)


def refuse_url(picture: str) -> None:
    """Refuses an address of the network, which nothing here fetches.

    Args:
        picture: What was given as a path; `Path` writes `https:/host` for `https://host`.

    Raises:
        DataError: It is an address.
    """
    if _URL.match(picture):
        raise DataError(
            "picture: expected a file, received an address. Nothing is fetched from the network. "
            f"Mend: download it first: {_ONE_SLASH.sub('://', picture[:120], 1)}"
        )


def with_channels(pixels: Pixels, channels: int) -> Pixels:
    """A picture as grey or as RGB.

    Args:
        pixels: uint8 `(height, width, 1 or 3)`.
        channels: 1 or 3.

    Returns:
        uint8 `(height, width, channels)`.
    """
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    # The same weights as `decode_image` uses.
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, np.newaxis]
