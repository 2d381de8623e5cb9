"""Bytes to pixels: the only place where a picture file is decoded, with limits on size and type.

It stands beside `data` and not inside it because the runtime needs it too and may not import
`data`; it needs NumPy and OpenCV alone. The size of a picture is read from its header by hand,
before any decoder runs: a 400 kB PNG of 20000 x 20000 pixels would cost a decoder 1.5 GB.
"""

import struct
import zlib
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import DataError
from fer_keras.common.heif import (
    HeifError,
    decode_heic,
    heif_kind,
    read_heif_header,
    turned_as_header_says,
)
from fer_keras.common.opencv import cv2

MAX_PIXELS = 16_000_000
# Phones write 50 megapixels as JPEG, HEIC and AVIF, also as "motion photos" with a film behind the
# picture. A decoder asks at most 12 bytes a pixel for one, so 64 megapixels stay below 800 MB.
MAX_PHOTO_PIXELS = 64_000_000
MAX_BYTES = 32 * 1024 * 1024
IMAGE_SUFFIXES = (".avif", ".bmp", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".webp")

Pixels = NDArray[np.uint8]
Enlarge = Literal["cubic", "linear"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
# Start-of-frame markers carry the size; 0xC4, 0xC8, 0xCC among them mean others (ITU T.81, B.1).
_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_START_OF_SCAN = 0xDA
_JPEG_END = b"\xff\xd9"


def read_image(path: str | PathLike[str], channels: Literal[1, 3] = 3) -> Pixels:
    """Read one picture file.

    Args:
        path: JPEG, PNG, BMP, WebP, AVIF or HEIC file (the last with pillow-heif) of at most
            `MAX_BYTES` bytes and `MAX_PIXELS` pixels, as JPEG, AVIF and HEIC `MAX_PHOTO_PIXELS`.
        channels: 3 for RGB, 1 for grey.

    Returns:
        uint8 array `(height, width, channels)`, turned upright as its EXIF orientation says.

    Raises:
        DataError: The file is missing, too large, of another type, truncated or corrupt.
    """
    return decode_image(read_image_bytes(path), channels=channels, source=str(path))


def read_image_bytes(path: str | PathLike[str]) -> bytes:
    """Read a picture file's bytes without decoding them, and never more than `MAX_BYTES`.

    Raises:
        DataError: There is no such ordinary file, it cannot be read, or it is too large.
    """
    file = Path(path)
    try:
        # A pipe or a device would never end.
        if not file.is_file():
            raise DataError(f"expected a picture file, found none. Check the path: {file}")
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read the picture ({reason}): {file}") from error
    if len(data) > MAX_BYTES:
        raise DataError(
            f"picture file too large: expected at most {MAX_BYTES} bytes, received "
            f"{file.stat().st_size}. Save it smaller: {file}"
        )
    return data


def decode_image(data: bytes, *, channels: Literal[1, 3], source: str) -> Pixels:
    """Decode one picture.

    Grey is always computed from the decoded colours with the BT.601 weights, so that a JPEG, a PNG
    and a camera frame of the same scene give the same grey values.

    Args:
        data: The bytes of a JPEG, PNG, BMP, WebP, AVIF or HEIC file.
        channels: 3 for RGB, 1 for grey.
        source: Where the bytes come from (a path), for the error message.

    Returns:
        uint8 array `(height, width, channels)`, turned upright as the file says.

    Raises:
        DataError: Too large, of another type, truncated or corrupt; names `source`.
    """
    if channels not in (1, 3):
        raise DataError(f"channels: expected 1 or 3, received {channels}: {source}")
    height, width = image_size(data, source=source)
    kind = heif_kind(data)
    if kind == "HEIC":
        try:
            decoded = np.asarray(cv2.cvtColor(decode_heic(data), cv2.COLOR_RGB2BGR), np.uint8)
        except HeifError as error:
            raise DataError(f"cannot read the picture, {error}: {source}") from error
    else:
        decoded = _decode_with_opencv(data, kind == "AVIF", source)
    # EXIF orientations 5 to 8 swap the sides; a HEIC file may say which part of it is shown.
    is_part = kind == "HEIC" and decoded.shape[0] * decoded.shape[1] < height * width
    if not is_part and decoded.shape[:2] not in ((height, width), (width, height)):
        raise DataError(
            f"corrupt picture: its header says {width} x {height} pixels, the decoder found "
            f"{decoded.shape[1]} x {decoded.shape[0]}: {source}"
        )
    if channels == 1:
        grey = cv2.cvtColor(decoded, cv2.COLOR_BGR2GRAY)
        return np.asarray(grey, np.uint8)[:, :, np.newaxis]
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def _decode_with_opencv(data: bytes, is_avif: bool, source: str) -> Pixels:
    """BGR `(height, width, 3)`, turned upright."""
    # In AVIF the boxes say how it is turned, and EXIF only repeats it.
    flags = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if is_avif else 0)
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"corrupt picture ({error.err}): {source}") from error
    if decoded is None and is_avif and not _opencv_reads_avif():
        raise DataError(
            f"OpenCV {cv2.__version__} was built without AVIF. Mend: pip install "
            f"'opencv-python<5', or save it as JPEG: {source}"
        )
    if decoded is None:
        raise DataError(f"corrupt picture, it cannot be decoded: {source}")
    pixels = np.asarray(decoded, np.uint8)
    return turned_as_header_says(pixels, read_heif_header(data)) if is_avif else pixels


