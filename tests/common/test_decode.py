"""Pictures in: types, limits read from the header, orientation, damage."""

import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_keras.common import decode
from fer_keras.common.errors import DataError


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    """RGB gradients that differ per channel, so that a swapped channel or axis shows."""
    rows, columns = np.mgrid[0:height, 0:width]
    red = rows * 255 // height
    green = columns * 255 // width
    return np.stack([red, green, np.full_like(red, 30)], axis=-1).astype(np.uint8)


def encode(image: np.ndarray, suffix: str) -> bytes:
    parameters = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), parameters)
    assert done
    return data.tobytes()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int) -> bytes:
    """A small PNG file of one colour and any size."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".jpg"])
@pytest.mark.parametrize("size", [(40, 60), (1, 1), (33, 7)])
def test_decodes_rgb(suffix: str, size: tuple[int, int]) -> None:
    image = picture(*size)
    decoded = decode.decode_image(encode(image, suffix), channels=3, source="x")
    assert decoded.dtype == np.uint8
    assert decoded.shape == (*size, 3)
    # JPEG halves the resolution of the colours.
    tolerance = 20 if suffix == ".jpg" else 0
    assert np.abs(decoded.astype(int) - image).max() <= tolerance


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp"])
def test_grey_is_the_same_for_every_type(suffix: str) -> None:
    image = picture()
    grey = decode.decode_image(encode(image, suffix), channels=1, source="x")
    assert grey.shape == (40, 60, 1)
    weighted = image @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[:, :, 0] - weighted).max() <= 0.6


def test_grey_file_keeps_its_values() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = cv2.imencode(".png", image)[1].tobytes()
    assert (decode.decode_image(data, channels=1, source="x")[:, :, 0] == image).all()
    assert (decode.decode_image(data, channels=3, source="x") == image[:, :, None]).all()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_is_applied(orientation: int) -> None:
    jpeg = cv2.imencode(".jpg", picture()[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
    expected = np.rot90(picture(), turns)
    decoded = decode.decode_image(with_orientation(jpeg, orientation), channels=3, source="x")
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).max() <= 12


def test_huge_png_is_refused_by_its_header() -> None:
    data = png_of(20000, 20000)
    assert len(data) < 1_000_000
    start = time.perf_counter()
    with pytest.raises(DataError, match=r"20000 x 20000.*big\.png"):
        decode.decode_image(data, channels=3, source="big.png")
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_pixel_limit_reads_every_header(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(picture(40, 60), suffix)
    assert decode.image_size(data, source="x") == (40, 60)
    monkeypatch.setattr(decode, "MAX_PHOTO_PIXELS" if suffix == ".jpg" else "MAX_PIXELS", 2399)
    with pytest.raises(DataError, match="60 x 40 = 2400"):
        decode.image_size(data, source="x")


def test_photos_of_phones_are_read() -> None:
    data = encode(np.zeros((4284, 5712, 3), np.uint8), ".jpg")
    # A motion photo: the film stands behind the picture.
    motion = data + bytes(9_000_000)
    assert decode.decode_image(motion, channels=3, source="x").shape == (4284, 5712, 3)


def test_a_huge_jpeg_is_refused_by_its_header() -> None:
    data = bytearray(encode(picture(), ".jpg"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(DataError, match="expected at most 64000000 pixels"):
        decode.decode_image(bytes(data), channels=3, source="x")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_every_cut_is_noticed(suffix: str) -> None:
    data = encode(picture(), suffix)
    for share in (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        with pytest.raises(DataError, match=r"cut\.file"):
            decode.decode_image(data[: int(len(data) * share)], channels=3, source="cut.file")


def test_cut_jpeg_with_a_thumbnail_is_noticed() -> None:
    jpeg = encode(picture(), ".jpg")
    thumbnail = encode(picture(8, 8), ".jpg")
    data = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + jpeg[2:]
    assert decode.decode_image(data, channels=3, source="x").shape == (40, 60, 3)
    with pytest.raises(DataError, match="end marker"):
        decode.decode_image(data[:-20], channels=3, source="x")


def test_flipped_bits_of_a_png_are_noticed() -> None:
    data = bytearray(encode(picture(), ".png"))
    for position in range(16, len(data) - 12, 7):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        with pytest.raises(DataError, match="p"):
            decode.decode_image(bytes(damaged), channels=3, source="p")


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".webp"])
def test_random_damage_never_ends_in_another_error(suffix: str) -> None:
    data = encode(picture(), suffix)
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = np.frombuffer(data, np.uint8).copy()
        where = generator.integers(0, len(damaged), 10)
        damaged[where] = generator.integers(0, 256, 10)
        try:
            decoded = decode.decode_image(damaged.tobytes(), channels=3, source="x")
        except DataError:
            continue
        assert decoded.size <= 3 * decode.MAX_PHOTO_PIXELS


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(50), b"II*\0" + bytes(50), b"#!/bin/sh"])
def test_other_types_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="expected JPEG, PNG, BMP, WebP, AVIF or HEIC"):
        decode.decode_image(data, channels=3, source="x.png")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "bild ü.png"
    path.write_bytes(encode(picture(), ".png"))
    assert (decode.read_image(path) == picture()).all()
    assert decode.read_image(str(path), 1).shape == (40, 60, 1)
    with pytest.raises(DataError, match=r"missing\.png"):
        decode.read_image(tmp_path / "missing.png")
    with pytest.raises(DataError, match="expected a picture file"):
        decode.read_image(tmp_path)
    large = tmp_path / "large.jpg"
    with large.open("wb") as stream:
        stream.truncate(decode.MAX_BYTES + 1)
    with pytest.raises(DataError, match=rf"{decode.MAX_BYTES + 1}.*large\.jpg"):
        decode.read_image(large)


def test_endless_files_are_refused() -> None:
    with pytest.raises(DataError, match="expected a picture file"):
        decode.read_image("/dev/zero")


@pytest.mark.parametrize("shape", [(96, 96), (96, 96, 1), (96, 96, 3)])
@pytest.mark.parametrize("size", [48, (48, 64), 112, 96])
def test_resize_keeps_the_axes(shape: tuple[int, ...], size: int | tuple[int, int]) -> None:
    image = np.full(shape, 77, np.uint8)
    scaled = decode.resize(image, size)
    sides = (size, size) if isinstance(size, int) else size
    assert scaled.shape == (*sides, *shape[2:])
    assert (scaled == 77).all()


def test_resize_averages_when_it_shrinks() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 200
    assert (decode.resize(stripes, 16) == 100).all()
