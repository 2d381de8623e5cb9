"""One example as a TFDS record."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.decode import MAX_BYTES, decode_image, read_image_bytes, resize
from fer_keras.common.errors import DataError
from fer_keras.common.opencv import cv2
from fer_keras.data.samples import DatasetInfo, Example, pixel_sha256

# A PNG that cannot be compressed is a little larger than its pixels.
_MAX_CROP_BYTES = MAX_BYTES * 9 // 10


def record_of(info: DatasetInfo, example: Example) -> dict[str, Any]:
    """What is stored of an example.

    Args:
        info: The data set's description.
        example: An image with its facts.

    Returns:
        A value for every feature; the image as the bytes of a PNG or JPEG file.

    Raises:
        DataError: The picture cannot be read, or lies outside the crop.
    """
    if isinstance(example.image, Path):
        data = read_image_bytes(example.image)
        pixels = decode_image(
            data, channels=1 if info.channels == 1 else 3, source=str(example.image)
        )
        # TFDS itself reads these two; all else is stored as PNG, which loses nothing.
        if example.crop is not None:
            pixels = cropped(pixels, example.crop, str(example.image))
            data = _png(pixels)
        elif example.image.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            data = _png(pixels)
    else:
        pixels = example.image
        if example.crop is not None:
            pixels = cropped(pixels, example.crop, example.source)
        data = _png(pixels)
    record: dict[str, Any] = {
        "image": io.BytesIO(data),
        "label": example.label,
        "subject": example.subject,
        "source": example.source,
        "sha256": pixel_sha256(pixels),
    }
    if info.has_votes:
        record["votes"] = np.asarray(example.votes, np.int64)
    if info.attributes:
        record["attributes"] = dict(example.attributes)
    return record


def cropped(pixels: np.ndarray, box: tuple[int, int, int, int], source: str) -> np.ndarray:
    """The part of a picture in a box of (left, top, width, height)."""
    left, top, width, height = box
    picture_height, picture_width = pixels.shape[:2]
    part = pixels[
        max(top, 0) : max(min(top + height, picture_height), 0),
        max(left, 0) : max(min(left + width, picture_width), 0),
    ]
    if part.size == 0:
        raise DataError(
            f"expected a box that covers some of the picture of {picture_width} x {picture_height} "
            f"pixels. Received: left {left}, top {top}, width {width}, height {height}: {source}"
        )
    if part.nbytes > _MAX_CROP_BYTES:
        # As a JPEG the picture was small enough to be decoded again; as a PNG it would not be.
        scale = math.sqrt(_MAX_CROP_BYTES / part.nbytes)
        part = resize(part, (int(part.shape[0] * scale), int(part.shape[1] * scale)))
    return np.ascontiguousarray(part)


def _png(pixels: np.ndarray) -> bytes:
    opencv_order = pixels if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".png", opencv_order)[1])
