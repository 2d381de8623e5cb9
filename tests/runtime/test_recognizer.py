"""The recogniser: verified files, scikit-learn's manner, faces of a picture, no TensorFlow."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import (
    BRIGHT,
    CLASS_NAMES,
    DARK,
    LEFT,
    MIDDLE,
    SIDE,
    tflite,
    write_card,
    write_export,
)

from fer_keras.common.errors import ConfigError, DataError, ModelFileError
from fer_keras.loading.load import load_model
from fer_keras.runtime import Recognizer
from fer_keras.runtime import export_files as model_files
from fer_keras.runtime.faces import Face

PICTURES = np.stack([BRIGHT, MIDDLE, DARK, LEFT])
ANSWERS = ["happiness", "neutral", "sadness", "surprise"]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export folder with float32 and int8 models; tests leave it as it is."""
    return write_export(tmp_path_factory.mktemp("models") / "export")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """An export folder that a test may spoil."""
    return write_export(tmp_path / "copy")


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("precision", ["float32", "int8", None])
def test_predicts_arrays(export: Path, precision: Any) -> None:
    recognizer = Recognizer(export, precision=precision)
    assert recognizer.classes_.tolist() == list(CLASS_NAMES)
    assert (recognizer.image_size, recognizer.channels) == ((SIDE, SIDE), 1)
    probabilities = recognizer.predict_proba(PICTURES)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (4, 4)
    assert np.abs(probabilities.sum(axis=1) - 1).max() < 0.02
    assert recognizer.predict(PICTURES).tolist() == ANSWERS


def test_float32_probabilities_are_exact(export: Path) -> None:
    brightness = 250 / 255
    logits = np.array([0, 20 * brightness - 12, -6, 8 - 20 * brightness])
    expected = np.exp(logits) / np.exp(logits).sum()
    assert np.abs(Recognizer(export).predict_proba(BRIGHT[None])[0] - expected).max() < 1e-5


def test_int8_is_near_float32(export: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (20, SIDE, SIDE), np.uint8)
    exact = Recognizer(export).predict_proba(pictures)
    assert np.abs(Recognizer(export, precision="int8").predict_proba(pictures) - exact).max() < 0.1


def test_every_way_to_give_a_picture(export: Path, tmp_path: Path) -> None:
    recognizer = Recognizer(export)
    path = tmp_path / "left.png"
    colours = np.repeat(LEFT[:, :, None], 3, axis=2)
    cv2.imwrite(str(path), colours)
    pictures = [path, str(path), path.read_bytes(), LEFT, LEFT[:, :, None], colours]
    assert set(recognizer.predict(pictures)) == {"surprise"}
    assert np.ptp(recognizer.predict_proba(pictures), axis=0).max() == 0
    larger = cv2.resize(LEFT, (70, 50), interpolation=cv2.INTER_NEAREST)
    assert recognizer.predict([larger, larger[:, ::-1]]).tolist() == ["surprise", "neutral"]


