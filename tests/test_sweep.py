"""Sweeps: what is planned is trained once, whatever happens on the way; the rest is a report."""

import csv
import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_train import make_samples

import fer_keras.data.splits as splits_module
import fer_keras.sweep as sweep_module
import fer_keras.training.run as run_module
from fer_keras.common.errors import ConfigError, DataError, TrainingError
from fer_keras.config import (
    DatasetConfig,
    Experiment,
    NetworkConfig,
    TrainingConfig,
    load_experiment,
    to_json,
)
from fer_keras.training.callbacks import RunState
from fer_keras.training.sweep.space import read_runs, table_choices
from fer_keras.training.sweep.trials import (
    Sweep,
    locked,
    open_study,
    read_history,
    read_sweep,
    reopen_trials,
    work,
)

EXPERIMENT = Experiment(
    name="tiny",
    dataset=DatasetConfig(name="synthetic_faces", image_size=16),
    network=NetworkConfig("compact", {"stem_filters": 4, "widths": [8], "depths": [1]}),
    training=TrainingConfig(epochs=4, batch_size=8, learning_rate=0.01),
)
SEARCH = ("training.learning_rate=0.001..1:log", "augmentation=none,flip")


class FakeTraining:
    """Stands in for `train.run`: the accuracy is a function of the settings and the epoch.

    Attributes:
        epochs: `(run folder, epoch)` of every epoch that was trained.
        stop_after: The number of epochs after which the process is "killed".
        failing: A run folder whose loss is not finite.
    """

    def __init__(self) -> None:
        self.epochs: list[tuple[str, int]] = []
        self.stop_after = math.inf
        self.failing = ""

    def __call__(
        self,
        experiment: Experiment,
        run_dir: Path,
        *,
        resume: bool,
        on_epoch: Callable[[dict[str, float]], None],
        **_: Any,
    ) -> None:
        if run_dir.name == self.failing:
            raise TrainingError("The loss is nan at steps 1 to 25 of the run.")
        assert resume == (run_dir / "experiment.json").exists()
        (run_dir / "checkpoint").mkdir(parents=True, exist_ok=True)
        (run_dir / "experiment.json").write_text(to_json(experiment))
        history = read_history(run_dir)
        for epoch in range(len(history) + 1, experiment.training.epochs + 1):
            off = abs(math.log10(experiment.training.learning_rate) + 2)
            accuracy = (1 - off / 4) * epoch / experiment.training.epochs
            history.append({"epoch": epoch, "val_accuracy": accuracy, "seconds": 6.0})
            lines = "".join(json.dumps(row) + "\n" for row in history)
            (run_dir / "metrics.jsonl").write_text(lines)
            self.epochs.append((run_dir.name, epoch))
            if len(self.epochs) >= self.stop_after:
                raise KeyboardInterrupt
            on_epoch(history[-1])
        result = {
            "accuracy": history[-1]["val_accuracy"],
            "accuracy_interval": [0.1, 0.9],
            "n": 12,
            "label_rule": "hard",
            "balanced_accuracy": 0.5,
            "best_epoch": len(history),
            "fallback": False,
        }
        (run_dir / "result.json").write_text(json.dumps(result))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    training = FakeTraining()
    monkeypatch.setattr(run_module, "run", training)
    # Seconds for each sweep; that of the real training draws its own.
    monkeypatch.setattr(
        "fer_keras.training.sweep.report.plot_sweep", lambda path, **_: path.touch()
    )
    # It collects all garbage of the process, of which these trials leave none.
    monkeypatch.setattr("keras.backend.clear_session", lambda: None)
    return training


def make(folder: Path, *, trials: int = 6, prune: bool = True, grid: tuple[str, ...] = ()) -> Sweep:
    folder.mkdir()
    sweep = Sweep(EXPERIMENT, grid, SEARCH if trials > 1 else (), trials, prune, "tensorflow")
    sweep.write(folder)
    return sweep


def run(folder: Path) -> str:
    return sweep_module.run_sweep(folder, read_sweep(folder), track=False)


def outcome(folder: Path) -> list[Any]:
    study = open_study(folder, read_sweep(folder))
    return [
        (trial.number, trial.state.name, trial.params, trial.value)
        for trial in study.get_trials(deepcopy=False)
    ]


def test_the_record_is_read_back(tmp_path: Path) -> None:
    sweep = make(tmp_path / "sweep")
    assert read_sweep(tmp_path / "sweep") == sweep
    (tmp_path / "sweep" / "sweep.json").write_text('{"grid": []}')
    with pytest.raises(ConfigError, match="expected what a sweep wrote"):
        read_sweep(tmp_path / "sweep")


