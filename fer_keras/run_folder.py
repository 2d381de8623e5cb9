"""The folder of a run: where it is, and that it is never shared by two experiments."""

import dataclasses
from datetime import datetime
from pathlib import Path

from fer_keras.config import Experiment, flatten, load_experiment, to_json
from fer_keras.errors import ConfigError
from fer_keras.files import write_text


def new_run_dir(experiment: Experiment) -> Path:
    """The default place of a new run: `runs/NAME-seedN-DATE` in the current folder.

    Args:
        experiment: What will run.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    suffix = "-fallback" if experiment.dataset.fallback_for else ""
    return Path("runs") / f"{experiment.name}-seed{experiment.seed}{suffix}-{stamp}"


def open_run_dir(run_dir: Path, experiment: Experiment, resume: bool) -> None:
    """Makes a run folder and writes the resolved experiment, or checks that it may be used.

    Args:
        run_dir: The folder.
        experiment: What will run in it.
        resume: Whether the run that is there goes on.

    Raises:
        ConfigError: The folder holds another experiment, this one without `resume`, or anything
            else; or there is nothing to resume.
    """
    path = run_dir / "experiment.json"
    if path.exists():
        earlier = load_experiment(str(path))
        if earlier != experiment:
            raise ConfigError(
                f"{run_dir} holds another experiment. Differing: "
                f"{_differences(earlier, experiment)}. "
                "Choose another --run-dir, or resume without --exp and --set."
            )
        if not resume:
            raise ConfigError(
                f"{run_dir} already holds this run. Add --resume to go on, or choose another "
                "--run-dir."
            )
        return
    if resume:
        raise ConfigError(f"Nothing to resume: {run_dir} holds no experiment.json.")
    if run_dir.exists() and any(run_dir.iterdir()):
        raise ConfigError(f"{run_dir} is not empty and not a run folder. Choose another --run-dir.")
    run_dir.mkdir(parents=True, exist_ok=True)
    write_text(path, to_json(experiment))


def _differences(earlier: Experiment, now: Experiment) -> str:
    old, new = (flatten(dataclasses.asdict(each)) for each in (earlier, now))
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return ", ".join(f"{key} ({old.get(key)} there, {new.get(key)} now)" for key in keys[:4])