def test_colour_order_is_rgb(tmp_path: Path) -> None:
    """Grey weights: red .299, blue .114; a BGR mix-up would swap the two answers."""
    recognizer = Recognizer(write_export(tmp_path, float32=tflite()))
    red, blue = np.zeros((2, 1, SIDE, SIDE, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 255
    bright_red, bright_blue = (recognizer.predict_proba(p)[0, 1] for p in (red, blue))
    assert bright_red > 5 * bright_blue


def test_colour_model_takes_grey_pictures(tmp_path: Path) -> None:
    recognizer = Recognizer(write_export(tmp_path, channels=3))
    assert recognizer.channels == 3
    assert recognizer.predict(PICTURES).tolist() == ANSWERS
    assert recognizer.predict(np.repeat(PICTURES[..., None], 3, axis=3)).tolist() == ANSWERS


def test_many_and_no_pictures(export: Path, tmp_path: Path) -> None:
    many = np.concatenate([PICTURES] * 19)[:75]
    alone = Recognizer(write_export(tmp_path, float32=tflite(batch_size=1)))
    recognizer = Recognizer(export)
    expected = (ANSWERS * 19)[:75]
    assert recognizer.predict(many).tolist() == expected
    assert recognizer.predict(many[:3]).tolist() == expected[:3]
    assert alone.predict(many).tolist() == expected
    assert recognizer.predict_proba([]).shape == (0, 4)
    assert recognizer.predict([]).shape == (0,)


@pytest.mark.parametrize(
    "images",
    [
        "face.png",
        b"bytes",
        BRIGHT,
        np.zeros((24, 24, 3), np.uint8),
        PICTURES.astype(np.float32),
        np.zeros((2, 24, 24, 2), np.uint8),
        [np.zeros((0, 24), np.uint8)],
        [3],
        [b"no picture"],
        ["missing.png"],
    ],
)
def test_other_input_is_refused(export: Path, images: Any) -> None:
    with pytest.raises(DataError):
        Recognizer(export).predict(images)


def test_recognize_whole_picture(export: Path) -> None:
    recognizer = Recognizer(export, detector="none")
    picture = np.repeat(cv2.resize(LEFT, (60, 40))[:, :, None], 3, axis=2)
    (face,) = recognizer.recognize(picture)
    assert face["box"] == (0.0, 0.0, 60.0, 40.0)
    assert face["landmarks"] is None
    assert face["dominant"] == "surprise"
    assert face["score"] == 1.0
    assert list(face["emotions"]) == list(CLASS_NAMES)
    assert sum(face["emotions"].values()) == pytest.approx(1, abs=1e-5)
    assert json.loads(json.dumps(face))["emotions"] == face["emotions"]


class TwoFaces:
    """Finds a bright and a dark face at known places."""

    name = "two"
    margin: float | None = 0.0

    def detect(self, picture: Any) -> list[Face]:
        landmarks = np.full((5, 2), 30, np.float32)
        return [Face((10, 20, 30, 30), landmarks, 0.9), Face((70, 20, 20, 20), None, 0.8)]


def test_recognize_crops_each_face(export: Path) -> None:
    picture = np.full((80, 100), 128, np.uint8)
    picture[20:50, 10:40] = 255
    picture[20:40, 70:90] = 0
    first, second = Recognizer(export, detector=TwoFaces()).recognize(picture)
    assert (first["dominant"], second["dominant"]) == ("happiness", "sadness")
    assert first["landmarks"] == [(30.0, 30.0)] * 5
    json.dumps([first, second])


@pytest.mark.parametrize("detector", ["mtcnn", "haar"])
@pytest.mark.parametrize("size", [(1, 1), (5, 300), (48, 48), (200, 300)])
def test_picture_without_a_face(export: Path, detector: str, size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 90, np.uint8)
    assert Recognizer(export, detector=detector).recognize(picture) == []


def test_threads_reach_the_interpreter(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    from ai_edge_litert import interpreter

    original = interpreter.Interpreter

    def remember(*args: Any, num_threads: int, **options: Any) -> Any:
        seen.append(num_threads)
        return original(*args, num_threads=num_threads, **options)

    monkeypatch.setattr(interpreter, "Interpreter", remember)
    assert Recognizer(export, threads=2).predict(PICTURES).tolist() == ANSWERS
    Recognizer(export)
    assert seen == [2, 1]
    with pytest.raises(ConfigError, match="threads: expected at least 1, received 0"):
        Recognizer(export, threads=0)


def test_unknown_detector(export: Path) -> None:
    with pytest.raises(ConfigError, match="mtcnn"):
        Recognizer(export, detector="mtcn")


def test_one_file_of_the_folder(export: Path, copy: Path) -> None:
    path = export / "model_int8.tflite"
    assert Recognizer(path).predict(PICTURES).tolist() == ANSWERS
    assert Recognizer(path, precision="int8").manifest["name"] == "tiny"
    with pytest.raises(ModelFileError, match="Leave the precision out"):
        Recognizer(path, precision="float32")
    with pytest.raises(ModelFileError, match="expected one of"):
        Recognizer(export, precision="float16")
    other = copy / "other.tflite"
    other.write_bytes(tflite())
    with pytest.raises(ModelFileError, match="not listed"):
        Recognizer(other)


def test_a_bare_file_needs_its_card(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite())
    with pytest.raises(ModelFileError, match=r"write .*model\.card\.json .*value_range.*tflite"):
        Recognizer(path)
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(CLASS_NAMES))
    # The labels alone do not say what a pixel value becomes.
    with pytest.raises(ModelFileError, match=r"write .*\"labels\": \[\"neutral\", \"happiness\""):
        Recognizer(path)
    write_card(path)
    recognizer = Recognizer(path)
    assert recognizer.predict(PICTURES).tolist() == ANSWERS
    assert recognizer.manifest == {}
    write_card(path, ("neutral", "happiness"))
    with pytest.raises(ModelFileError, match="the labels contradict each other"):
        Recognizer(path)
    labels.unlink()
    with pytest.raises(ModelFileError, match=r"2 labels \['neutral', 'happiness'\].*\[1, 4\]"):
        Recognizer(path)
    write_card(path, sha256="0" * 64)
    with pytest.raises(ModelFileError, match="is for a file with sha256 0000"):
        Recognizer(path)


def test_a_card_says_what_pixels_become(tmp_path: Path) -> None:
    # The network divides by 255; told that 255 is to become 0, it sees the picture inverted.
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite())
    write_card(path, value_range=[255, 0])
    assert Recognizer(path).predict([BRIGHT, DARK]).tolist() == ["sadness", "happiness"]
    path.write_bytes(tflite(softmax=False))
    write_card(path, output="logits")
    probabilities = Recognizer(path).predict_proba([BRIGHT, np.tile(DARK, (3, 2))])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert load_model(path).predict(BRIGHT[None, :, :, None])[0].argmax() == 1
    path.write_bytes(tflite(channels=3))
    write_card(path, colour="bgr")
    assert Recognizer(path).channels == 3


def test_changed_model_is_refused(copy: Path) -> None:
    path = copy / "model_float32.tflite"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"sha256: expected .* received .*model_float32"):
        Recognizer(copy)
    assert Recognizer(copy, precision="int8").predict(PICTURES).tolist() == ANSWERS


