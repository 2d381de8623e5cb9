from collections.abc import Callable
from pathlib import Path

import pytest
from drawn_trees import draw, write_ck48, write_ckplus

from fer_keras.common.errors import DataError
from fer_keras.data.datasets import ckplus, ckplus7
from fer_keras.data.datasets.ckplus_files import find_ckplus, read_raw, source_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_ckplus(tmp_path)


def test_frames_of_every_labelled_sequence(root: Path) -> None:
    frames, notes = read_raw(root, ckplus.INFO)
    assert [(frame.frame, frame.phase) for frame in frames if frame.sequence == "S005_001"] == [
        (1, "neutral"),
        (2, "between"),
        (3, "between"),
        (4, "peak"),
        (5, "peak"),
        (6, "peak"),
    ]
    assert [frame.position for frame in frames if frame.sequence == "S010_002"] == [
        0,
        0.25,
        0.5,
        0.75,
        1,
    ]
    # Of three frames the first is the neutral one, and never a peak as well.
    short = [frame for frame in frames if frame.sequence == "S999_018"]
    assert [frame.phase for frame in short] == ["neutral", "peak", "peak"]
    assert {frame.sequence: frame.emotion for frame in frames} == {
        "S005_001": "disgust",
        "S010_002": "surprise",
        "S010_004": "anger",
        "S011_001": "contempt",
        "S011_003": "fear",
        "S014_002": "sadness",
        "S999_018": "happiness",
    }
    assert notes == (
        "whole frames as recorded, not cut to the face",
        "1 sequences without emotion file left out",
    )


def test_where_it_is_found(tmp_path: Path) -> None:
    assert find_ckplus(tmp_path) is None
    repack = write_ck48(tmp_path / "ckplus" / "CK+48")
    for folder in (tmp_path, tmp_path / "ckplus", repack):
        assert find_ckplus(folder) == repack
    raw = write_ckplus(tmp_path / "ckplus")
    for folder in (tmp_path, raw):
        assert find_ckplus(folder) == raw
    assert find_ckplus(repack) == repack


def test_only_files_that_are_read_make_a_copy_stale(root: Path) -> None:
    trees = {path.relative_to(root).parts[0] for path in source_files(root)}
    assert trees == {"cohn-kanade-images", "Emotion"}


def _label(root: Path, subject: str, sequence: str, frame: int, text: str = "1.0e+00") -> None:
    folder = root / "Emotion" / subject / sequence
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{subject}_{sequence}_{frame:08}_emotion.txt").write_text(text)


def _unknown_code(root: Path) -> None:
    _label(root, "S005", "001", 6, "   8.0000000e+00\n")


def _fraction(root: Path) -> None:
    _label(root, "S005", "001", 6, "1.5")


def _two_numbers(root: Path) -> None:
    _label(root, "S005", "001", 6, "1.0 2.0")


def _label_without_sequence(root: Path) -> None:
    _label(root, "S006", "001", 9)


def _label_of_a_missing_frame(root: Path) -> None:
    (root / "cohn-kanade-images/S005/001/S005_001_00000006.png").unlink()


def _second_label(root: Path) -> None:
    _label(root, "S005", "001", 5)


def _label_of_another_sequence(root: Path) -> None:
    folder = root / "Emotion" / "S010" / "001"
    (folder / "S010_002_00000005_emotion.txt").write_text("7.0")


def _stray_subject(root: Path) -> None:
    draw(root / "cohn-kanade-images" / "stray" / "001" / "1.png", 0)


def _stray_sequence(root: Path) -> None:
    draw(root / "cohn-kanade-images" / "S005" / "cropped" / "1.png", 0)


def _stray_file(root: Path) -> None:
    (root / "Emotion" / "S005" / "readme.txt").write_text("x")


def _stray_frame(root: Path) -> None:
    draw(root / "cohn-kanade-images" / "S005" / "001" / "S010_001_00000001.png", 0)


def _single_frame(root: Path) -> None:
    for number in range(1, 6):
        (root / f"cohn-kanade-images/S005/001/S005_001_{number:08}.png").unlink()


def _no_emotions(root: Path) -> None:
    (root / "Emotion").rename(root / "Emotions")


def _no_images(root: Path) -> None:
    (root / "cohn-kanade-images").rename(root / "images")


def _nothing_labelled(root: Path) -> None:
    for path in (root / "Emotion").rglob("*.txt"):
        path.unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _unknown_code,
            r"S005_001_00000006_emotion\.txt: unknown emotion code '8\.0.*Known: .*7 s",
        ),
        (_fraction, r"S005_001_00000006_emotion\.txt: unknown emotion code '1\.5'"),
        (_two_numbers, r"S005_001_00000006_emotion\.txt: expected one number"),
        (
            _label_without_sequence,
            r"S006_001_00000009_emotion\.txt: its sequence is missing.*/S006",
        ),
        (_label_of_a_missing_frame, r"S005_001_00000006_emotion\.txt: the frame .* is missing"),
        (_second_label, r"Emotion/S005/001: expected one emotion file, found 2"),
        (
            _label_of_another_sequence,
            r"S010/001/S010_002_00000005_emotion\.txt: expected only S010",
        ),
        (_stray_subject, r"cohn-kanade-images/stray: expected only folders named"),
        (_stray_sequence, r"S005/cropped: expected only folders named"),
        (_stray_file, r"Emotion/S005/readme\.txt: expected only folders named"),
        (_stray_frame, r"S005/001/S010_001_00000001\.png: expected only S005_001_"),
        (_single_frame, r"cohn-kanade-images/S005/001: expected at least two frames, found 1"),
        (_no_emotions, r"Emotion: missing"),
        (_no_images, r"cohn-kanade-images: missing"),
        (_nothing_labelled, r"Emotion: expected emotion files\. Received: none"),
    ],
)
def test_a_wrong_raw_layout_is_refused_by_name(
    root: Path, change: Callable[[Path], None], message: str
) -> None:
    change(root)
    with pytest.raises(DataError, match=message):
        ckplus.read(root)


def test_a_code_that_the_classes_lack_is_refused(root: Path) -> None:
    _label(root, "S005", "001", 6, "0.0")
    with pytest.raises(DataError, match=r"unknown emotion code '0\.0'\. Known: 1 anger"):
        ckplus7.read(root)


def test_every_fault_is_listed_at_once(root: Path) -> None:
    _stray_subject(root)
    _unknown_code(root)
    _label_without_sequence(root)
    with pytest.raises(DataError, match=r"3 faults(.|\n)*stray(.|\n)*S005(.|\n)*S006"):
        ckplus.read(root)


def _numbered_class(root: Path) -> None:
    (root / "fear").rename(root / "4")


def _neutral(root: Path) -> None:
    draw(root / "neutral" / "S010_001_00000001.png", 0)


def _renamed_picture(root: Path) -> None:
    draw(root / "fear" / "1.png", 0)


def _sequence_in_two_classes(root: Path) -> None:
    draw(root / "fear" / "S010_001_00000014.png", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_numbered_class, r"4: not an emotion(.|\n)*no folder for fear"),
        (_neutral, r"neutral: not a class of this data set\. Known: anger"),
        (_renamed_picture, r"fear/1\.png: expected a name like S010_004_00000017\.png"),
        (_sequence_in_two_classes, r"fear/S010_001_00000014\.png: its sequence is also in anger"),
    ],
)
def test_a_wrong_repackaging_is_refused_by_name(
    tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    root = write_ck48(tmp_path)
    change(root)
    with pytest.raises(DataError, match=message):
        ckplus7.read(root)
