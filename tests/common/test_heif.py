"""HEIC and AVIF: right colours, upright, within the limits, and clear words where not."""

import io
import struct
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_keras.common import decode, heif
from fer_keras.common.errors import DataError

pillow = pytest.importorskip("PIL.Image")


def corners() -> np.ndarray:
    """A red corner on the upper left, a green one on the lower right."""
    picture = np.full((64, 96, 3), 20, np.uint8)
    picture[:24, :36] = (250, 10, 10)
    picture[-24:, -36:] = (10, 250, 10)
    return picture


def encoded(kind: str, orientation: int = 1, picture: np.ndarray | None = None) -> bytes:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = pillow.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    image = pillow.fromarray(corners() if picture is None else picture)
    image.save(stream, kind, exif=exif, quality=95)
    return stream.getvalue()


def read(data: bytes) -> np.ndarray:
    return decode.decode_image(data, channels=3, source="photo")


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_colours_and_size(kind: str) -> None:
    data = encoded(kind)
    assert decode.image_size(data, source="x") == (64, 96)
    assert decode.is_picture(data[:64])
    assert np.abs(read(data).astype(int) - corners()).mean() < 4
    assert decode.decode_image(data, channels=1, source="x").shape == (64, 96, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_and_mirrored_as_its_boxes_say(orientation: int) -> None:
    """Pillow writes the orientation as boxes; a JPEG with the same one is the expected picture."""
    stream = io.BytesIO()
    exif = pillow.Exif()
    exif[0x0112] = orientation
    pillow.fromarray(corners()).save(stream, "JPEG", exif=exif, quality=95)
    expected = read(stream.getvalue())
    received = read(encoded("AVIF", orientation))
    assert received.shape == expected.shape
    assert np.abs(received.astype(int) - expected).mean() < 6


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_the_limit_of_pixels_holds_before_a_decoder_runs(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(encoded(kind))
    place = data.index(b"ispe") + 8
    data[place : place + 8] = struct.pack(">II", 20000, 20000)
    monkeypatch.setattr(decode, "decode_heic", None)
    monkeypatch.setattr(cv2, "imdecode", None)
    start = time.perf_counter()
    with pytest.raises(DataError, match=r"at most 64000000 pixels.*20000 x 20000.*photo"):
        read(bytes(data))
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_every_cut_is_noticed(kind: str) -> None:
    data = encoded(kind)
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        with pytest.raises(DataError, match="photo"):
            read(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_random_damage_never_ends_in_another_error(kind: str) -> None:
    data = encoded(kind)
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = np.frombuffer(data, np.uint8).copy()
        where = generator.integers(12, len(damaged), 8)
        damaged[where] = generator.integers(0, 256, 8)
        try:
            decoded = read(damaged.tobytes())
        except DataError:
            continue
        assert decoded.size <= 3 * decode.MAX_PHOTO_PIXELS


def test_without_pillow_heif_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(encoded("HEIF"))
    monkeypatch.setattr(heif, "is_installed", lambda package: False)
    with pytest.raises(DataError, match=r"pillow-heif.*fer_keras\[heif\].*IMG_1\.HEIC"):
        decode.read_image(path)


def test_opencv_without_avif_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: None)
    with pytest.raises(DataError, match="corrupt picture, it cannot be decoded"):
        read(encoded("AVIF"))
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  Media I/O:\n    AVIF:     NO\n")
    with pytest.raises(DataError, match="built without AVIF"):
        read(encoded("AVIF"))


def test_wide_tables_of_large_files_are_read() -> None:
    """Item numbers of four bytes, property numbers of two: as files with many tiles have them."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", len(body) + 8, kind) + body

    size = box(b"ispe", struct.pack(">III", 0, 8064, 6048))
    tile = box(b"ispe", struct.pack(">III", 0, 512, 512))
    turn = box(b"irot", b"\x03")
    ipma = struct.pack(">II", 0x01000001, 2)
    ipma += struct.pack(">IBH", 7, 1, 0x8001) + struct.pack(">IBHH", 70_000, 2, 0x8002, 0x8003)
    parts = box(b"ipco", tile + size + turn) + box(b"ipma", ipma)
    meta = struct.pack(">I", 0) + box(b"pitm", struct.pack(">II", 0x01000000, 70_000))
    data = box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", meta + box(b"iprp", parts))
    assert heif.read_heif_header(data) == heif.HeifHeader(6048, 8064, 3, None)


@pytest.mark.parametrize("data", [b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", b"", b"\0\0\0\x10ftyp"])
def test_films_are_no_pictures(data: bytes) -> None:
    assert heif.heif_kind(data) is None
    assert not decode.is_picture(data)


def test_predict_reads_them_in_folders(tmp_path: Path, capsys: Any) -> None:
    from fer_keras import predict

    for name, kind in (("a.heic", "HEIF"), ("b.AVIF", "AVIF")):
        (tmp_path / name).write_bytes(encoded(kind))
    assert predict.main([str(tmp_path), "--detector", "none"]) == 0
    assert "2 faces in 2 pictures" in capsys.readouterr().err