def test_other_labels_are_refused_with_both_lists(copy: Path) -> None:
    (copy / "labels.txt").write_text("happiness\nneutral\nsurprise\nsadness\n")
    with pytest.raises(ModelFileError, match=r"\['neutral', 'happiness'.*\['happiness', 'neutral'"):
        Recognizer(copy)
    names = [*CLASS_NAMES, "anger"]
    (copy / "labels.txt").write_text("\n".join(names))
    change_manifest(copy, lambda m: (m.update(class_names=names), m["files"].pop("labels.txt")))
    with pytest.raises(ModelFileError, match=r"no sha256 for labels\.txt"):
        Recognizer(copy)


def test_class_count_must_fit(copy: Path) -> None:
    import hashlib

    names = [*CLASS_NAMES, "anger"]
    content = "\n".join(names).encode()
    (copy / "labels.txt").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    change_manifest(
        copy,
        lambda m: (m.update(class_names=names), m["files"]["labels.txt"].update(sha256=digest)),
    )
    with pytest.raises(ModelFileError, match=r"5 labels .*'anger'.*\[1, 4\]"):
        Recognizer(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format=2), "format: expected 1, received 2"),
        (lambda m: m.pop("class_names"), "class_names: expected list"),
        (lambda m: m.update(class_names=["a", "a"]), "class names"),
        (lambda m: m.update(class_names=["a", 3]), "class names"),
        (lambda m: m.update(image_size=[48, 48]), "input: expected"),
        (lambda m: m.update(image_size=[24]), "image_size"),
        (lambda m: m.update(image_size=[24, "24"]), "image_size"),
        (lambda m: m.update(channels=3), "input: expected"),
        (lambda m: m.update(channels=True), "channels"),
        (lambda m: m.update(precision_files={"float32": "../x.tflite"}), "plain file name"),
        (lambda m: m.update(precision_files={"float32": ["x"]}), "plain file name"),
        (lambda m: m.update(precision_files={"float32": "gone.tflite"}), "no sha256 for gone"),
        (lambda m: m.update(precision_files={}), "precision"),
        (lambda m: m.update(files=[]), "files: expected dict"),
    ],
)
def test_malformed_manifests(
    copy: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    change_manifest(copy, change)
    with pytest.raises(ModelFileError, match=message):
        Recognizer(copy)


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', "[" * 100_000, "\ufeff{}"])
def test_manifest_that_is_no_manifest(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"manifest\.json"):
        Recognizer(copy)


def test_missing_parts(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no model found"):
        Recognizer(tmp_path / "nothing")
    with pytest.raises(ModelFileError, match=r"no manifest\.json"):
        Recognizer(tmp_path)
    write_export(tmp_path / "run" / "export")
    with pytest.raises(ModelFileError, match=r"Use .*export"):
        Recognizer(tmp_path / "run")
    with pytest.raises(ModelFileError, match="another file"):
        Recognizer(copy / "labels.txt")
    (copy / "model_float32.tflite").unlink()
    with pytest.raises(ModelFileError, match="missing"):
        Recognizer(copy)
    (copy / "labels.txt").unlink()
    with pytest.raises(ModelFileError, match=r"labels\.txt is missing"):
        Recognizer(copy, precision="int8")


def test_size_cap_is_checked_before_opening(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "MAX_MODEL_BYTES", 1000)
    opened: list[Path] = []
    original = Path.open

    def watch(self: Path, *args: Any, **options: Any) -> Any:
        opened.append(self)
        return original(self, *args, **options)

    monkeypatch.setattr(Path, "open", watch)
    with pytest.raises(ModelFileError, match="too large: expected at most 1000 bytes"):
        Recognizer(copy)
    assert copy / "model_float32.tflite" not in opened


def test_operations_that_are_not_built_in_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="not built into LiteRT"):
        Recognizer(write_export(tmp_path, float32=tflite("custom")))


def test_logits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="expected probabilities"):
        Recognizer(write_export(tmp_path, float32=tflite(softmax=False)))