def test_a_sweep_that_was_interrupted_twice_is_as_if_it_never_was(
    fake: FakeTraining, tmp_path: Path, capsys: Any
) -> None:
    make(tmp_path / "straight")
    run(tmp_path / "straight")
    epochs = list(fake.epochs)
    fake.epochs.clear()
    make(tmp_path / "cut")
    for stop in (6, 15):
        fake.stop_after = stop
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut")
    fake.stop_after = math.inf
    capsys.readouterr()
    run(tmp_path / "cut")
    assert "1 go on from their checkpoints" in capsys.readouterr().out
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "straight")
    # Nothing was trained twice, and the fake's pruning happened where it would have.
    assert fake.epochs == epochs
    assert {"PRUNED", "COMPLETE"} == {state for _, state, _, _ in outcome(tmp_path / "cut")}
    best = max(outcome(tmp_path / "cut"), key=lambda trial: trial[3])
    assert (
        load_experiment(str(tmp_path / "cut" / "best.json")).training.learning_rate
        == (best[2]["training.learning_rate"])
    )
    assert not list((tmp_path / "cut").glob("trial-*/checkpoint"))


def test_a_grid_is_trained_once_through_and_reported(fake: FakeTraining, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    make(folder, trials=1, grid=("training.learning_rate=0.1,0.01,0.001", "seed=0,1"))
    shown = run(folder)
    rates = [params["training.learning_rate"] for _, _, params, _ in outcome(folder)]
    assert rates == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    # The earlier one of the two that are equally good.
    assert (rows[0]["trial"], rows[0]["training.learning_rate"]) == ("2", "0.01")
    assert [float(row["val_accuracy"]) for row in rows] == sorted(
        (float(row["val_accuracy"]) for row in rows), reverse=True
    )
    assert "Best: trial 2" in shown
    assert (folder / "summary.md").read_text() == shown
    assert (folder / "sweep.png").is_file()


def test_a_table_of_runs_stands_beside_what_is_published(
    fake: FakeTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.json").write_text(to_json(EXPERIMENT))
    runs = [
        {"training.learning_rate": 0.1, "augmentation": "none"},
        {"training.learning_rate": 0.01, "augmentation": "flip"},
    ]
    published = [{"name": "theirs", "val_accuracy": 0.771, "best_epoch": 3}]
    Path("runs.json").write_text(json.dumps({"runs": runs, "published": published}))
    words = ["tiny.json", "--runs", "runs.json", "--sweep-dir", "sweep", "--no-mlflow"]
    assert sweep_module.main(words) == 0
    assert [params for _, _, params, _ in outcome(Path("sweep"))] == runs
    summary = Path("sweep/summary.md").read_text()
    lines = [line for line in summary.splitlines() if line.startswith("|")]
    header = [cell.strip() for cell in lines[0].split("|")[-6:-1]]
    assert header == ["balanced", "best epoch", "minutes", "state", "published"]
    # Its figures stand in no column of ours.
    assert lines[-1].split("|")[1].strip() == "theirs"
    assert lines[-1].split("|")[-2].strip() == "0.7710, epoch 3"
    assert {cell.strip() for cell in lines[-1].split("|")[2:-2]} == {""}
    assert sweep_module.main(["--resume", "sweep", "--no-mlflow"]) == 0
    assert len(outcome(Path("sweep"))) == 2


def test_the_shipped_table_of_ddamfn_fits_its_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load_experiment("fer2013plus_ddamfn")
    runs, published = read_runs("ddamfn_runs")
    assert len(runs) == 8
    values = {each.key: set(each.values) for each in table_choices(experiment, runs)}
    assert values["network.options.num_heads"] == {2, 4}
    assert values["training.batch_size"] == {64, 32}
    assert len(values["dataset.source"]) == 2
    assert [each["val_accuracy"] for each in published] == [0.771, 0.7667]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "expected a table of runs"),
        ('{"runs": [{"seed": 1}, {"training.epochs": 2}]}', "same keys"),
        ('{"runs": [{"dataset.name": "rafdb"}]}', "cannot be varied"),
        ('{"runs": [{"training.epoch": 2}]}', "Unknown key"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "runs.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        table_choices(EXPERIMENT, read_runs(str(tmp_path / "runs.json"))[0])
    with pytest.raises(ConfigError, match="ddamfn_runs"):
        read_runs("nothing")


def test_a_failed_trial_is_recorded_and_the_others_go_on(
    fake: FakeTraining, tmp_path: Path
) -> None:
    fake.failing = "trial-001"
    make(tmp_path / "sweep", trials=3)
    shown = run(tmp_path / "sweep")
    assert "trial 1 failed: The loss is nan" in shown
    states = [state for _, state, _, _ in outcome(tmp_path / "sweep")]
    assert states == ["COMPLETE", "FAIL", "COMPLETE"]


def test_a_full_disk_is_not_the_fault_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, fake: FakeTraining, tmp_path: Path
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise TrainingError("The checkpoint could not be written.") from OSError("no space")

    make(tmp_path / "sweep", trials=2)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "run", full)
        with pytest.raises(TrainingError, match="could not be written"):
            run(tmp_path / "sweep")
        patch.setattr(run_module, "run", _no_data)
        with pytest.raises(DataError):
            run(tmp_path / "sweep")
    run(tmp_path / "sweep")
    assert [state for _, state, _, _ in outcome(tmp_path / "sweep")] == ["COMPLETE"] * 2


def _no_data(*_: Any, **__: Any) -> None:
    raise DataError("The data set is gone.")


def test_a_sweep_can_grow(fake: FakeTraining, tmp_path: Path, capsys: Any) -> None:
    make(tmp_path / "sweep", trials=2)
    run(tmp_path / "sweep")
    words = ["--resume", str(tmp_path / "sweep"), "--no-mlflow"]
    assert sweep_module.main([*words, "--trials", "3"]) == 0
    assert "2 trials are done" in capsys.readouterr().out
    assert len(outcome(tmp_path / "sweep")) == 3
    with pytest.raises(ConfigError, match="can only grow"):
        sweep_module.main([*words, "--trials", "1"])
    with pytest.raises(ConfigError, match="as it is"):
        sweep_module.main([*words, "--grid", "seed=0,1"])


def test_two_workers_share_the_trials(fake: FakeTraining, tmp_path: Path) -> None:
    """The second one claims while a trial of the first is under way."""
    sweep = make(tmp_path / "sweep", trials=4, prune=False)
    lines: list[str] = []
    inner = fake.__call__

    def first_trial_waits(*arguments: Any, **keywords: Any) -> None:
        run_module.run = inner  # type: ignore[assignment]
        work(tmp_path / "sweep", lines.append, track=False)
        inner(*arguments, **keywords)

    run_module.run = first_trial_waits  # type: ignore[assignment]
    work(tmp_path / "sweep", lines.append, track=False)
    assert [number for number, *_ in outcome(tmp_path / "sweep")] == [0, 1, 2, 3]
    assert len(fake.epochs) == len(set(fake.epochs)) == 4 * sweep.experiment.training.epochs


def test_a_folder_in_use_is_refused_and_freed_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "sweep.lock"
    with locked(path), pytest.raises(ConfigError, match="under way"), locked(path, wait=False):
        pass
    with locked(path, wait=False):
        pass


def test_a_trial_whose_process_died_keeps_its_number(tmp_path: Path) -> None:
    study = open_study(tmp_path, make(tmp_path / "sweep", trials=3))
    first = study.ask()
    assert reopen_trials(study) == [first.number]
    assert study.ask().number == first.number


def test_a_real_sweep_is_interrupted_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    store: Path,
    capsys: Any,
    eager: None,
    undrawn: None,
) -> None:
    import mlflow

    train, validation = make_samples("train", 16), make_samples("validation", 12)
    monkeypatch.setattr(splits_module, "load_splits", lambda *_: (train, validation, train))
    file = tmp_path / "tiny.json"
    file.write_text(to_json(EXPERIMENT))
    folder = tmp_path / "sweep"
    words = [str(file), "--grid", "seed=0,1", "--set", "training.epochs=2"]
    original: Callable[..., None] = RunState.on_train_batch_end

    def interrupt(self: RunState, batch: int, logs: Any = None) -> None:
        if self._progress.step == 2 and "trial-001" in str(self._run_dir):
            signal.raise_signal(signal.SIGINT)
        original(self, batch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(RunState, "on_train_batch_end", interrupt)
        assert sweep_module.main([*words, "--sweep-dir", str(folder)]) == 130
    assert f"Go on with: python -m fer_keras.sweep --resume {folder}" in capsys.readouterr().err
    assert sweep_module.main(["--resume", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "resumed at step 3" in out
    assert "Best: trial" in out
    assert (folder / "sweep.png").stat().st_size > 10_000

    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("synthetic_faces").experiment_id])
    parent = (folder / "mlflow_run_id.txt").read_text().strip()
    names = {each.info.run_name: each for each in runs}
    assert set(names) == {"tiny-seed0 sweep", "tiny-seed0 trial 0", "tiny-seed1 trial 1"}
    for name in ("tiny-seed0 trial 0", "tiny-seed1 trial 1"):
        assert names[name].data.tags["mlflow.parentRunId"] == parent
    assert {each.info.status for each in runs} == {"FINISHED"}
    champion = client.get_model_version_by_alias("synthetic_faces-hard", "champion")
    best = load_experiment(str(folder / "best.json"))
    assert champion.tags["run"] == f"tiny seed {best.seed}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Expected an experiment"),
        (["cross_entropy"], "Nothing to vary"),
        (["cross_entropy", "--grid", "seed=0,1", "--trials", "3"], "--trials is for --search"),
        (["cross_entropy", "--set", "dataset.fold=-1", "--grid", "seed=0,1"], "one fold"),
        (["nothing", "--grid", "seed=0,1"], "Unknown experiment"),
        (["--resume", "/nowhere"], "Expected the folder of a sweep"),
    ],
)
def test_what_the_command_refuses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        sweep_module.main(words)
    assert not list(tmp_path.iterdir())


def test_workers_share_the_cores_that_the_sweep_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fer_keras.training.sweep import sweep

    threads = []

    class Ended:
        returncode = 0

        def __init__(self, command: list[str], *, env: dict[str, str], **_: Any) -> None:
            threads.append(env["OMP_NUM_THREADS"])

        def poll(self) -> int:
            return 0

        def kill(self) -> None:
            pass

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(sweep.subprocess, "Popen", Ended)
    sweep.run_workers(tmp_path, 2, (), 0, lambda: None)
    assert threads == ["3", "3"]
