"""The real loop on a tiny network: files, record, resume, faults."""

import dataclasses
import importlib
import inspect
import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import fer_keras.data.splits as splits_module
import fer_keras.train as train_module
import fer_keras.training.fit as fit_module
from fer_keras.common.errors import ConfigError, DataError, TrainingError, run_command
from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
    list_experiments,
    load_experiment,
    override,
    to_json,
)
from fer_keras.data.augmentation.policies import check_policy
from fer_keras.data.pairs import with_neutral
from fer_keras.data.pipeline import training_dataset
from fer_keras.data.samples import Samples, one_hot
from fer_keras.evaluation.evaluate import evaluate
from fer_keras.loading.keras_files import load_network, save_network
from fer_keras.models import build_network
from fer_keras.models.layers import with_class_names
from fer_keras.tracking.tracker import Tracker
from fer_keras.training import finish as finish_module
from fer_keras.training.as_weights import AS_WEIGHTS
from fer_keras.training.callbacks import Interrupted, RunState
from fer_keras.training.fallback import with_fallback
from fer_keras.training.run import run
from fer_keras.training.run_folder import stored_backend
from fer_keras.training.start import with_earlier_stages
from fer_keras.training.trial_worker import train_in_turns

# The name of a registered data set; the samples below stand in for it.
DATASET = "synthetic_faces"
NAMES = ("neutral", "happiness", "anger")


def make_samples(split: str, n: int, side: int = 16) -> Samples:
    """Three classes by brightness: a network can learn them in a few steps."""
    rng = np.random.default_rng(len(split))
    labels = np.arange(n) % 3
    shape = (n, side, side, 1)
    images = np.clip(rng.normal(60 + 60 * labels[:, None, None, None], 20, shape), 0, 255)
    columns = {
        "source": np.array([f"{split}:{i}" for i in range(n)]),
        "sha256": np.array([f"{split}{i:060d}" for i in range(n)]),
        "subject": np.array([""] * n),
        **{name: np.linspace(-1, 1, n, dtype=np.float32) for name in ("valence", "arousal")},
    }
    return Samples(
        DATASET, split, NAMES, "hard", images.astype(np.uint8), one_hot(labels, 3), columns
    )


TINY = Experiment(
    name="tiny",
    dataset=DatasetConfig(name=DATASET, image_size=16),
    augmentation="flip",
    network=NetworkConfig("compact", {"stem_filters": 4, "widths": [8], "depths": [1]}),
    training=TrainingConfig(epochs=3, batch_size=8, learning_rate=0.01),
)


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples above for those of the data set."""
    train = make_samples("train", 36)
    validation = make_samples("validation", 12)
    monkeypatch.setattr(splits_module, "load_splits", lambda *_: (train, validation, train))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, undrawn: None) -> Experiment:
    """An experiment of three epochs of five steps, the last batch partial."""
    stand_in(monkeypatch)
    return TINY


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of `tiny` that nothing disturbed, to compare others with."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        stand_in(monkeypatch)
        monkeypatch.setattr(
            "fer_keras.reporting.plots.save_figure", lambda figure, path: Path(path).touch()
        )
        run(TINY, folder, track=False)
    return folder


def weights_of(run_dir: Path) -> dict[str, np.ndarray]:
    with np.load(run_dir / "checkpoint" / "state.npz") as file:
        return {name: file[name] for name in file.files if name != "progress"}


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Sends Ctrl-C to the process while the given step is under way."""
    original: Callable[..., None] = RunState.on_train_batch_end

    def interrupt(self: RunState, batch: int, logs: Any = None) -> None:
        if self._progress.step + 1 == step:
            signal.raise_signal(signal.SIGINT)
        original(self, batch, logs)

    monkeypatch.setattr(RunState, "on_train_batch_end", interrupt)


