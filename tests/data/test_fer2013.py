import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.config import DatasetConfig
from fer_keras.data.datasets.fer2013 import INFO, find, read
from fer_keras.data.load import describe, is_available, load_samples, prepare
from fer_keras.data.splits import load_splits

USAGES = ("Training", "Training", "Training", "PublicTest", "PublicTest", "PrivateTest")
CODES = (0, 3, 6, 1, 3, 5)


def _pixels(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (48, 48), dtype=np.uint8)


def _text(pixels: np.ndarray) -> str:
    return " ".join(str(value) for value in pixels.ravel())


def _csv(usages: tuple[str, ...] = USAGES) -> str:
    rows = [f"{CODES[row]},{_text(_pixels(row))},{usage}\n" for row, usage in enumerate(usages)]
    return "emotion,pixels,Usage\n" + "".join(rows)


def _challenge_csv() -> str:
    rows = [f"{CODES[row]}, {usage}, {_text(_pixels(row))}\n" for row, usage in enumerate(USAGES)]
    return "emotion, Usage, pixels\n" + "".join(rows)


def _write_plain(folder: Path) -> None:
    (folder / "fer2013.csv").write_text(_csv())


def _write_challenge(folder: Path) -> None:
    (folder / "icml_face_data.csv").write_text(_challenge_csv())


def _write_windows(folder: Path) -> None:
    (folder / "fer2013.csv").write_bytes(("\ufeff" + _csv()).replace("\n", "\r\n").encode())


def _write_gz(folder: Path) -> None:
    (folder / "fer2013.csv.gz").write_bytes(gzip.compress(_csv().encode()))


def _write_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "fer2013.zip", "w") as archive:
        archive.writestr("fer2013/fer2013.csv", _csv())
        archive.writestr("__MACOSX/fer2013/fer2013.csv", "attributes")
        archive.writestr("fer2013/README", "hello")


def _write_tar(folder: Path) -> None:
    with tarfile.open(folder / "fer2013.tar.gz", "w:gz") as archive:
        for name, text in (("fer2013/fer2013.csv", _csv()), ("fer2013/fer2013.bib", "@misc")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


def _write_kaggle(folder: Path) -> None:
    _write_zip(folder)
    (folder / "fer2013.zip").rename(folder / "archive.zip")


def _write_blank_lines(folder: Path) -> None:
    (folder / "fer2013.csv").write_text(_csv() + "\n\n")


@pytest.mark.parametrize(
    "write",
    [
        _write_plain,
        _write_challenge,
        _write_windows,
        _write_gz,
        _write_zip,
        _write_tar,
        _write_kaggle,
        _write_blank_lines,
    ],
)
def test_every_layout_gives_the_same_rows(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    source = find(tmp_path)
    assert source is not None
    content = read(source)
    assert content.class_names == INFO.class_names
    assert content.notes == ()
    examples = {split: list(found) for split, found in content.splits.items()}
    assert {split: len(found) for split, found in examples.items()} == {
        "train": 3,
        "validation": 2,
        "test": 1,
    }
    rows = [example for found in examples.values() for example in found]
    assert [example.label for example in rows] == list(CODES)
    for row, example in enumerate(rows):
        np.testing.assert_array_equal(example.image, _pixels(row)[..., None])
    assert len({example.source for example in rows}) == 6


def test_prepared_samples(tmp_path: Path) -> None:
    _write_plain(tmp_path)
    samples = load_samples("fer2013", "train", source=tmp_path, cache_dir=tmp_path / "cache")
    assert samples.images.dtype == np.uint8
    assert samples.images.shape == (3, 48, 48, 1)
    np.testing.assert_array_equal(samples.images[2, :, :, 0], _pixels(2))
    assert samples.targets.dtype == np.float32
    np.testing.assert_array_equal(samples.targets.sum(axis=1), 1)
    assert [samples.class_names[label] for label in samples.labels] == [
        "anger",
        "happiness",
        "neutral",
    ]
    assert samples.label_rule == "hard"
    assert samples.facts["source"][1] == "fer2013.csv#1"


def test_a_copy_without_private_rows_says_so(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text(_csv(USAGES[:5]))
    options = {"source": tmp_path, "cache_dir": tmp_path / "cache"}
    samples = load_samples("fer2013", "validation", **options)
    assert samples.notes == ("no PrivateTest rows in this copy (fer2013.csv)",)
    with pytest.raises(DataError, match=r"no test split here \(no PrivateTest rows"):
        load_samples("fer2013", "test", **options)


def _with_row(row: str) -> str:
    return _csv() + row + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("emotion,pixels\n", r"expected a header with the columns emotion, pixels, usage.*emotion"),
        ("", "Received: nothing"),
        ("emotion,pixels,Usage\n", "expected image rows"),
        (_with_row("9," + "0 " * 2304 + ",Training"), r"row 7: expected an emotion code.*'9'"),
        (_with_row("x," + "0 " * 2304 + ",Training"), r"row 7: expected an emotion code.*'x'"),
        (_with_row("0," + "0 " * 2303 + ",Training"), r"row 7: expected 2304 pixels.*2303"),
        (_with_row("0,,Training"), r"row 7: expected 2304 pixels.*Received: 0"),
        (_with_row("0," + "0 " * 2303 + "300,Training"), r"row 7: expected pixels 0\.\.255.*300"),
        (_with_row("0," + "0 " * 2303 + "-1,Training"), r"row 7: expected pixels 0\.\.255.*-1"),
        (_with_row("0," + "0 " * 2303 + "1.5,Training"), "row 7: expected 2304 whole numbers"),
        (_with_row("0," + "0 " * 2304 + ",Holdout"), r"row 7: expected Usage.*'Holdout'"),
        (_with_row("0," + "0 " * 1000), r"row 7: expected 3 columns.*Received: 2"),
        (_csv(("PublicTest",) * 2), "expected rows with Usage Training"),
    ],
)
def test_wrong_rows_are_refused_by_number(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("fer2013.csv.gz", gzip.compress(_csv().encode())[:-200]),
        ("fer2013.csv.gz", b"emotion,pixels,Usage"),
        ("fer2013.zip", b"PK\x03\x04 and no more"),
        ("fer2013.tar.gz", gzip.compress(b"not a tar file")),
        ("fer2013.csv", b"emotion,pixels,Usage\n\xff\xfe"),
    ],
    # Bytes of gzip hold the time, and make other names in every process that collects the tests.
    ids=["cut off", "no gzip", "no zip", "no tar", "no UTF-8"],
)
def test_damaged_files_are_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=str(tmp_path / name)):
        read(tmp_path / name)


