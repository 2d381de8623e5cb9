"""Valence and arousal in an export: a second output, which the runtime tells of every face."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras import predict
from fer_keras.common.errors import ExportError, ModelFileError
from fer_keras.config import DatasetConfig, Experiment, to_json
from fer_keras.conversion import export_run as export_run_module
from fer_keras.conversion import tflite as conversion
from fer_keras.conversion.engine_files import FORMATS
from fer_keras.conversion.export_run import export_run
from fer_keras.data.samples import Samples, one_hot
from fer_keras.runtime import Recognizer
from fer_keras.runtime.engines import is_installed
from fer_keras.runtime.stream.follow import Follower
from fer_keras.runtime.stream.overlay import Status, draw_moment
from fer_keras.runtime.stream.rows import RowWriter
from fer_keras.runtime.stream.sources import Frame
from fer_keras.runtime.table import face_table

NAMES = ("neutral", "happiness", "anger")
SIDE = 12


def samples(split: str, n: int) -> Samples:
    """Pictures whose class is the brightest third of the rows; the left half is rated as valence.

    A mirror image keeps its class: thirds of the columns would tie, and rounding would decide.
    """
    generator = np.random.default_rng(n)
    labels = np.arange(n) % 3
    images = generator.integers(0, 120, (n, SIDE, SIDE, 1), dtype=np.uint8)
    for i, label in enumerate(labels):
        images[i, 4 * label : 4 * label + 4] += 100
    left = images[:, :, :6, 0].mean(axis=(1, 2)) / 127.5 - 1
    facts = {
        "source": np.array([f"{split}#{i}" for i in range(n)]),
        "sha256": np.array([f"{split}{i}" for i in range(n)]),
        "subject": np.array([""] * n),
        "valence": left.astype(np.float32),
        "arousal": np.where(np.arange(n) % 2, -left, -2).astype(np.float32),
    }
    return Samples("fer2013", split, NAMES, "hard", images, one_hot(labels, 3), facts)


def network() -> Any:
    """Classes by thirds; valence is the mean of the left half, arousal its opposite."""
    import keras

    from fer_keras.models.layers import with_class_names

    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image))
    logits, affect = keras.layers.Dense(3), keras.layers.Dense(2, name="affect")
    outputs = {"logits": logits(x), "valence_arousal": affect(x)}
    row, column = np.divmod(np.arange(SIDE * SIDE), SIDE)
    thirds = np.stack([row // 4 == k for k in range(3)], axis=1) / 8
    left = (column < 6)[:, None] / 72 * np.array([1, -1])
    logits.set_weights([thirds.astype(np.float32), np.zeros(3, np.float32)])
    affect.set_weights([left.astype(np.float32), np.zeros(2, np.float32)])
    return with_class_names(keras.Model(image, outputs), NAMES)


def wanted_affect(picture: Any) -> Any:
    left = picture[:, :6].mean() / 127.5 - 1
    return np.array([left, -left])


def write_run(folder: Path) -> Path:
    from fer_keras.loading.keras_files import save_network

    save_network(network(), folder / "best.keras")
    experiment = Experiment("little", dataset=DatasetConfig("fer2013", image_size=SIDE))
    (folder / "experiment.json").write_text(to_json(experiment))
    return folder


def stand_in(patch: pytest.MonkeyPatch) -> None:
    splits = samples("train", 96), samples("validation", 90), samples("train", 96)
    patch.setattr("fer_keras.data.splits.load_splits", lambda *_: splits)
    patch.setattr(conversion, "TIMING_RUNS", 5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = write_run(tmp_path_factory.mktemp("run"))
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        export_run(run_dir, calibration_images=64)
    return run_dir / "export"


@pytest.fixture
def picture() -> Any:
    return samples("test", 4).images[1, :, :, 0]


def test_outputs_have_names(exported: Path) -> None:
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    manifest = json.loads((exported / "manifest.json").read_text())
    names = ["probabilities", "valence_arousal"]
    assert manifest["outputs"] == names
    serve = tf.saved_model.load(str(exported / "saved_model")).signatures["serving_default"]
    assert sorted(serve.structured_outputs) == names
    for name in manifest["precision_files"].values():
        interpreter = Interpreter(model_path=str(exported / name))
        signature = interpreter.get_signature_list()["serving_default"]
        assert (signature["inputs"], sorted(signature["outputs"])) == (["image"], names)


def test_every_file_is_compared_and_the_ratings_are_met(exported: Path) -> None:
    parity = json.loads((exported / "manifest.json").read_text())["parity"]
    assert {row["affect_difference"][1] < 0.02 for row in parity["models"].values()} == {True}
    figures = parity["valence_arousal"]
    # Only every second picture has a rated arousal.
    assert figures["n"] == 45
    assert figures["rmse_valence"] < 1e-3
    assert figures["ccc_arousal"] > 0.999
    card = (exported / "card.md").read_text()
    assert "Second output, `valence_arousal`" in card
    assert "n = 45 rated" in card


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_recognizer_tells_them(exported: Path, picture: Any, precision: Any) -> None:
    recognizer = Recognizer(exported, detector="none", precision=precision)
    (face,) = recognizer.recognize(picture)
    assert set(face["emotions"]) == set(NAMES)
    found = [face["valence"], face["arousal"]]
    np.testing.assert_allclose(found, wanted_affect(picture), atol=0.03)
    assert recognizer.predict_proba([picture]).shape == (1, 3)
    chosen = Recognizer(exported, detector="none", prior="uniform", precision=precision)
    (again,) = chosen.recognize(picture)
    assert sum(again["emotions"].values()) == pytest.approx(1)
    assert [again["valence"], again["arousal"]] == pytest.approx(found)
    table = face_table([[face]], [None], NAMES)
    assert list(table.loc[0, ["valence", "arousal"]]) == pytest.approx(found)


def test_stream_smooths_and_shows_them(exported: Path) -> None:
    recognizer = Recognizer(exported, detector="none")
    follower = Follower(recognizer, half_life_s=1.0)
    dark, bright = (np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in (0, 255))
    first = follower.read(Frame(0, 0.0, dark, 0.0))
    second = follower.read(Frame(1, 1.0, bright, 0.0))
    assert first.faces[0].result["valence"] == pytest.approx(-1, abs=1e-3)
    assert second.faces[0].result["valence"] == pytest.approx(0, abs=1e-3)
    assert second.faces[0].raw.shape == (3,)
    text = io.StringIO()
    with RowWriter(text, "csv", NAMES) as writer:
        writer.write(Frame(0, 0.0, dark, 0.0), first.faces)
    (row,) = csv.DictReader(io.StringIO(text.getvalue()))
    assert float(row["valence"]) == pytest.approx(-1, abs=1e-3)
    assert float(row["arousal"]) == pytest.approx(1, abs=1e-3)
    with_line = draw_moment(dark, first, Status("live"))
    face = first.faces[0]
    face.result["valence"] = face.result["arousal"] = None
    assert (draw_moment(dark, first, Status("live")) != with_line).any()


def test_predict_has_columns(
    exported: Path, picture: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "face.png"), picture)
    words = [str(tmp_path / "face.png"), "--model", str(exported), "--detector", "none"]
    assert predict.main(words) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    found = [float(row["valence"]), float(row["arousal"])]
    np.testing.assert_allclose(found, wanted_affect(picture), atol=1e-3)


def test_mirrored_export_averages_them_in_every_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Any
) -> None:
    stand_in(monkeypatch)
    run_dir = write_run(tmp_path)
    formats = [name for name in FORMATS if is_installed(name)]
    export_run(run_dir, calibration_images=64, int8=False, mirror=True, formats=formats)
    both = (wanted_affect(picture) + wanted_affect(picture[:, ::-1])) / 2
    for engine in ("litert", *formats):
        recognizer = Recognizer(run_dir / "export", detector="none", engine=engine)  # type: ignore[arg-type]
        (face,) = recognizer.recognize(picture)
        np.testing.assert_allclose([face["valence"], face["arousal"]], both, atol=1e-4)


def test_file_with_another_valence_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    read = conversion.saved_model_answers

    def off(folder: Path, images: Any) -> Any:
        probabilities, affect = read(folder, images)
        return [probabilities, affect + 0.01]

    monkeypatch.setattr(export_run_module.conversion, "saved_model_answers", off)
    with pytest.raises(ExportError, match="saved_model: largest difference of valence and arousal"):
        export_run(write_run(tmp_path), calibration_images=64, int8=False)
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize(
    ("outputs", "message"),
    [(["valence_arousal"], "outputs: expected"), (None, "expected one input and one output")],
)
def test_manifest_with_other_outputs_is_refused(
    exported: Path, tmp_path: Path, outputs: Any, message: str
) -> None:
    import shutil

    folder = tmp_path / "export"
    shutil.copytree(exported, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("outputs")
    if outputs:
        manifest["outputs"] = outputs
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFileError, match=message):
        Recognizer(folder, detector="none")
