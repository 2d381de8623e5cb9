"""A release of AffectNet written as ESR's folders, and read again."""

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_keras.common.decode import read_image
from fer_keras.common.errors import DataError
from fer_keras.data import esr_folders
from fer_keras.data.__main__ import main
from fer_keras.data.esr_folders import write_esr_folders
from fer_keras.data.load import load_samples

# Expression code, valence and arousal as the lists write them, and as the names do.
TRAIN = (
    (7, "-0.653", "0.653", "7_-653_653"),
    (0, "0", "-0.0199", "0_0_-20"),
    (8, "-2", "-2", None),
    (3, "-2", "-2", "3_-2000_-2000"),
)
VALIDATION = ((4, "-0.5", "1", "4_-500_1000"),)
# A red face in a blue picture; with rows and columns exchanged the box would show blue.
BOX = (30, 4, 20, 16)


def _release(root: Path) -> Path:
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[..., 0] = 255
    left, top, width, height = BOX
    picture[top : top + height, left : left + width] = (0, 0, 255)
    header = [
        "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height",
        "facial_landmarks", "expression", "valence", "arousal",
    ]  # fmt: skip
    for name, rows in (("training.csv", TRAIN), ("validation.csv", VALIDATION)):
        lines: list[list[Any]] = [header]
        for i, (code, valence, arousal, _) in enumerate(rows):
            place = f"1/{name[0]}{i}.png"
            path = root / "Manually_Annotated_Images" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture)
            lines.append([place, *BOX, "0;0", code, valence, arousal])
        with (root / name).open("w", newline="") as stream:
            csv.writer(stream).writerows(lines)
    return root


@pytest.mark.parametrize("size", [96, 224])
def test_release_becomes_folders(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(esr_folders, "PORTION", 2)
    source, target = _release(tmp_path / "release"), tmp_path / "affectnet_esr"
    words = ["prepare", "affectnet", "--source", str(source), "--layout", "esr"]
    assert main([*words, "--size", str(size), "--output", str(target)]) == 0
    names = [path.relative_to(target).as_posix() for path in sorted(target.rglob("*.jpg"))]
    assert names == [
        "Training_Labeled/0/0000000_7_-653_653.jpg",
        "Training_Labeled/0/0000001_0_0_-20.jpg",
        "Training_Labeled/1/0000002_3_-2000_-2000.jpg",
        "Validation/0/0000000_4_-500_1000.jpg",
    ]
    options = {"source": target, "cache_dir": tmp_path / "cache", "image_size": size}
    train = load_samples("affectnet_esr", "train", channels=3, **options)  # type: ignore[arg-type]
    assert [train.class_names[i] for i in train.labels] == ["contempt", "neutral", "surprise"]
    assert train.facts["valence"][:2] == pytest.approx([-0.653, 0])
    assert np.isnan(train.facts["arousal"][2])
    assert train.images.shape[1:3] == (size, size)
    # Red through JPEG, to the edge: it is the face's box.
    assert (np.abs(train.images.astype(int) - [255, 0, 0]) < 12).all()
    assert read_image(target / names[0]).shape == (size, size, 3)


def test_nothing_is_replaced_and_nothing_half_is_left(tmp_path: Path) -> None:
    source, target = _release(tmp_path / "release"), tmp_path / "out" / "esr"
    (target / "mine").mkdir(parents=True)
    with pytest.raises(DataError, match="--output: expected a new or empty folder"):
        write_esr_folders(source, target, 96)
    (target / "mine").rmdir()
    (source / "Manually_Annotated_Images" / "1" / "v0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"v0\.png"):
        write_esr_folders(source, target, 96)
    assert list(target.parent.iterdir()) == [target]
    assert not any(target.iterdir())


@pytest.mark.parametrize(
    "words", [["ferplus", "--layout", "esr", "--output", "x"], ["affectnet", "--output", "x"]]
)
def test_layout_is_of_affectnet_alone(words: list[str]) -> None:
    with pytest.raises(DataError, match="--layout: expected `prepare affectnet --layout esr"):
        main(["prepare", *words])
