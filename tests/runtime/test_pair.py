"""Models that compare a face with a neutral face of the same person."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import (
    BRIGHT,
    DARK,
    LEFT,
    MIDDLE,
    SIDE,
    tflite,
    write_card,
    write_export,
    write_pair_export,
)

from fer_keras.common.errors import ConfigError, DataError, ModelFileError
from fer_keras.runtime import Recognizer
from fer_keras.runtime.faces import Face

PICTURES = np.stack([BRIGHT, MIDDLE, DARK, LEFT])


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair_export(tmp_path_factory.mktemp("models") / "pair")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_answer_is_about_the_difference(export: Path, precision: Any) -> None:
    recognizer = Recognizer(export, detector="none", precision=precision)
    assert (recognizer.input_kind, recognizer.image_size) == ("pair", (SIDE, SIDE))
    recognizer.set_neutral(MIDDLE)
    expected = ["happiness", "neutral", "sadness", "surprise"]
    assert recognizer.predict(PICTURES).tolist() == expected
    assert [recognizer.recognize(p)[0]["dominant"] for p in PICTURES] == expected
    recognizer.set_neutral(BRIGHT)
    assert recognizer.predict(PICTURES[:3]).tolist() == ["neutral", "sadness", "sadness"]
    assert recognizer.predict_proba([]).shape == (0, 4)


def test_without_a_neutral_face_it_is_refused(export: Path) -> None:
    recognizer = Recognizer(export, detector="none")
    assert not recognizer.has_neutral()
    for read in (recognizer.recognize, lambda picture: recognizer.predict([picture])):
        with pytest.raises(ConfigError, match=r"none is known\. Call set_neutral\(pictures\)"):
            read(MIDDLE)
    recognizer.set_neutral(MIDDLE)
    assert recognizer.has_neutral()
    recognizer.clear_neutral()
    with pytest.raises(ConfigError, match="none is known"):
        recognizer.recognize(MIDDLE)


def test_every_track_has_its_own(export: Path) -> None:
    recognizer = Recognizer(export, detector="none")
    recognizer.set_neutral(DARK, track=1)
    recognizer.set_neutral(BRIGHT, track=2)
    faces = recognizer.detect(MIDDLE) * 2
    rows = recognizer.read_faces(MIDDLE, faces, [1, 2])
    assert recognizer.classes_[rows.argmax(axis=1)].tolist() == ["happiness", "sadness"]
    assert not recognizer.has_neutral(3)
    with pytest.raises(ConfigError, match="that of track 3 is unknown"):
        recognizer.read_faces(MIDDLE, faces, [1, 3])
    recognizer.set_neutral(MIDDLE)
    rows = recognizer.read_faces(MIDDLE, faces, [1, 3])
    assert recognizer.classes_[rows.argmax(axis=1)].tolist() == ["happiness", "neutral"]
    recognizer.clear_neutral(1)
    row = recognizer.read_faces(MIDDLE, faces[:1], [1])[0]
    assert recognizer.result(faces[0], row, track=1)["dominant"] == "neutral"
    with pytest.raises(ConfigError, match="expected one for each of 2 faces, received 1"):
        recognizer.read_faces(MIDDLE, faces, [1])


def test_several_pictures_are_averaged_after_cropping(export: Path, tmp_path: Path) -> None:
    recognizer = Recognizer(export, detector="none")
    recognizer.set_neutral(MIDDLE)
    expected = recognizer.predict_proba(PICTURES)
    one, other = np.full((SIDE, SIDE), 100, np.uint8), np.full((50, 70, 3), 156, np.uint8)
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), one)
    for pictures in ([one, other], [path, other], [path.read_bytes(), other], np.stack([MIDDLE])):
        recognizer.set_neutral(DARK)
        recognizer.set_neutral(pictures)
        np.testing.assert_array_equal(recognizer.predict_proba(PICTURES), expected)
    scene = np.full((80, 100), 250, np.uint8)
    scene[20:44, 10:34] = 128
    recognizer.set_neutral([scene], faces=[Face((10, 20, 24, 24), None, 1.0)])
    np.testing.assert_array_equal(recognizer.predict_proba(PICTURES), expected)


def test_what_is_no_neutral_face_is_refused(export: Path, tmp_path: Path) -> None:
    recognizer = Recognizer(export)
    with pytest.raises(DataError, match="no face found in picture 1 of 1"):
        recognizer.set_neutral(np.full((90, 90, 3), 90, np.uint8))
    for pictures, faces in (([], None), ([MIDDLE], []), (MIDDLE, [])):
        with pytest.raises(ConfigError, match="expected at least one picture"):
            recognizer.set_neutral(pictures, faces=faces)
    assert not recognizer.has_neutral()
    single = Recognizer(write_export(tmp_path))
    assert single.has_neutral()
    with pytest.raises(ConfigError, match="expected a pair model"):
        single.set_neutral(MIDDLE)


def test_nothing_is_written(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir(export))
    recognizer = Recognizer(export, detector="none")
    recognizer.set_neutral(MIDDLE)
    recognizer.recognize(BRIGHT)
    assert os.listdir(tmp_path) == []
    assert sorted(os.listdir(export)) == before


def test_the_manifest_and_the_file_must_agree(tmp_path: Path) -> None:
    pair, single = tflite("pair"), tflite()
    with pytest.raises(ModelFileError, match=r"expected \['n', 24, 24, 1\].* 2, 24, 24, 1\]"):
        Recognizer(write_export(tmp_path / "a", float32=pair))
    with pytest.raises(ModelFileError, match=r"expected \['n', '2', 24, 24, 1\]"):
        Recognizer(write_export(tmp_path / "b", extra={"input_kind": "pair"}, float32=single))
    with pytest.raises(ModelFileError, match="image, pair or clip, received 'film'"):
        Recognizer(write_export(tmp_path / "c", extra={"input_kind": "film"}, float32=single))
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "model.tflite").write_bytes(pair)
    write_card(bare / "model.tflite")
    with pytest.raises(ModelFileError, match="the card says float32"):
        Recognizer(bare / "model.tflite")
