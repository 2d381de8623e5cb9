from collections.abc import Callable
from pathlib import Path

import pytest
from drawn_trees import draw

from fer_keras.common.errors import DataError
from fer_keras.data.datasets.fer2013_folders import read
from fer_keras.data.load import describe, load_samples

FOLDERS = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "surprise": "surprise",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "fer2013_folders"
    for label, folder in enumerate(FOLDERS):
        draw(root / "train" / folder / f"Training_{label}.jpg", label)
        draw(root / "test" / folder / f"PrivateTest_{label}.jpg", 10 + label)
        draw(root / "test" / folder / f"PublicTest_{label}.jpg", 20 + label)
    return root


def test_labels_by_name(root: Path, tmp_path: Path) -> None:
    options = {"source": tmp_path, "cache_dir": tmp_path / "cache"}
    train = load_samples("fer2013_folders", "train", **options)
    test = load_samples("fer2013_folders", "test", **options)
    for samples, per_class in ((train, 1), (test, 2)):
        assert samples.class_counts() == dict.fromkeys(
            describe("fer2013_folders").class_names, per_class
        )
        for source, label in zip(samples.facts["source"].tolist(), samples.labels, strict=True):
            assert FOLDERS[source.split("/")[1]] == samples.class_names[label]
        assert samples.notes == (
            "test is PublicTest and PrivateTest mixed: its score cannot be compared with scores on "
            "either",
        )
    with pytest.raises(DataError, match="no validation split"):
        load_samples("fer2013_folders", "validation", **options)


def _add_validation(root: Path) -> None:
    draw(root / "val" / "angry" / "1.jpg", 0)


def _remove_test(root: Path) -> None:
    (root / "test").rename(root.parent / "gone")


def _add_contempt(root: Path) -> None:
    draw(root / "train" / "contempt" / "1.jpg", 0)


def _add_csv(root: Path) -> None:
    (root / "fer2013.csv").write_text("emotion,pixels,Usage\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_add_validation, r"val: expected only the folders train, test here"),
        (_remove_test, r"test: missing"),
        (_add_contempt, r"train/contempt: not a class of this data set\. Known: anger"),
        (_add_csv, r"fer2013\.csv: expected only the folders train, test here"),
    ],
)
def test_a_wrong_layout_is_refused_by_name(
    root: Path, change: Callable[[Path], None], message: str
) -> None:
    change(root)
    with pytest.raises(DataError, match=message):
        read(root)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "archive.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"archive\.zip: cannot be read as a folder"):
        read(tmp_path / "archive.zip")


def test_official_counts_add_up_to_those_of_fer2013() -> None:
    official = describe("fer2013").official_counts
    folders = describe("fer2013_folders").official_counts
    assert folders["train"] == official["train"]
    assert folders["test"] == {
        name: official["validation"][name] + official["test"][name] for name in official["test"]
    }
    assert sum(folders["test"].values()) == 7178