def _opencv_reads_avif() -> bool:
    lines = cv2.getBuildInformation().splitlines()
    return any(line.strip().startswith("AVIF:") and "NO" not in line for line in lines)


def is_picture(data: bytes) -> bool:
    """Whether bytes begin as a picture of a type that is read; GIF is a film.

    Args:
        data: The file's first bytes, 64 or more where there are so many.
    """
    return (
        data.startswith((_PNG_SIGNATURE, _JPEG_SIGNATURE))
        or (data[:2] == b"BM" and len(data) >= 26)
        or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
        or heif_kind(data) is not None
    )


def image_size(data: bytes, *, source: str) -> tuple[int, int]:
    """Read a picture's size from its header and check the limits, without decoding it.

    Also finds what decoders tend to hide: a cut-off file, and in a PNG (checksums) a flipped bit.

    Args:
        data: The bytes of a JPEG, PNG, BMP, WebP, AVIF or HEIC file.
        source: Where the bytes come from (a path), for the error message.

    Returns:
        `(height, width)` in pixels, as stored (before it is turned upright).

    Raises:
        DataError: Too large, of another type, truncated or corrupt; names `source`.
    """
    if len(data) > MAX_BYTES:
        raise DataError(
            f"picture too large: expected at most {MAX_BYTES} bytes, received {len(data)}: {source}"
        )
    max_pixels = MAX_PIXELS
    check_complete: Callable[[bytes], object]
    try:
        if data.startswith(_PNG_SIGNATURE):
            height, width = _png_size(data)
            check_complete = _check_png
        elif data.startswith(_JPEG_SIGNATURE):
            height, width = _jpeg_size(data)
            max_pixels = MAX_PHOTO_PIXELS
            check_complete = _check_jpeg
        elif data[:2] == b"BM" and len(data) >= 26:
            height, width = _bmp_size(data)
            check_complete = _check_bmp
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            height, width = _webp_size(data)
            check_complete = _check_webp
        elif heif_kind(data) is not None:
            header = read_heif_header(data)
            height, width = header.height, header.width
            max_pixels = MAX_PHOTO_PIXELS
            # A header is read box by box to the end, so nothing is cut off.
            check_complete = read_heif_header
        else:
            raise DataError(
                "unknown picture type: expected JPEG, PNG, BMP, WebP, AVIF or HEIC, received bytes "
                f"beginning {data[:8].hex() or '(empty)'}. Convert it: {source}"
            )
        if height < 1 or width < 1:
            raise _CorruptPictureError(f"its size is {width} x {height}")
        if height * width > max_pixels:
            raise DataError(
                f"picture too large: expected at most {max_pixels} pixels, received {width} x "
                f"{height} = {width * height}. Scale it down: {source}"
            )
        check_complete(data)
    except (_CorruptPictureError, HeifError, struct.error, IndexError) as error:
        known = isinstance(error, _CorruptPictureError | HeifError)
        reason = error if known else "its header is cut off"
        raise DataError(f"truncated or corrupt picture, {reason}: {source}") from error
    return height, width


