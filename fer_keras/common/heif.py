"""HEIC and AVIF, the pictures of phones: their size and turn from the header, and decoding HEIC.

Source: ISO/IEC 14496-12 (boxes) and 23008-12 (HEIF: items and their properties). The header is read
by hand, as those of the other types are, so that no decoder runs before the limits are checked.
OpenCV decodes AVIF; HEIC needs the package pillow-heif.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.installed import is_installed

Pixels = NDArray[np.uint8]

_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIC_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)
# Pictures of phones have a dozen boxes on a level, thumbnails and tiles some hundreds.
_MAX_BOXES = 10_000


class HeifError(Exception):
    """What is wrong with the file, or with the installation."""


@dataclass(frozen=True)
class HeifHeader:
    """What the boxes say about the picture that a file shows first.

    Attributes:
        height: As stored, in pixels.
        width: As stored, in pixels.
        quarter_turns: By how many quarter turns to turn it counter-clockwise, 0 to 3.
        mirror_axis: After the turn: 0 exchanges top and bottom, 1 left and right, None neither.
    """

    height: int
    width: int
    quarter_turns: int = 0
    mirror_axis: int | None = None


def heif_kind(data: bytes) -> str | None:
    """`"AVIF"`, `"HEIC"`, or None for files of another type.

    Args:
        data: The file's first bytes, 64 or more where there are so many.
    """
    if data[4:8] != b"ftyp":
        return None
    (length,) = struct.unpack_from(">I", data, 0)
    names = data[8 : max(12, min(length, 256))]
    # Between the brand and the brands that it is compatible with stands a version.
    brands = {names[i : i + 4] for i in range(0, len(names) - 3, 4) if i != 4}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & _HEIC_BRANDS else None


def read_heif_header(data: bytes) -> HeifHeader:
    """Read the size and the turn of a file's first picture.

    Args:
        data: The whole file.

    Returns:
        What the boxes say.

    Raises:
        HeifError: It is cut off, or no HEIC or AVIF file.
    """
    try:
        top = {kind: (start, end) for kind, start, end in _boxes(data, 0, len(data))}
        meta = dict(_parts(data, top[b"meta"], 4))
        properties = dict(_parts(data, meta[b"iprp"], 0))
        version = data[meta[b"pitm"][0]]
        primary = struct.unpack_from(">I" if version else ">H", data, meta[b"pitm"][0] + 4)[0]
        owned = list(_boxes(data, *properties[b"ipco"]))
        wanted = [owned[index - 1] for index in _associated(data, properties[b"ipma"], primary)]
        found = {kind: start for kind, start, _ in wanted}
        width, height = struct.unpack_from(">II", data, found[b"ispe"] + 4)
        turns = data[found[b"irot"]] & 3 if b"irot" in found else 0
        axis = data[found[b"imir"]] & 1 if b"imir" in found else None
    except (KeyError, IndexError, struct.error) as error:
        raise HeifError("its boxes do not describe a picture") from error
    return HeifHeader(height, width, turns, axis)


def turned_as_header_says(pixels: Pixels, header: HeifHeader) -> Pixels:
    """Turn and mirror decoded pixels; OpenCV leaves that to others.

    Args:
        pixels: `(height, width, channels)` as stored.
        header: Of the file.

    Returns:
        The picture as it is to be shown.
    """
    turned = np.rot90(pixels, header.quarter_turns)
    if header.mirror_axis is not None:
        turned = np.flip(turned, axis=header.mirror_axis)
    return np.ascontiguousarray(turned)


def decode_heic(data: bytes) -> Pixels:
    """Decode a HEIC picture.

    Args:
        data: The whole file; its size was checked.

    Returns:
        uint8 RGB `(height, width, 3)`, turned as the file says.

    Raises:
        HeifError: pillow-heif is not installed, or the file is damaged.
    """
    if not is_installed("pillow_heif"):
        raise HeifError(
            "HEIC pictures need pillow-heif, not installed here. Install with: pip install "
            "'fer_keras[heif]', or save it as JPEG"
        )
    import pillow_heif

    try:
        picture = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
        pixels = np.asarray(picture)
    # The library has no error class of its own.
    except (ValueError, RuntimeError, EOFError, SyntaxError, OSError) as error:
        raise HeifError(f"it cannot be decoded ({error})") from error
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    if pixels.dtype != np.uint8 or pixels.shape[2] not in (3, 4):
        raise HeifError(f"expected 8-bit colours, it has {pixels.dtype} {pixels.shape}")
    return np.ascontiguousarray(pixels[:, :, :3])


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte of the content and the byte after it, of the boxes in a range."""
    for _ in range(_MAX_BOXES):
        if start >= end:
            return
        length, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        elif length == 0:
            length = end - start
        if length < head or start + length > end:
            raise HeifError("it ends inside a box")
        yield kind, start + head, start + length
        start += length
    raise HeifError(f"it has more than {_MAX_BOXES} boxes on a level")


def _parts(
    data: bytes, box: tuple[int, int], skipped: int
) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Kind -> range of the boxes in a box, after its version and flags."""
    for kind, start, end in _boxes(data, box[0] + skipped, box[1]):
        yield kind, (start, end)


def _associated(data: bytes, box: tuple[int, int], item: int) -> list[int]:
    """Numbers, from 1, of the properties that belong to an item."""
    start, end = box
    version, wide = data[start], data[start + 3] & 1
    (count,) = struct.unpack_from(">I", data, start + 4)
    position = start + 8
    for _ in range(count):
        if position >= end:
            break
        (number,) = struct.unpack_from(">I" if version else ">H", data, position)
        position += 4 if version else 2
        entries = data[position]
        position += 1
        step = 2 if wide else 1
        numbers = [
            struct.unpack_from(">H", data, at)[0] & 0x7FFF if wide else data[at] & 0x7F
            for at in range(position, position + entries * step, step)
        ]
        if number == item:
            # 0 stands for none.
            return [number for number in numbers if number]
        position += entries * step
    raise HeifError("its first picture has no properties")