def test_a_run_leaves_everything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: Path, capsys: Any
) -> None:
    import mlflow

    stand_in(monkeypatch)
    folder = tmp_path / "run"
    result = run(TINY, folder, command="python -m fer_keras.train --exp tiny")
    found = {path.name for path in folder.iterdir()}
    assert found >= {
        "experiment.json",
        "metrics.jsonl",
        "best.keras",
        "result.json",
        "labels.txt",
        "curves.png",
        "predictions_validation.csv",
        "confusion_matrix_validation.png",
        "reliability_validation.png",
        "examples_validation.png",
        "checkpoint",
        "card.md",
    }
    assert not [name for name in found if "tmp" in name]
    scores = f"acc{result['accuracy']:.4f}_bacc{result['balanced_accuracy']:.4f}"
    named = folder / f"tiny_epoch{result['best_epoch']}_{scores}.keras"
    assert named.read_bytes() == (folder / "best.keras").read_bytes()
    for name in (
        "curves",
        "confusion_matrix_validation",
        "reliability_validation",
        "examples_validation",
    ):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert load_experiment(str(folder)) == TINY
    assert (folder / "labels.txt").read_text().split() == list(NAMES)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert max(row["val_accuracy"] for row in rows) == pytest.approx(result["accuracy"], abs=1e-6)
    assert result == json.loads((folder / "result.json").read_text())
    assert result["n"] == 12
    assert list(result["class_prior"]) == list(NAMES)
    assert sum(result["class_prior"].values()) == pytest.approx(1)
    assert "| Class prior of the training targets | " in (folder / "card.md").read_text()
    assert result["command"].endswith("--exp tiny")
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == 3
    assert f"dataset={DATASET}" in lines[0]
    summary = lines.index("next:") - 1
    assert f"dataset={DATASET}" in lines[summary]
    # What can be done with the run, with its very folder.
    following = "\n".join(lines[summary + 1 :])
    assert f"python -m fer_keras.report {folder} " in following
    assert f"python -m fer_keras.export {folder} " in following
    assert "python -m fer_keras.ui" in following

    client = mlflow.MlflowClient()
    (tracked,) = client.search_runs([client.get_experiment_by_name(DATASET).experiment_id])
    assert tracked.info.run_name == "tiny-seed0"
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["training.epochs"] == "3"
    assert tracked.data.tags["label_order"] == ",".join(NAMES)
    assert tracked.data.tags["fallback"] == "false"
    history = client.get_metric_history(tracked.info.run_id, "val_accuracy")
    assert [metric.step for metric in history] == [1, 2, 3]
    artifacts = {artifact.path for artifact in client.list_artifacts(tracked.info.run_id)}
    assert artifacts >= {"best.keras", "labels.txt", "result.json", "curves.png"}
    assert "examples_validation.png" in artifacts


def test_same_seed_same_weights(tiny: Experiment, straight: Path, tmp_path: Path) -> None:
    run(tiny, tmp_path / "again", track=False)
    first, second = weights_of(straight), weights_of(tmp_path / "again")
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_another_seed_and_a_sharper_step_give_other_weights(
    tiny: Experiment, tmp_path: Path
) -> None:
    plain = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, epochs=1))
    sharp = dataclasses.replace(plain, training=dataclasses.replace(plain.training, sam_rho=0.5))
    other = dataclasses.replace(plain, seed=1)
    for name, experiment in (("plain", plain), ("sharp", sharp), ("other", other)):
        run(experiment, tmp_path / name, track=False)
    ours = weights_of(tmp_path / "plain")
    for another in ("sharp", "other"):
        theirs = weights_of(tmp_path / another)
        assert any(not np.array_equal(ours[name], theirs[name]) for name in ours)


def test_with_nothing_to_train_a_network_is_measured_as_it_is(
    tiny: Experiment, straight: Path, tmp_path: Path, capsys: Any
) -> None:
    """The mean of a network and itself is the network."""
    network = NetworkConfig("fusion", {"bases": [str(straight)] * 2, "rule": "mean_logits"})
    once = dataclasses.replace(tiny.training, epochs=1)
    mean = dataclasses.replace(tiny, network=network, training=once)
    result = run(mean, tmp_path / "mean", track=False)
    alone = json.loads((straight / "result.json").read_text())
    assert result["nll"] == pytest.approx(alone["nll"], abs=1e-6)
    assert result["confusion_matrix"] == alone["confusion_matrix"]
    assert result["trainable_parameters"] == 0
    assert "nothing to train" in capsys.readouterr().out