def resize(image: Pixels, size: int | tuple[int, int], enlarge: Enlarge = "cubic") -> Pixels:
    """Scale a picture: area averaging when it shrinks (no aliasing), bicubic when it grows.

    Args:
        image: uint8 array `(height, width)` or `(height, width, channels)`.
        size: `(height, width)` of the result in pixels, or one number for both.
        enlarge: How it grows.

    Returns:
        uint8 array of the new size with as many dimensions as `image`; `image` itself where it has
        that size already.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    grows = {"cubic": cv2.INTER_CUBIC, "linear": cv2.INTER_LINEAR}[enlarge]
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else grows)
    # OpenCV drops a channel axis of length one.
    return np.asarray(scaled, np.uint8).reshape((height, width, *image.shape[2:]))


class _CorruptPictureError(Exception):
    """What is wrong with the bytes; `image_size` adds where they come from."""


def _png_size(data: bytes) -> tuple[int, int]:
    length, kind, width, height = struct.unpack_from(">I4sII", data, len(_PNG_SIGNATURE))
    if kind != b"IHDR" or length != 13:
        raise _CorruptPictureError("its first PNG chunk is not IHDR")
    return height, width


def _check_png(data: bytes) -> None:
    position = len(_PNG_SIGNATURE)
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise _CorruptPictureError("it ends inside a PNG chunk")
        (expected,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(data[position + 4 : end]) != expected:
            raise _CorruptPictureError(f"the checksum of its chunk {kind!r} is wrong")
        if kind == b"IEND":
            return
        position = end + 4


def _jpeg_segments(data: bytes) -> tuple[tuple[int, int], int]:
    """Walk to the first scan; the frame size `(height, width)` and where the scan begins."""
    position = 2
    size: tuple[int, int] | None = None
    while True:
        if data[position] != 0xFF:
            raise _CorruptPictureError("a JPEG segment does not begin with 0xFF")
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        if marker == 0xD9:
            raise _CorruptPictureError("its JPEG stream ends before the first scan")
        (length,) = struct.unpack_from(">H", data, position)
        if marker in _JPEG_FRAME_MARKERS:
            if size is not None:
                raise _CorruptPictureError("it has two JPEG frame headers")
            size = struct.unpack_from(">HH", data, position + 3)
        if marker == _JPEG_START_OF_SCAN:
            if size is None:
                raise _CorruptPictureError("it has no JPEG frame header")
            return size, position + length
        position += length


def _jpeg_size(data: bytes) -> tuple[int, int]:
    return _jpeg_segments(data)[0]


def _check_jpeg(data: bytes) -> None:
    # Decoders fill the missing part of a cut-off JPEG with grey. Searching after the start of the
    # scan leaves out the end marker of an EXIF thumbnail; inside a scan 0xFF is always escaped.
    if data.find(_JPEG_END, _jpeg_segments(data)[1]) < 0:
        raise _CorruptPictureError("its JPEG end marker is missing")


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    # A negative height means that the rows are stored from top to bottom.
    return abs(height), width


def _check_bmp(data: bytes) -> None:
    height, width = _bmp_size(data)
    offset, header_bytes = struct.unpack_from("<II", data, 10)
    (bits,) = struct.unpack_from("<H", data, 24 if header_bytes == 12 else 28)
    compression = 0 if header_bytes == 12 else struct.unpack_from("<I", data, 30)[0]
    row_bytes = (width * bits + 31) // 32 * 4
    # Run-length coded files (compression 1, 2) have no fixed length; OpenCV refuses a cut-off one.
    if compression in (0, 3) and offset + row_bytes * height > len(data):
        raise _CorruptPictureError("its BMP pixels are cut off")


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise _CorruptPictureError("its first WebP chunk is unknown")
    return height, width


def _check_webp(data: bytes) -> None:
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    if riff_bytes + 8 > len(data):
        raise _CorruptPictureError("its WebP container is cut off")
