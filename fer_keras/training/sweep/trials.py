"""The trials of a sweep: planned in an Optuna study, claimed one by one, trained, and told of.

The study knows all trials from the start, so nothing but its store and the run folders is needed to
go on after a kill: a trial that no process trains any more is put back under its number, and its
run goes on from its checkpoint.

A draw is a function of the trial's number: a resumed sweep makes the same trials, and none twice.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fer_keras.common.errors import ConfigError, DataError, FerKerasError
from fer_keras.common.files import write_text
from fer_keras.config import Experiment, from_json, to_json
from fer_keras.training.changes import with_changes
from fer_keras.training.sweep.space import (
    Choice,
    Range,
    Value,
    assignment,
    combinations,
    parse_space,
    table_choices,
)

# Trials that must have passed an epoch before the median of that epoch says anything.
_TRIALS_BEFORE_PRUNING = 4


@dataclass(frozen=True)
class Sweep:
    """What a sweep does; the content of its `sweep.json`.

    Attributes:
        experiment: What is varied.
        grid: The words of `--grid`.
        search: The words of `--search`.
        trials: Trials for each combination of the grid.
        prune: Whether trials that are worse than the median are given up.
        backend: Keras' backend.
        runs: The settings of `--runs`, in the place of grid and search.
        published: What is published about them (`search_space.read_runs`).
    """

    experiment: Experiment
    grid: tuple[str, ...]
    search: tuple[str, ...]
    trials: int
    prune: bool
    backend: str
    runs: tuple[Mapping[str, Value], ...] = ()
    published: tuple[Mapping[str, Value], ...] = ()

    @property
    def monitor(self) -> str:
        """The validation figure that trials are compared by."""
        return self.experiment.training.select_by

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """`maximize` or `minimize`."""
        return "minimize" if self.monitor.endswith("loss") else "maximize"

    @property
    def total(self) -> int:
        """The number of trials."""
        return self.trials * len(self.combinations())

    def combinations(self) -> list[dict[str, Value]]:
        """The settings of the table, or every combination of the grid."""
        return [dict(run) for run in self.runs] or combinations(self.space()[0])

    def space(self) -> tuple[list[Choice], list[Choice | Range]]:
        """The parameters of the grid or the table, and those that are searched."""
        if self.runs:
            return table_choices(self.experiment, self.runs), []
        return parse_space(self.experiment, self.grid, self.search)

    def write(self, folder: Path) -> None:
        """Writes `sweep.json`."""
        rest = dataclasses.asdict(self) | {"experiment": json.loads(to_json(self.experiment))}
        write_text(folder / "sweep.json", json.dumps(rest, indent=2) + "\n")


def read_sweep(folder: Path) -> Sweep:
    """Reads the `sweep.json` of a sweep folder.

    Raises:
        ConfigError: There is none, or it is damaged.
    """
    path = folder / "sweep.json"
    if not path.is_file():
        raise ConfigError(f"Expected the folder of a sweep. Received one without {path}.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        experiment = from_json(json.dumps(values.pop("experiment")), str(path))
        lists = ("grid", "search", "runs", "published")
        values |= {name: tuple(values.get(name, ())) for name in lists}
        return Sweep(experiment=experiment, **values)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: expected what a sweep wrote. Received: {error!r}.") from None


def open_study(folder: Path, sweep: Sweep) -> Any:
    """Opens the Optuna study of a sweep folder, and plans its trials where that is not done yet.

    Args:
        folder: The sweep folder; the store is its `study.db`.
        sweep: What is in its `sweep.json`.

    Returns:
        An `optuna.Study` that knows all trials: finished, running, waiting.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{folder.resolve() / 'study.db'}",
        engine_kwargs={"connect_args": {"timeout": 60}},
    )
    epochs = sweep.experiment.training.epochs
    study = optuna.create_study(
        study_name=sweep.experiment.name,
        storage=storage,
        direction=sweep.direction,
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(_TRIALS_BEFORE_PRUNING, n_warmup_steps=epochs // 4 + 1),
    )
    # Once through the grid before any of its combinations gets a second trial.
    planned = sweep.combinations() * sweep.trials
    for combination in planned[len(study.get_trials(deepcopy=False)) :]:
        study.enqueue_trial(combination)
    return study


def reopen_trials(study: Any) -> list[int]:
    """Puts the trials of dead processes back; only for who holds the lock of the sweep folder.

    Args:
        study: Of `open_study`.

    Returns:
        Their numbers. They keep number, settings and run folder.
    """
    from optuna.trial import TrialState

    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        # The public ways to set a state finish the trial.
        study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    return [trial.number for trial in running]


def work(
    folder: Path,
    say: Callable[[str], None],
    *,
    parent_run_id: str = "",
    track: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Trains waiting trials until there are none; several processes may do it at once.

    Args:
        folder: The sweep folder.
        say: Gets a line when a trial begins and one when it ends.
        parent_run_id: The MLflow run of the sweep.
        track: Whether MLflow gets the trials.
        stop: Asked after each epoch whether to save and leave.

    Raises:
        DataError: The data set cannot be read.
        TrainingError: The disk refuses a checkpoint.
        fer_keras.training.callbacks.Interrupted: Ctrl-C, SIGTERM, or `stop`; the trial can be
        resumed.
    """
    import keras

    sweep = read_sweep(folder)
    study = open_study(folder, sweep)
    while not stop() and (trial := _claim(study, sweep, folder)) is not None:
        settings = "  ".join(f"{key}={shown(value)}" for key, value in trial.params.items())
        say(f"\ntrial {trial.number} of {sweep.total}  {settings}")
        _train(trial, study, sweep, folder, parent_run_id, track, stop)
        say(trial_line(study.get_trials(deepcopy=False)[trial.number], sweep))
        keras.backend.clear_session()


def _claim(study: Any, sweep: Sweep, folder: Path) -> Any:
    """The next waiting trial with its settings drawn, now running; None where none waits."""
    import optuna

    states = (optuna.trial.TrialState.WAITING,)
    # Without the lock two processes could see the same last one, and the second would make a new.
    with locked(folder / "claim.lock"):
        waiting = study.get_trials(deepcopy=False, states=states)
        if not waiting:
            return None
        # A function of the trial's number, so that a resumed sweep draws what it would have drawn.
        seed = sweep.experiment.seed * 1_000_003 + waiting[0].number
        study.sampler = optuna.samplers.TPESampler(seed=seed % 2**32, constant_liar=True)
        grid, search = sweep.space()
        return study.ask({each.key: _distribution(each) for each in (*grid, *search)})


def _distribution(parameter: Choice | Range) -> Any:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not isinstance(parameter, Range):
        return CategoricalDistribution(parameter.values)
    if parameter.whole:
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _train(
    trial: Any,
    study: Any,
    sweep: Sweep,
    folder: Path,
    parent_run_id: str,
    track: bool,
    stop: Callable[[], bool],
) -> None:
    """Trains one trial, or the rest of it, and tells the study how it ended."""
    from optuna.trial import TrialState

    from fer_keras.training.fit import Pruned
    from fer_keras.training.run import run

    run_dir = trial_folder(folder, trial.number)
    experiment = with_changes(
        sweep.experiment, [assignment(key, value) for key, value in trial.params.items()]
    )
    started = (run_dir / "experiment.json").exists()
    if not started and run_dir.exists():
        shutil.rmtree(run_dir)  # A kill left it before its first file was whole.

    def watch(row: dict[str, float]) -> None:
        _report(trial, run_dir, sweep.monitor)
        if stop():
            os.kill(os.getpid(), signal.SIGTERM)  # The training saves its state and leaves.
        elif sweep.prune and row["epoch"] < experiment.training.epochs and trial.should_prune():
            raise Pruned

    try:
        if started and (history := read_history(run_dir)):
            watch(history[-1])
        run(
            experiment,
            run_dir,
            resume=started,
            command=f"python -m fer_keras.sweep --resume {folder}  # trial {trial.number}",
            track=track,
            parent_run_id=parent_run_id,
            part=f"trial {trial.number}",
            on_epoch=watch,
        )
        _report(trial, run_dir, sweep.monitor)
        best = study.get_trials(deepcopy=False)[trial.number].intermediate_values.values()
        study.tell(trial, min(best) if sweep.direction == "minimize" else max(best))
    except Pruned:
        study.tell(trial, state=TrialState.PRUNED)
    except DataError:
        raise
    except (FerKerasError, MemoryError) as error:
        if isinstance(error.__cause__, OSError):
            raise  # A full disk is not the fault of the settings.
        reason = str(error) or "Out of memory. Try smaller training.batch_size."
        trial.set_user_attr("reason", reason)
        study.tell(trial, state=TrialState.FAIL)
    # Told first: a kill here leaves a file too many, not a trial to train again.
    shutil.rmtree(run_dir / "checkpoint", ignore_errors=True)


def _report(trial: Any, run_dir: Path, monitor: str) -> None:
    """Tells the study of each epoch of a run that it does not know yet."""
    known = trial.storage.get_trial(trial._trial_id).intermediate_values
    for row in read_history(run_dir):
        if row["epoch"] not in known:
            trial.report(row[monitor], int(row["epoch"]))


def read_history(run_dir: Path) -> list[dict[str, float]]:
    """The epochs of a run so far: the rows of its `metrics.jsonl`."""
    path = run_dir / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def trial_folder(folder: Path, number: int) -> Path:
    """The run folder of a trial."""
    return folder / f"trial-{number:03d}"


def shown(value: Any) -> str:
    """A setting for people: four digits are enough to tell trials apart."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def trial_line(trial: Any, sweep: Sweep) -> str:
    """How one trial ended, in a line.

    Args:
        trial: An `optuna.trial.FrozenTrial`.
        sweep: What it belongs to.
    """
    head = f"trial {trial.number} of {sweep.total}  {trial.state.name.lower()}"
    if "reason" in trial.user_attrs:
        return f"{head}  {trial.user_attrs['reason']}"
    epochs = len(trial.intermediate_values)
    value = "" if trial.value is None else f"  {sweep.monitor} {trial.value:.4f}"
    return f"{head}{value}  {epochs} epochs"


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[int]:
    """Holds the lock of a file, which the system frees when the last process that has it ends.

    Args:
        path: Made if missing, never removed.
        wait: Wait for the lock.

    Yields:
        The file descriptor, for processes that shall hold it too.

    Raises:
        ConfigError: Another process holds it, and `wait` is false.
    """
    import fcntl

    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise ConfigError(
                f"The sweep is under way in another process. Wait for it, or end it; one whose "
                f"command was killed leaves by itself at the end of its epoch. Path: {path.parent}."
            ) from None
        yield file.fileno()