def history_of(run_dir: Path) -> list[dict[str, float]]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize("step", [2, pytest.param(8, marks=pytest.mark.backends), 10])
def test_interrupted_and_resumed_is_never_interrupted(
    tiny: Experiment, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(Interrupted):
            run(tiny, tmp_path / "cut", track=False, command="the first")
    resumed = run(tiny, tmp_path / "cut", resume=True, track=False, command="a later one")
    expected, received = weights_of(straight), weights_of(tmp_path / "cut")
    for name in expected:
        np.testing.assert_array_equal(expected[name], received[name])
    result = json.loads((straight / "result.json").read_text())
    assert resumed["accuracy"] == result["accuracy"]
    assert resumed["best_epoch"] == result["best_epoch"]
    assert resumed["command"] == "the first"
    # An epoch in two parts has the accuracy and loss of all its steps.
    assert history_of(straight) == history_of(tmp_path / "cut")


@pytest.mark.backends
def test_the_average_of_the_weights_is_validated_and_kept(tiny: Experiment, tmp_path: Path) -> None:
    training = dataclasses.replace(tiny.training, epochs=1, ema_momentum=0.8)
    run(dataclasses.replace(tiny, training=training), tmp_path / "run", track=False)
    kept, _ = load_network(tmp_path / "run" / "best.keras")
    state = weights_of(tmp_path / "run")
    last = [values for name, values in state.items() if name.startswith("model")]
    slots = [values for name, values in state.items() if name.startswith("opt")]
    for variable in kept.trainable_variables:
        values = keras.ops.convert_to_numpy(variable.value)
        assert any(np.array_equal(values, each) for each in slots), variable.path
        assert not any(np.array_equal(values, each) for each in last), variable.path
    averages = [values for name, values in state.items() if name.endswith("|average")]
    norms = [each for each in kept.layers if isinstance(each, keras.layers.BatchNormalization)]
    for layer in norms:
        mean = keras.ops.convert_to_numpy(layer.moving_mean.value)
        assert sum(np.array_equal(mean, each) for each in averages) == 1
        assert sum(np.array_equal(mean, each) for each in last) == 1
    assert len(averages) == 2 * len(norms) > 0
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["nll"] == pytest.approx(row["val_loss"], abs=1e-4)


def test_a_run_with_averaged_weights_is_resumed_exactly(
    tiny: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = dataclasses.replace(tiny.training, epochs=2, ema_momentum=0.8)
    averaged = dataclasses.replace(tiny, training=training)
    run(averaged, tmp_path / "straight", track=False)
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(Interrupted):
            run(averaged, tmp_path / "cut", track=False)
    run(averaged, tmp_path / "cut", resume=True, track=False)
    expected, received = (weights_of(tmp_path / name) for name in ("straight", "cut"))
    for name in expected:
        np.testing.assert_array_equal(expected[name], received[name])


@pytest.mark.parametrize(
    "method", ["relative_uncertainty", "neighbour_distribution", "multi_teacher"]
)
def test_what_a_method_draws_and_remembers_is_resumed_too(
    tiny: Experiment, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    options: dict[str, Any] = {}
    if method == "neighbour_distribution":
        network = tiny.network
        built = build_network(network.name, (16, 16, 1), len(NAMES), **network.options)
        save_network(with_class_names(built, NAMES), tmp_path / "auxiliary.keras")
        options["auxiliary"] = str(tmp_path / "auxiliary.keras")
    if method == "multi_teacher":
        options = {"teachers": [str(straight)], "views": 2}
    short = dataclasses.replace(
        tiny,
        method=MethodConfig(method, options),
        training=dataclasses.replace(tiny.training, epochs=2),
    )
    run(short, tmp_path / "straight", track=False)
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(Interrupted):
            run(short, tmp_path / "cut", track=False)
    run(short, tmp_path / "cut", resume=True, track=False)
    expected, received = (weights_of(tmp_path / name) for name in ("straight", "cut"))
    role = {"relative_uncertainty": "seed_generator_state", "neighbour_distribution": "predictions"}
    assert any(name.endswith(role.get(method, "")) for name in expected)
    for name in expected:
        np.testing.assert_array_equal(expected[name], received[name])


def test_resuming_a_finished_run_trains_no_more(
    tiny: Experiment, straight: Path, tmp_path: Path
) -> None:
    shutil.copytree(straight, tmp_path / "run")
    run(tiny, tmp_path / "run", resume=True, track=False)
    before, after = weights_of(straight), weights_of(tmp_path / "run")
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_the_command_leaves_a_finished_run_as_it_is(
    tiny: Experiment, straight: Path, tmp_path: Path, capsys: Any
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(straight, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    words = ["--run-dir", str(folder), "--resume", "--no-mlflow"]
    assert train_module.main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    said = capsys.readouterr().out
    assert "tiny seed 0" in said
    assert "is finished, accuracy 0." in said
    assert f"nothing is left to do in {folder}" in said
    # Another experiment is not taken for finished.
    with pytest.raises(ConfigError, match="holds another experiment"):
        train_module.main([*words, "--set", "training.epochs=4"])


def test_a_run_that_was_only_evaluated_is_not_finished(
    tiny: Experiment, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`fer_keras.evaluate` writes result.json for a run that was interrupted, too."""
    folder = tmp_path / "cut"
    with monkeypatch.context() as patch:
        stop_at(patch, 8)
        with pytest.raises(Interrupted):
            run(tiny, folder, track=False)
    evaluate(folder, make_samples("validation", 12), output_dir=folder)
    words = ["--run-dir", str(folder), "--resume", "--no-mlflow"]
    assert train_module.main(words) == 0
    expected, received = (load_network(each / "best.keras")[0] for each in (straight, folder))
    for values, others in zip(expected.get_weights(), received.get_weights(), strict=True):
        np.testing.assert_array_equal(values, others)
    # A finished run has its weights once: under two names, and in no checkpoint.
    kept = [path for path in folder.rglob("*") if path.suffix in (".keras", ".npz", ".h5")]
    assert len({path.stat().st_ino for path in kept}) == 1
    assert not (folder / "checkpoint").exists()
    assert stored_backend(folder) == keras.backend.backend()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert train_module.main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_resumed_run_is_one_run_in_mlflow(
    tiny: Experiment, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(Interrupted):
            run(tiny, tmp_path / "run")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(DATASET).experiment_id
    assert [each.info.status for each in client.search_runs([experiment])] == ["KILLED"]
    run(tiny, tmp_path / "run", resume=True)
    (only,) = client.search_runs([experiment])
    assert only.info.status == "FINISHED"
    steps = [m.step for m in client.get_metric_history(only.info.run_id, "loss")]
    assert steps == [1, 2, 3]


def test_a_dead_server_does_not_stop_training(
    tiny: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = run(tiny, tmp_path / "run")
    assert result["n"] == 12
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3
    shown = capsys.readouterr()
    assert shown.err.count("tracking in MLflow stops here") == 1
    assert "python -m fer_keras.report" in shown.out
    assert "python -m fer_keras.ui" not in shown.out


@pytest.mark.parametrize(("dataset", "stored"), [("synthetic_faces", True), ("fer2013", False)])
def test_faces_of_people_do_not_go_to_a_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: str, stored: bool
) -> None:
    stored_files: list[Path] = []
    stand_in(monkeypatch)
    monkeypatch.setattr(finish_module, "is_remote", lambda: True)
    monkeypatch.setattr(Tracker, "artifact", lambda self, path: stored_files.append(path))
    data = dataclasses.replace(TINY.dataset, name=dataset)
    once = dataclasses.replace(TINY.training, epochs=1)
    experiment = dataclasses.replace(TINY, dataset=data, training=once)
    run(experiment, tmp_path / "run", track=False)
    assert (tmp_path / "run" / "examples_validation.png").is_file()
    names = [path.name for path in stored_files]
    assert "curves.png" in names
    assert ("examples_validation.png" in names) is stored


def test_nan_stops_the_run_and_names_the_steps(tiny: Experiment, tmp_path: Path) -> None:
    import keras

    import fer_keras.models.layers  # noqa: F401  registers the layers

    hot = dataclasses.replace(
        tiny,
        training=dataclasses.replace(
            tiny.training, optimizer="sgd", learning_rate=1e38, schedule="constant"
        ),
    )
    with pytest.raises(TrainingError, match=r"steps \d+ to \d+|not finite at step"):
        run(hot, tmp_path / "run", track=False)
    for path in (tmp_path / "run").rglob("*.keras"):
        for weight in keras.saving.load_model(path).weights:
            assert np.isfinite(np.asarray(weight)).all()
    for path in (tmp_path / "run").rglob("state.npz"):
        for array in weights_of(path.parent.parent).values():
            assert np.isfinite(array).all()


@pytest.mark.parametrize(("keep", "behind"), [("best", 2), ("last", 0)])
def test_early_stopping(tiny: Experiment, tmp_path: Path, keep: Any, behind: int) -> None:
    frozen = dataclasses.replace(
        tiny,
        training=dataclasses.replace(
            tiny.training, epochs=6, learning_rate=0.0, early_stopping_patience=2, keep=keep
        ),
    )
    result = run(frozen, tmp_path / "run", track=False)
    assert result["epochs"] < 6
    assert result["epochs"] - result["best_epoch"] == behind


@pytest.mark.parametrize("option", ["class_weights", "sampling"])
def test_balancing_reaches_the_network(
    tiny: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """Of unlike classes each has the same share of the loss, by weights or by draws."""
    samples, held_out = make_samples("train", 36), make_samples("validation", 12)
    # Of class 0 all twelve, of 1 six, of 2 three.
    rare = samples.take(
        np.concatenate([np.flatnonzero(samples.labels == k)[: 12 >> k] for k in range(3)])
    )
    monkeypatch.setattr(splits_module, "load_splits", lambda *_: (rare, held_out, rare))
    share = np.zeros(3)

    def watched(*arguments: Any, **options: Any) -> Any:
        batches = training_dataset(*arguments, **options)
        for batch in batches.take(30):
            weights = batch[2] if len(batch) > 2 else np.ones(len(batch[1]))
            np.add.at(share, np.argmax(batch[1], axis=1), np.asarray(weights))
        return batches

    monkeypatch.setattr(fit_module, "training_dataset", watched)
    recipe = dataclasses.replace(tiny.training, epochs=1, **{option: "balanced"})
    run(dataclasses.replace(tiny, training=recipe), tmp_path / "run", track=False)
    np.testing.assert_allclose(share / share.sum(), 1 / 3, atol=0.08)
    share[:] = 0
    recipe = dataclasses.replace(tiny.training, epochs=1)
    run(dataclasses.replace(tiny, training=recipe), tmp_path / "plain", track=False)
    np.testing.assert_allclose(share / share.sum(), [4 / 7, 2 / 7, 1 / 7], atol=0.08)


def test_run_folder_refusals(tiny: Experiment, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        run(tiny, folder, track=False)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]

    other = tmp_path / "other"
    other.mkdir()
    (other / "experiment.json").write_text(to_json(dataclasses.replace(tiny, seed=5)))
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"another experiment.*seed \(5 there, 0 now\)"):
            run(tiny, other, resume=resume, track=False)
    (other / "experiment.json").write_text(to_json(tiny))
    with pytest.raises(ConfigError, match="already holds this run"):
        run(tiny, other, track=False)
    with pytest.raises(ConfigError, match="Nothing to resume"):
        run(tiny, tmp_path / "nowhere", resume=True, track=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": NetworkConfig("compcat")}, "compact"),
        ({"network": NetworkConfig("compact", {"width": 3})}, "widths"),
        ({"method": MethodConfig("word2vek")}, "word2vec"),
        ({"augmentation": "lite"}, "Unknown augmentation"),
        (
            {
                "augmentation": "cut_mix",
                "method": MethodConfig("label_distribution", {"scheme": "majority"}),
            },
            "does not take mixed targets",
        ),
    ],
)
def test_a_wrong_name_leaves_no_folder(
    tiny: Experiment, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(dataclasses.replace(tiny, **change), tmp_path / "run", track=False)
    assert not (tmp_path / "run").exists()


def test_missing_data_falls_back_and_says_so(capsys: Any) -> None:
    experiment = load_experiment("word2vec")
    standing_in = with_fallback(experiment, require_data=False)
    assert standing_in.dataset.name == "synthetic_faces"
    assert standing_in.dataset.fallback_for == "fer2013"
    shown = capsys.readouterr().err
    assert "FER_KERAS_DATA" in shown
    assert "synthetic faces instead" in shown
    with pytest.raises(DataError, match="not found"):
        with_fallback(experiment, require_data=True)


def test_the_fallback_keeps_the_limit() -> None:
    limited = override(load_experiment("word2vec"), ["dataset.limit=60"])
    assert with_fallback(limited, require_data=False).dataset.limit == 60
    folds = override(limited, ["dataset.split=folds", "dataset.fold=-1"])
    assert with_fallback(folds, require_data=False).dataset.limit == 60


def test_an_own_folder_is_asked_for_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = override(load_experiment("cross_entropy"), ["dataset.name=folder"])
    with pytest.raises(DataError, match=r"dataset\.source=PATH"):
        with_fallback(experiment, require_data=False)
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    given = override(experiment, ["dataset.source=mine"])
    assert with_fallback(given, require_data=False).dataset.source == str(tmp_path / "mine")


def test_a_model_says_where_its_own_folder_lies(tmp_path: Path) -> None:
    from fer_keras.evaluation.run_data import own_source

    given = override(
        Experiment(name="a"), ["dataset.name=folder", f"dataset.source={tmp_path}/mine"]
    )
    run_dir = tmp_path / "runs" / "a"
    (run_dir / "export").mkdir(parents=True)
    (run_dir / "experiment.json").write_text(to_json(given), encoding="utf-8")
    for path in (run_dir, run_dir / "best.keras", run_dir / "export" / "model_int8.tflite"):
        assert own_source(path, "folder") == f"{tmp_path}/mine"
    assert own_source(run_dir, "fer2013") is None
    assert own_source(tmp_path / "other.keras", "folder") is None


def test_two_folders_are_two_data_sets(tmp_path: Path) -> None:
    from fer_keras.data.load import tracked_name

    names = {tracked_name("folder", tmp_path / part / "my faces") for part in ("a", "b")}
    assert len(names) == 2
    assert all(re.fullmatch(r"folder-my_faces-[0-9a-f]{6}", name) for name in names)
    assert tracked_name("fer2013", tmp_path) == "fer2013"


_COMPACT = NetworkConfig("compact")


def _small(network: NetworkConfig) -> NetworkConfig:
    """The experiment's own network, whose outputs its method may need, in its small version."""
    if network.name == AS_WEIGHTS:
        return network
    module = importlib.import_module(f"fer_keras.models.{network.name}")
    least = {"stem_filters": 4, "widths": [8], "depths": [1]} if network.name == "compact" else {}
    options = {**network.options, **getattr(module, "SMALL", least)}
    return NetworkConfig(network.name, options)


def _neutral(experiment: Experiment) -> str:
    """That of any person where the experiment wants one: the samples have no subjects."""
    return "none" if experiment.dataset.neutral == "none" else "random_neutral"


def _still(samples: Samples, num_frames: int) -> Samples:
    """Clips of pictures that stand still."""
    clips = np.repeat(samples.images[:, np.newaxis], num_frames, axis=1)
    return dataclasses.replace(samples, images=clips)


def _differing_experiments() -> list[str]:
    """One of those that train a network, or by a method or an option of it, that none before does.

    The others differ in data, recipe and values, which have tests of their own; all of them take a
    step in `tests/slow/test_experiments.py`.
    """
    seen: set[tuple[str, ...]] = set()
    names = []
    for name in sorted(list_experiments()):
        experiment = load_experiment(name)
        method = experiment.method
        kinds: set[tuple[str, ...]] = {(experiment.network.name,), (method.name, "")}
        kinds |= {(method.name, option) for option in method.options}
        kinds |= {("", "layer_rates")} if experiment.training.layer_rates else set()
        kinds |= {("", "sam_rho")} if experiment.training.sam_rho else set()
        if kinds - seen:
            names.append(name)
        seen |= kinds
    return names


@pytest.mark.parametrize("name", sorted({*list_experiments()} - {*_differing_experiments()}))
def test_every_other_experiment_has_options_that_are_known(name: str) -> None:
    experiment = load_experiment(name)
    for kind, part in (("models", experiment.network), ("methods", experiment.method)):
        build = importlib.import_module(f"fer_keras.{kind}.{part.name}").build
        assert {*part.options} <= {*inspect.signature(build).parameters}
    check_policy(experiment.augmentation)


def small_experiment(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """The experiment with a small network and eight pictures; what it starts from is saved."""
    experiment = load_experiment(name)
    if experiment.network.weights and experiment.network.weights not in list_experiments():
        # A shipped model, whose layers the small network does not have.
        start = dataclasses.replace(experiment.network, weights="ferplus_tiny")
        experiment = dataclasses.replace(experiment, network=start)
    if "none_class" in experiment.method.options:
        experiment = override(experiment, [f"method.options.none_class={NAMES[0]}"])
    train = make_samples("train", 8, side=48)
    validation = make_samples("validation", 8, side=48)
    dataset = dataclasses.replace(experiment.dataset, neutral=_neutral(experiment))
    train, validation = (with_neutral(part, train, dataset) for part in (train, validation))
    if dataset.clip_frames:
        train, validation = (_still(part, dataset.clip_frames) for part in (train, validation))
    monkeypatch.setattr(splits_module, "load_splits", lambda *_: (train, validation, train))
    small = dataclasses.replace(
        experiment,
        network=_small(experiment.network),
        training=dataclasses.replace(experiment.training, epochs=1, batch_size=8),
    )

    def earlier(first: Experiment) -> Path:
        network = _small(first.network) if first.network.name != AS_WEIGHTS else _small(_COMPACT)
        built = build_network(network.name, (48, 48, 1), len(NAMES), **network.options)
        save_network(with_class_names(built, train.class_names), folder / "first.keras")
        return folder / "first.keras"

    if small.network.name == AS_WEIGHTS:
        start = dataclasses.replace(small.network, weights=str(earlier(small)))
        small = dataclasses.replace(small, network=start)
    return with_earlier_stages(small, earlier, folder)


def take_a_step(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The result of one step of the experiment, its network small."""
    experiment = small_experiment(name, folder, monkeypatch)
    return run(experiment, folder / "run", track=False)


def test_trial_of_backends_feeds_the_facts_that_a_method_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eager: None
) -> None:
    experiment = small_experiment("affectnet_esr_valence_arousal", tmp_path, monkeypatch)
    said: list[str] = []
    train_in_turns(experiment, (48, 48, 1), NAMES, lambda: False, said.append)
    assert said == ["ready"]


def test_trial_of_backends_names_the_stage_that_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    learning = load_experiment("ferplus_neighbours")
    with pytest.raises(ConfigError, match=r"train --exp ferplus_tiny$"):
        train_in_turns(learning, (48, 48, 1), NAMES, lambda: False, print)


@pytest.mark.parametrize("name", _differing_experiments())
def test_every_kind_of_experiment_takes_a_step(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eager: None, undrawn: None
) -> None:
    assert np.isfinite(take_a_step(name, tmp_path, monkeypatch)["nll"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--exp NAME"),
        (["--exp", "wordvec"], "word2vec"),
        (["--exp", "word2vec", "--set", "training.epoch=3"], "training.epochs"),
        (["--exp", "word2vec", "--set", "dataset.name=fer2014"], "fer2013"),
        (["--resume"], "--run-dir"),
        (["--exp", "word2vec", "--require-data"], "FER_KERAS_DATA"),
    ],
)
def test_bad_command_is_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: Any
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: train_module.main(words))
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert message in shown
    assert "Traceback" not in shown


def test_list(capsys: Any) -> None:
    assert train_module.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list_experiments())
    assert any(line.startswith("word2vec ") for line in lines)


def changes(*words: str) -> list[str]:
    return train_module.flag_changes(train_module._parser().parse_args(words))


def test_flags_are_short_for_settings(tmp_path: Path) -> None:
    words = "--epochs 2 --batch-size 8 --learning-rate 1e-3 --network vgg13 --data ferplus --seed 4"
    experiment = override(load_experiment("cross_entropy"), changes(*words.split()))
    training = experiment.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (2, 8, 0.001)
    assert (experiment.network.name, experiment.dataset.name) == ("vgg13", "ferplus")
    assert experiment.seed == 4
    assert changes("--data", str(tmp_path)) == [
        "dataset.name=folder", f"dataset.source={tmp_path}"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "3", "--set", "training.epochs=4"], "twice: --epochs 3 and --set training"),
        (["--data", "fer2014"], "Nearest: fer2013"),
        (["--data", "faces", "--set", "dataset.name=folder"], "Received: 'faces'"),
        (["--epochs", "many"], "training.epochs: expected"),
        (["--learning-rate", "-1"], "training.learning_rate"),
    ],
)
def test_wrong_flags_are_one_line(words: list[str], message: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: train_module.main(["--exp", "word2vec", *words]))
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_resume_of_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Nothing to resume: expected a run folder.*typo"):
        train_module.main(["--run-dir", str(tmp_path / "typo"), "--resume"])
