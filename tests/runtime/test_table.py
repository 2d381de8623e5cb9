"""Many pictures as a pandas table."""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import BRIGHT, CLASS_NAMES, DARK, write_export

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.runtime import Recognizer
from fer_keras.runtime.faces import Face


class ByBrightness:
    """Two faces in bright pictures, none in dark ones."""

    name = "by_brightness"
    margin: float | None = 0.0
    has_landmarks = False

    def detect(self, picture: Any) -> list[Face]:
        if picture.mean() < 100:
            return []
        return [Face((0, 0, 24, 24), None, 0.9), Face((2, 3, 10, 12), None, 0.8)]


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return Recognizer(write_export(tmp_path_factory.mktemp("models")), detector=ByBrightness())


def test_one_row_per_face_and_one_for_none(recognizer: Recognizer, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "dark.png"
    cv2.imwrite(str(path), DARK)
    table = recognizer.recognize_many([BRIGHT, path])
    assert isinstance(table, pandas.DataFrame)
    assert table.columns.tolist() == [
        "picture", "path", "face", "x", "y", "width", "height", "dominant", "score", "unsure",
        "label_set", *CLASS_NAMES, "yaw", "pitch", "roll", "quality",
        "valence", "arousal",
    ]  # fmt: skip
    assert table["picture"].tolist() == [0, 0, 1]
    assert table["path"].tolist()[2] == str(path)
    assert table["face"].tolist()[:2] == [0, 1]
    first, second, empty = table.to_dict("records")
    assert (first["dominant"], first["label_set"], first["unsure"]) == (
        "happiness", "happiness", False,
    )  # fmt: skip
    assert [second[key] for key in ("x", "y", "width", "height", "score")] == [2, 3, 10, 12, 0.8]
    np.testing.assert_allclose(table[list(CLASS_NAMES)].iloc[:2].sum(axis=1), 1, atol=1e-5)
    assert all(pandas.isna(empty[key]) for key in table.columns[2:])


def test_no_pictures_and_wrong_ones(recognizer: Recognizer) -> None:
    assert len(recognizer.recognize_many([])) == 0
    assert recognizer.recognize_many(np.stack([BRIGHT] * 3))["picture"].max() == 2
    with pytest.raises(DataError, match="received one"):
        recognizer.recognize_many("face.png")
    with pytest.raises(DataError, match=r"missing\.png"):
        recognizer.recognize_many(["missing.png"])


def test_without_pandas_the_message_says_what_to_do(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas, or use recognize"):
        recognizer.recognize_many([BRIGHT])