def test_an_archive_with_two_tables_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "fer2013.zip", "w") as archive:
        archive.writestr("a/fer2013.csv", _csv())
        archive.writestr("b/fer2013.csv", _csv())
    with pytest.raises(DataError, match=r"expected one fer2013\.csv.*Received: 2"):
        read(tmp_path / "fer2013.zip")


def test_missing_files_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_available("fer2013")
    with pytest.raises(DataError, match=r"FER_KERAS_DATA names no data folder(.|\n)*kaggle"):
        prepare("fer2013")
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"Looked in {tmp_path / 'fer2013'}(.|\n)*archive.zip"):
        prepare("fer2013")
    # Kaggle calls every download so.
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as other:
        other.writestr("train/angry/1.jpg", b"")
    assert not is_available("fer2013")
    (tmp_path / "fer2013").mkdir()
    _write_plain(tmp_path / "fer2013")
    assert is_available("fer2013")


def test_info() -> None:
    info = describe("fer2013")
    assert info.codes[3] == "happiness"
    assert info.codes[6] == "neutral"
    # Class totals of the challenge report, codes 0..6.
    totals = [
        sum(split[name] for split in info.official_counts.values()) for name in info.class_names
    ]
    assert totals == [4953, 547, 5121, 8989, 6077, 4002, 6198]


@pytest.mark.real_data
def test_official_counts(real_data: Path) -> None:
    source = find(real_data)
    assert source is not None
    content = read(source)
    for split in ("train", "validation"):
        labels = [example.label for example in content.splits[split]]
        counts = dict(zip(INFO.class_names, np.bincount(labels).tolist(), strict=True))
        assert counts == INFO.official_counts[split]


def test_a_fusion_is_trained_on_half_of_the_held_out_pictures(tmp_path: Path) -> None:
    """Every held-out picture is there twice, and both are on one side."""
    usages = ("Training",) * 6 + ("PublicTest",) * 80
    rows = [
        f"{CODES[row // 2 % 6]},{_text(_pixels(row // 2))},{usage}\n"
        for row, usage in enumerate(usages)
    ]
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n" + "".join(rows))
    config = DatasetConfig("fer2013", source=str(tmp_path), split="held_out")
    train, validation, whole = load_splits(config, seed=0)
    assert len(train) + len(validation) == 80
    assert abs(len(train) - len(validation)) <= 12
    assert len(whole) == 6
    for part in (train, validation):
        _, counts = np.unique(part.facts["sha256"], return_counts=True)
        assert set(counts) == {2}
