from pathlib import Path

import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.common.labels import EMOTIONS
from fer_keras.data.__main__ import main
from fer_keras.data.datasets.ferplus import read
from fer_keras.data.load import describe, find_source, is_available, load_samples
from fer_keras.data.votes import targets_from_votes

_HEADER = (
    "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
)
_USAGES = ("Training", "Training", "Training", "PublicTest", "PrivateTest")
_VOTES = (
    "10,0,0,0,0,0,0,0,0,0",
    "0,6,0,4,0,0,0,0,0,0",
    "0,0,0,0,0,0,0,0,0,10",
    "5,0,0,5,0,0,0,0,0,0",
    "0,0,9,1,0,0,0,0,0,0",
)


def _write(folder: Path, usages: tuple[str, ...] = _USAGES, num_votes: int = 5) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = [f"0,{' '.join([str(10 * row)] * 2304)},{usage}\n" for row, usage in enumerate(usages)]
    (folder / "fer2013.csv").write_text("emotion,pixels,Usage\n" + "".join(pixels))
    # The third row has no image, as the rows without a face in the published file.
    names = [f"fer{row:07d}.png" if row != 2 else "" for row in range(5)]
    votes = [f"{_USAGES[row]},{names[row]},{_VOTES[row]}\n" for row in range(num_votes)]
    (folder / "fer2013new.csv").write_text(_HEADER + "".join(votes))
    return folder


def test_votes_and_pixels_are_joined_by_row(tmp_path: Path) -> None:
    folder = _write(tmp_path / "data")
    options = {"source": folder, "cache_dir": tmp_path / "cache"}
    train = load_samples("ferplus", "train", label_rule="crossentropy", **options)
    assert train.class_names == EMOTIONS
    assert train.label_rule == "crossentropy"
    np.testing.assert_allclose(train.targets[:, [0, 1, 3]], [[1, 0, 0], [0, 0.6, 0.4]])
    assert train.images[:, 0, 0, 0].tolist() == [0, 10]
    assert train.facts["source"].tolist() == ["fer0000000.png", "fer0000001.png"]
    np.testing.assert_array_equal(train.facts["votes"][1], [0, 6, 0, 4, 0, 0, 0, 0, 0, 0])
    assert train.notes == ("1 rows without an image name left out, as by the authors",)
    test = load_samples("ferplus", "test", **options)
    assert test.label_rule == "majority"
    assert test.class_counts()["surprise"] == 1


def test_the_rule_decides_which_images_stay(tmp_path: Path) -> None:
    folder = _write(tmp_path / "data")
    options = {"source": folder, "cache_dir": tmp_path / "cache"}
    assert len(load_samples("ferplus", "validation", **options)) == 0
    tied = load_samples("ferplus", "validation", label_rule="crossentropy", **options)
    np.testing.assert_allclose(tied.targets[0, [0, 3]], [0.5, 0.5])
    majority = load_samples("ferplus", "train", **options)
    hard = load_samples("ferplus", "train", label_rule="hard", **options)
    np.testing.assert_array_equal(majority.targets, hard.targets)
    assert majority.fingerprint != hard.fingerprint
    with pytest.raises(DataError, match=r"expected a label_rule of majority.*'soft'"):
        load_samples("ferplus", "train", label_rule="soft", **options)


@pytest.mark.parametrize(("num_pixels", "num_votes"), [(4, 4), (4, 5), (5, 4)])
def test_private_rows_may_be_missing_in_either_file(
    tmp_path: Path, num_pixels: int, num_votes: int
) -> None:
    folder = _write(tmp_path, _USAGES[:num_pixels], num_votes)
    content = read(folder / "fer2013new.csv")
    assert list(content.splits) == ["train", "validation"]
    assert "no PrivateTest rows" in content.notes[0]


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    folder = _write(tmp_path, ("Training", "PublicTest", *_USAGES[2:]))
    with pytest.raises(DataError, match="expected the same Usage in row 2"):
        read(folder / "fer2013new.csv")
    _write(tmp_path, _USAGES[:3])
    with pytest.raises(DataError, match=r"expected as many rows in both.*5 and 3"):
        read(folder / "fer2013new.csv")


