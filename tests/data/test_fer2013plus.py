from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_trees import draw

from fer_keras.common.errors import DataError
from fer_keras.common.labels import EMOTIONS
from fer_keras.data.datasets.fer2013plus import read
from fer_keras.data.load import describe, is_available, load_samples

# Both spellings in which the class folders are found, and what they mean.
SPELLINGS = (
    {
        "angry": "anger",
        "contempt": "contempt",
        "disgust": "disgust",
        "fear": "fear",
        "happy": "happiness",
        "neutral": "neutral",
        "sad": "sadness",
        "surprise": "surprise",
    },
    {
        "anger": "anger",
        "contempt": "contempt",
        "disgust": "disgust",
        "fear": "fear",
        "happiness": "happiness",
        "neutral": "neutral",
        "sadness": "sadness",
        "surprise": "surprise",
    },
)


def _write(root: Path, folders: dict[str, str], splits: dict[str, int]) -> Path:
    for place, (split, count) in enumerate(splits.items()):
        for label, folder in enumerate(folders):
            for number in range(count):
                draw(root / split / folder / f"{number}.png", 1000 * place + 100 * label + number)
    return root


@pytest.mark.parametrize("folders", SPELLINGS)
@pytest.mark.parametrize("validation", ["validation", "val"])
def test_labels_by_name(tmp_path: Path, folders: dict[str, str], validation: str) -> None:
    root = _write(tmp_path, folders, {"train": 2, validation: 1, "test": 1})
    content = read(root)
    assert content.class_names == EMOTIONS
    names = {
        example.source: content.class_names[example.label]
        for examples in content.splits.values()
        for example in examples
    }
    assert names == {
        f"{split}/{folder}/{number}.png": name
        for folder, name in folders.items()
        for split, number in (("train", 0), ("train", 1), (validation, 0), ("test", 0))
    }
    assert len(content.notes) == 1
    assert "both sides of a split" in content.notes[0]


def test_a_missing_validation_split_is_cut_from_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "fer2013plus", SPELLINGS[0], {"train": 10, "test": 1})
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path))
    assert is_available("fer2013plus")
    splits = {
        split: load_samples("fer2013plus", split, cache_dir=tmp_path / "cache")
        for split in ("train", "validation", "test")
    }
    assert {split: len(samples) for split, samples in splits.items()} == {
        "train": 72,
        "validation": 8,
        "test": 8,
    }
    assert splits["validation"].class_counts() == dict.fromkeys(EMOTIONS, 1)
    assert splits["train"].images.shape == (72, 48, 48, 1)
    hashes = np.concatenate([samples.facts["sha256"] for samples in splits.values()])
    assert len(set(hashes.tolist())) == 88
    assert splits["train"].notes[1] == "validation: 10% of train, cut with seed 0"


def _remove_test(root: Path) -> None:
    (root / "test").rename(root.parent / "gone")


def _remove_class(root: Path) -> None:
    (root / "validation" / "contempt" / "0.png").unlink()
    (root / "validation" / "contempt").rmdir()


def _remove_class_everywhere(root: Path) -> None:
    for split in ("train", "validation", "test"):
        (root / split / "contempt").rename(root.parent / split)


def _add_folder(root: Path) -> None:
    (root / "train" / "unknown").mkdir()


def _add_second_spelling(root: Path) -> None:
    draw(root / "train" / "happiness" / "1.png", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_remove_test, r"1 faults(.|\n)*test: missing"),
        (_remove_class, r"1 faults(.|\n)*validation: no folder for contempt"),
        (_remove_class_everywhere, r"3 faults(.|\n)*train: no folder for contempt"),
        (_add_folder, r"train/unknown: not an emotion"),
        (_add_second_spelling, r"train/happy: a second folder for happiness"),
    ],
)
def test_a_wrong_layout_is_refused_by_name(
    tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    root = _write(tmp_path / "in", SPELLINGS[0], {"train": 1, "validation": 1, "test": 1})
    change(root)
    with pytest.raises(DataError, match=message):
        read(root)


def test_info() -> None:
    info = describe("fer2013plus")
    assert info.codes == SPELLINGS[0]
    assert info.official_counts == {}