@pytest.mark.parametrize("content", [b"", b"TFL3", bytes(4) + b"TFL3" + bytes(100), b"PK" * 50])
def test_files_that_are_no_model(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelFileError):
        Recognizer(write_export(tmp_path, float32=content))


_BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Block())
from fer_keras import Recognizer
from fer_keras.predict import main
print(Recognizer({export!r}).predict([{picture!r}]))
for detector in ("mtcnn", "haar", "none"):
    assert main([{picture!r}, "--model", {export!r}, "--detector", detector]) == 0
"""


def test_runs_without_a_training_stack_and_writes_nothing(export: Path, tmp_path: Path) -> None:
    picture = tmp_path / "left.png"
    cv2.imwrite(str(picture), cv2.resize(LEFT, (100, 100)))
    blocked = ["tensorflow", "keras", "jax", "torch", "mlflow", "sklearn", "scipy", "matplotlib"]
    blocked += ["mapie", "pandas"]
    code = _BLOCKED.format(blocked=blocked, export=str(export), picture=str(picture))
    home = tmp_path / "home"
    home.mkdir()
    folders = (export, home, tmp_path)
    before = [sorted(os.listdir(folder)) for folder in folders]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=home,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "['surprise']" in done.stdout
    assert [sorted(os.listdir(folder)) for folder in folders] == before
