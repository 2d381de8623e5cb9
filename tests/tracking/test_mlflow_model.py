"""A run and an export as MLflow models, and a `fit` of one's own that is tracked."""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import BRIGHT, CLASS_NAMES, DARK, write_export

import fer_keras
from fer_keras.config import load_experiment
from fer_keras.loading import load_model, save_network
from fer_keras.tracking.champion import challenge, not_whole
from fer_keras.tracking.mlflow_model import write_export_model, write_run_model
from fer_keras.tracking.tracker import TrackedData, Tracker

NAMES = ("neutral", "happiness", "anger")
DATA = TrackedData("mine", "validation", "0" * 36, "hard", 3, dict.fromkeys(NAMES, 1))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder with a temperature."""
    options: dict[str, Any] = {"stem_filters": 4, "widths": [8], "depths": [1]}
    network = fer_keras.build_model(
        "compact", (16, 16, 1), class_names=NAMES, outputs="named", **options
    )
    folder = tmp_path / "run"
    folder.mkdir()
    save_network(network, folder / "best.keras")
    digest = load_model(folder).sha256
    record = {"temperature": 0.5, "model_sha256": digest}
    (folder / "calibration.json").write_text(json.dumps(record))
    return folder


def pictures(n: int = 4) -> Any:
    return np.random.default_rng(0).integers(0, 256, (n, 16, 16, 1), dtype=np.uint8)


def test_a_run_is_loaded_by_mlflow_alone(run_dir: Path, tmp_path: Path) -> None:
    import mlflow

    folder = tmp_path / "model"
    write_run_model(run_dir, folder)
    expected = load_model(run_dir)
    assert expected.temperature == 0.5
    shares = expected.predict(pictures())
    network = mlflow.keras.load_model(str(folder))
    np.testing.assert_allclose(network.predict(pictures(), verbose=0), shares, atol=1e-6)
    # No layer of this package is left, so that its import is not needed.
    with zipfile.ZipFile(folder / "data" / "model.keras") as archive:
        assert b"fer_keras" not in archive.read("config.json")
    model = mlflow.pyfunc.load_model(str(folder))
    table = model.predict(pictures())
    assert list(table.columns) == list(NAMES)
    np.testing.assert_allclose(table.to_numpy(), shares, atol=1e-6)
    assert model.metadata.signature.inputs.input_types() == [np.dtype("uint8")]
    assert model.input_example.shape == (1, 16, 16, 1)
    assert any(line.startswith("keras==") for line in (folder / "requirements.txt").open())
    # It is a run folder too.
    np.testing.assert_array_equal(load_model(folder).predict(pictures()), shares)


def test_an_export_reads_picture_files(tmp_path: Path) -> None:
    import cv2
    import mlflow
    import pandas

    write_export_model(write_export(tmp_path / "export"), tmp_path / "model")
    files = [cv2.imencode(".png", picture)[1].tobytes() for picture in (BRIGHT, DARK)]
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    table = model.predict(pandas.DataFrame({"picture": files}))
    assert list(table["dominant"]) == ["happiness", "sadness"]
    assert list(table.columns) == ["dominant", *CLASS_NAMES]
    assert "fer_keras_tflite" in model.metadata.flavors


def test_the_champion_is_a_model_with_data_and_figures(run_dir: Path, store: Path) -> None:
    import mlflow

    tracker = Tracker()
    tags = {"experiment": "mine", "mlflow.note.content": "What it is."}
    tracker.start("mine", "run", {"training.epochs": 3}, tags, watch_system=False)
    tracker.log_data([dataclasses.replace(DATA, split="train", digest="1" * 36), DATA])
    tracker.log_model(run_dir, {"best_accuracy": 0.75}, DATA, 2)
    result = {
        "dataset": "mine", "label_rule": "hard", "experiment": "mine", "seed": 0, "accuracy": 0.75,
        "n": 3, "validation_pictures": "0123456789ab", "train_label_rule": "hard",
        "git_commit": "abc", "class_names": list(NAMES),
    }  # fmt: skip
    assert "mine seed 0 0.7500" in challenge(tracker, result)
    client = mlflow.MlflowClient()
    run = client.get_run(tracker.run_id)
    contexts = [each.tags[0].value for each in run.inputs.dataset_inputs]
    assert sorted(contexts) == ["train", "validation"]
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert str(model.status) == "READY"
    assert [(m.key, m.value, m.dataset_name) for m in model.metrics] == [
        ("best_accuracy", 0.75, "mine")
    ]
    version = client.get_model_version_by_alias("mine-hard", "champion")
    assert version.description == "What it is."
    address = "models:/mine-hard@champion"
    assert mlflow.pyfunc.load_model(address).predict(pictures(1)).shape == (1, 3)
    fetched = Path(mlflow.artifacts.download_artifacts(address))
    assert load_model(fetched).class_names == NAMES


def test_a_network_that_cannot_be_written_costs_one_warning(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker()
    tracker.start("mine", "run", {}, {}, watch_system=False)
    tracker.log_model(tmp_path, {"best_accuracy": 0.5}, DATA, 1)
    assert "warning: the run has no MLflow model" in capsys.readouterr().err
    assert tracker.active


def test_smaller_runs_do_not_compete() -> None:
    whole = load_experiment("ferplus_cel")
    assert not_whole(whole) == ""
    longer = dataclasses.replace(
        whole, training=dataclasses.replace(whole.training, epochs=whole.training.epochs + 1)
    )
    assert not_whole(longer) == ""
    shorter = dataclasses.replace(whole, training=dataclasses.replace(whole.training, epochs=2))
    assert not_whole(shorter) == f"training.epochs=2 of {whole.training.epochs}"
    limited = dataclasses.replace(whole, dataset=dataclasses.replace(whole.dataset, limit=500))
    assert not_whole(limited) == "dataset.limit=500"
    drawn = dataclasses.replace(whole.dataset, fallback_for="ferplus")
    assert "drawn faces" in not_whole(dataclasses.replace(whole, dataset=drawn))
    own = dataclasses.replace(shorter, name="mine")
    assert not_whole(own) == ""


def test_a_fit_of_ones_own_is_tracked(store: Path, eager: None) -> None:
    import keras
    import mlflow

    options: dict[str, Any] = {"stem_filters": 4, "widths": [8], "depths": [1]}
    network = fer_keras.build_model("compact", (16, 16, 1), class_names=NAMES, **options)
    network.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
    targets = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
    fit = keras.Model.fit
    seen: list[int] = []
    own = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    with fer_keras.track("mine", "first try", {"note": "x"}) as run:
        data = {"validation_data": (pictures(), targets), "verbose": 0}
        network.fit(pictures(), targets, epochs=2, callbacks=[own], **data)
        network.fit(pictures(), targets, epochs=1, **data)
    assert keras.Model.fit is fit
    assert seen == [0, 1]
    client = mlflow.MlflowClient()
    logged = client.get_run(run.run_id)
    assert logged.info.status == "FINISHED"
    assert logged.info.run_name == "first try"
    params = logged.data.params
    assert (params["network.name"], params["training.epochs"], params["note"]) == (
        "compact", "2", "x"
    )  # fmt: skip
    assert [m.step for m in client.get_metric_history(run.run_id, "val_accuracy")] == [1, 2, 3]
    best = max(m.value for m in client.get_metric_history(run.run_id, "val_accuracy"))
    assert logged.data.metrics["best_accuracy"] == best
    model_id = logged.outputs.model_outputs[0].model_id
    answers = mlflow.pyfunc.load_model(f"models:/{model_id}").predict(pictures())
    np.testing.assert_allclose(answers, network.predict(pictures(), verbose=0), atol=1e-6)


def test_a_fit_that_fails_is_a_failed_run(store: Path) -> None:
    import keras
    import mlflow

    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    network.compile("sgd", "mse")

    def stop(epoch: int, logs: Any = None) -> None:
        raise RuntimeError("mine")

    callback = keras.callbacks.LambdaCallback(on_epoch_begin=stop)
    x = np.zeros((2, 2), np.float32)
    with pytest.raises(RuntimeError, match="mine"), fer_keras.track("mine"):
        network.fit(x, x[:, :1], callbacks=callback, verbose=0)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FAILED"]