def _write_many(folder: Path, shift: int) -> Path:
    """Happy and sad faces in turn; the votes of each row are those of a later one."""
    rows = [(row, "Training" if row < 120 else "PublicTest") for row in range(240)]
    pixels = (f"{3 + row % 2},{' '.join(['9'] * 2304)},{usage}\n" for row, usage in rows)
    (folder / "fer2013.csv").write_text("emotion,pixels,Usage\n" + "".join(pixels))
    votes = ("0,10,0,0,0,0,0,0,0,0", "0,0,0,10,0,0,0,0,0,0")
    lines = (f"{usage},fer{row:07d}.png,{votes[(row + shift) % 2]}\n" for row, usage in rows)
    (folder / "fer2013new.csv").write_text(_HEADER + "".join(lines))
    return folder / "fer2013new.csv"


def test_votes_in_another_order_inside_a_split_are_refused(tmp_path: Path) -> None:
    assert list(read(_write_many(tmp_path, 0)).splits) == ["train", "validation"]
    with pytest.raises(DataError, match=r"at least 40% of the rows of train\. Received: 0%"):
        read(_write_many(tmp_path, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Usage,neutral\n", "expected a header with the columns usage, image name, neutral"),
        (_HEADER, "expected rows after the header"),
        (_HEADER + "Training,a.png,1,2\n", r"row 1: expected 12 columns.*4"),
        (_HEADER + "Training,a.png,-1,0,0,0,0,0,0,0,0,0\n", "row 1: expected 10 vote counts"),
        (_HEADER + "Test,a.png,9,0,0,0,0,0,0,0,0,0\n", "row 1: expected Usage"),
    ],
)
def test_wrong_vote_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    folder = _write(tmp_path)
    (folder / "fer2013new.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read(folder / "fer2013new.csv")


def test_votes_and_pixels_in_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path))
    _write(tmp_path / "fer2013")
    (tmp_path / "ferplus").mkdir()
    votes = (tmp_path / "fer2013" / "fer2013new.csv").rename(
        tmp_path / "ferplus" / "fer2013new.csv"
    )
    assert find_source("ferplus") == votes
    (tmp_path / "fer2013" / "fer2013.csv").unlink()
    assert not is_available("ferplus")
    with pytest.raises(DataError, match="the FER2013 csv with the pixels is missing"):
        load_samples("ferplus", "train", source=votes)


# Counted over the published csv of microsoft/FERPlus.
@pytest.mark.real_data
def test_official_counts(real_data: Path) -> None:
    content = read(real_data / "fer2013" / "fer2013new.csv")
    assert content.notes[-1] == "158 rows without an image name left out, as by the authors"
    examples = {split: list(found) for split, found in content.splits.items()}
    for split, by_class in describe("ferplus").official_counts.items():
        if split in examples:
            labels = np.array([example.label for example in examples[split]])
            counts = np.bincount(labels[labels >= 0], minlength=8)
            assert dict(zip(EMOTIONS, counts.tolist(), strict=True)) == by_class
    for split, rule, expected in (
        ("train", "majority", 25060),
        ("validation", "majority", 3199),
        ("train", "crossentropy", 27956),
        ("validation", "probability", 3505),
        ("train", "multi_target", 27671),
        ("validation", "multi_target", 3472),
    ):
        votes = np.array([example.votes for example in examples[split]])
        assert len(targets_from_votes(votes, rule)[1]) == expected


def test_audit_says_which_votes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _write(tmp_path / "data")
    words = ["audit", "ferplus", "--source", str(folder), "--cache-dir", str(tmp_path / "cache")]
    assert main([*words, "--no-near"]) == 0
    assert f"Votes: {folder / 'fer2013new.csv'}\n" in capsys.readouterr().out
