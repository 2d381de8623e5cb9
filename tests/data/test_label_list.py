"""Training labels of a published list, `train_00001.jpg 5`."""

from pathlib import Path

import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.data.label_noise import with_label_list
from fer_keras.data.samples import Samples, one_hot

NAMES = ("neutral", "happiness", "anger")
CODES = {1: "happiness", 2: "anger", 7: "neutral"}


def _samples() -> Samples:
    facts = {
        "source": np.array([f"Image/aligned/train_0000{i}_aligned.jpg" for i in range(4)]),
        "sha256": np.array(list("abcd")),
        "subject": np.array([""] * 4),
    }
    images = np.zeros((4, 8, 8, 1), np.uint8)
    return Samples(
        "rafdb", "train", NAMES, "hard", images, one_hot(np.array([0, 1, 2, 1]), 3), facts
    )


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


LIST = "train_00003.jpg 1\ntrain_00000.jpg 2\ntrain_00002.jpg 2\r\ntrain_00001.jpg 7\n\n"


def test_labels_come_from_the_list_by_name(tmp_path: Path) -> None:
    # Pictures of other splits may be listed too.
    path = _write(tmp_path / "noise.txt", LIST + "test_0001.jpg 1\n")
    noisy = with_label_list(_samples(), path, CODES)
    assert [NAMES[i] for i in noisy.labels] == ["anger", "neutral", "anger", "happiness"]
    assert noisy.facts["clean_label"].tolist() == [0, 1, 2, 1]
    assert noisy.notes[-1] == "2 of 4 training labels are wrong"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            LIST.replace("train_00000.jpg 2\n", ""),
            r"1 of 4 .* the first is train_00000",
        ),
        (LIST.replace("jpg 7", "jpg 4"), r"line 4: .* codes 1, 2, 7; received 'train_00001.jpg 4'"),
        (LIST + "train_00001.jpg 1\n", "line 6: .* listed twice"),
        ("5\n", "line 1: "),
    ],
)
def test_list_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        with_label_list(_samples(), _write(tmp_path / "noise.txt", text), CODES)


def test_missing_list_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.label_list: the list cannot be read"):
        with_label_list(_samples(), tmp_path / "none.txt", CODES)
