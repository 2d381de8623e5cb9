"""What preparation stores of a picture with a box, and the listings it writes."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.data.prepared import decode_once, prepare_once, read_content
from fer_keras.data.samples import DatasetInfo, Example, SourceContent, pixel_sha256


def _module(
    *examples: Example, channels: int = 3, listings: dict[str, tuple[str, ...]] | None = None
) -> SimpleNamespace:
    info = DatasetInfo(
        name="cropped",
        title="drawn",
        class_names=("neutral", "anger"),
        codes={},
        official_counts={},
        splits=("train",),
        licence="",
        citation="",
        how_to_get="",
        channels=channels,
    )
    content = SourceContent(info.class_names, {"train": examples}, listings=listings or {})
    return SimpleNamespace(
        __name__="fer_keras.data.datasets.cropped",
        INFO=info,
        read=lambda source: content,
        source_files=lambda source: (),
    )


def _picture(path: Path, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    image = np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)
    return cv2.imread(str(path))[..., ::-1]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_a_crop_keeps_the_pixels_of_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    expected = _picture(path)[4:15, 21:28]
    module = _module(Example(path, 1, "a", crop=(21, 4, 7, 11)))
    folder = prepare_once(module, tmp_path, tmp_path / "cache")
    images, facts = decode_once(folder, "train", (11, 7), 3, tmp_path / "cache")
    np.testing.assert_array_equal(images[0], expected)
    assert facts["sha256"][0] == pixel_sha256(expected)


def test_arrays_and_grey_pictures_are_cropped_too(tmp_path: Path) -> None:
    pixels = np.arange(600, dtype=np.uint16).astype(np.uint8).reshape(20, 30, 1)
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), pixels)
    module = _module(
        Example(pixels, 0, "array", crop=(21, 4, 7, 11)),
        Example(path, 0, "file", crop=(21, 4, 7, 11)),
        channels=1,
    )
    folder = prepare_once(module, tmp_path, tmp_path / "cache")
    images, _ = decode_once(folder, "train", (11, 7), 1, tmp_path / "cache")
    np.testing.assert_array_equal(images[0], pixels[4:15, 21:28])
    np.testing.assert_array_equal(images[1], pixels[4:15, 21:28])


@pytest.mark.parametrize(
    ("crop", "rows", "columns"),
    [
        ((-5, -3, 10, 10), slice(0, 7), slice(0, 5)),
        ((25, 12, 10, 10), slice(12, 20), slice(25, 30)),
        ((-10, -10, 100, 100), slice(0, 20), slice(0, 30)),
    ],
)
def test_a_box_is_clipped_to_the_picture(
    tmp_path: Path, crop: tuple[int, int, int, int], rows: slice, columns: slice
) -> None:
    expected = _picture(tmp_path / "a.png")[rows, columns]
    module = _module(Example(tmp_path / "a.png", 0, "a", crop=crop))
    folder = prepare_once(module, tmp_path, tmp_path / "cache")
    _, facts = decode_once(folder, "train", (4, 4), 3, tmp_path / "cache")
    assert facts["sha256"][0] == pixel_sha256(expected)


@pytest.mark.parametrize(
    "crop",
    [(30, 0, 5, 5), (0, 20, 5, 5), (-5, 0, 5, 5), (0, -9, 5, 5), (3, 3, 0, 5), (9, 9, 5, -2)],
)
def test_an_empty_box_names_the_picture(tmp_path: Path, crop: tuple[int, int, int, int]) -> None:
    path = tmp_path / "a.png"
    _picture(path)
    module = _module(Example(path, 0, "a", crop=crop))
    with pytest.raises(DataError, match=rf"picture of 30 x 20 pixels.*left {crop[0]}.*{path}"):
        prepare_once(module, tmp_path, tmp_path / "cache")
    assert list((tmp_path / "cache" / "prepared").iterdir()) == []


def test_a_crop_that_would_be_too_large_as_png_can_still_be_read(tmp_path: Path) -> None:
    # Noise of 2.9 megapixels: about 8.7 MB as PNG, more than is ever decoded, less as JPEG.
    path = tmp_path / "a.jpg"
    image = np.random.default_rng(0).integers(0, 256, (1450, 2000, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    module = _module(Example(path, 0, "a", crop=(0, 0, 2000, 1450)))
    folder = prepare_once(module, tmp_path, tmp_path / "cache")
    images, _ = decode_once(folder, "train", (32, 32), 3, tmp_path / "cache")
    assert images.shape == (1, 32, 32, 3)


def test_listings_stand_beside_the_prepared_data(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    module = _module(Example(pixels, 0, "a"), listings={"chosen": ("b/1.jpg", "ä.jpg"), "none": ()})
    folder = prepare_once(module, tmp_path, tmp_path / "cache")
    chosen, none = read_content(folder).listings
    assert chosen == folder.parent.parent / "chosen.txt"
    assert chosen.read_text("utf-8") == "b/1.jpg\nä.jpg\n"
    assert none.read_text() == ""


def test_a_cache_from_before_listings_is_still_read(tmp_path: Path) -> None:
    folder = tmp_path / "x-0" / "x" / "1.0.0"
    folder.mkdir(parents=True)
    text = '{"class_names": ["anger"], "counts": {"train": 1}, "notes": []}'
    (tmp_path / "x-0" / "content.json").write_text(text)
    assert read_content(folder).listings == ()
