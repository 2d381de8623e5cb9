"""The folder of a run: where it is, and that it is never shared by two experiments."""

import dataclasses
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import read_json, write_new_text, write_text
from fer_keras.config import Experiment, flatten, load_experiment, to_json

# The state of a training, in the folder `checkpoint` of a run.
STATE_FILE = "state.npz"


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
        _check_earlier(run_dir, experiment, resume)
        return
    if resume:
        raise ConfigError(f"Nothing to resume: {run_dir} holds no experiment.json.")
    # `write_new_text` of another process may be at work there: both go on, one of them succeeds.
    if run_dir.exists() and not all(
        each.name.startswith(f".{path.name}.") for each in run_dir.iterdir()
    ):
        # That process may have finished in between.
        if path.exists():
            _check_earlier(run_dir, experiment, resume)
        raise ConfigError(f"{run_dir} is not empty and not a run folder. Choose another --run-dir.")
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        write_new_text(path, to_json(experiment))
    except FileExistsError:
        _check_earlier(run_dir, experiment, resume)


def _check_earlier(run_dir: Path, experiment: Experiment, resume: bool) -> None:
    """Refuses a folder whose run is another one, or is not to go on."""
    earlier = load_experiment(str(run_dir / "experiment.json"))
    if earlier != experiment:
        raise ConfigError(
            f"{run_dir} holds another experiment. Differing: "
            f"{_differences(earlier, experiment)}. "
            "Choose another --run-dir, or resume without --exp and --set."
        )
    if not resume:
        raise ConfigError(
            f"{run_dir} already holds this run. Add --resume to go on, or choose another --run-dir."
        )


def first_command(run_dir: Path, command: str) -> str:
    """Keeps the command that started a run, for a later one only resumes it.

    Args:
        run_dir: The folder.
        command: The command line of now; kept in `command.txt` where none is.

    Returns:
        The one that is kept.
    """
    path = run_dir / "command.txt"
    if not path.exists():
        write_text(path, command + "\n")
    return path.read_text(encoding="utf-8").strip()


def stored_backend(run_dir: Path) -> str:
    """The backend that a run was last trained on.

    Args:
        run_dir: Its folder, or that of a cross-validation, whose folds lie in it.

    Returns:
        `tensorflow`, `jax` or `torch`; empty where neither result nor checkpoint says it.
    """
    folds = (_backend_of(fold) for fold in sorted(run_dir.glob("fold-*")))
    return _backend_of(run_dir) or next(filter(None, folds), "")


def _backend_of(run_dir: Path) -> str:
    result = run_dir / "result.json"
    if backend := read_json(result).get("backend") if result.is_file() else None:
        return str(backend)
    # Only here: the help of `train` does without NumPy.
    import numpy as np

    try:
        with np.load(run_dir / "checkpoint" / STATE_FILE, allow_pickle=False) as file:
            return str(json.loads(bytes(file["progress"])).get("backend", ""))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return ""


def drop_checkpoint(run_dir: Path) -> None:
    """Removes the checkpoint of a finished run, three times the size of its network.

    Args:
        run_dir: The folder. `result.json` in it says from now on that the run is finished.
    """
    shutil.rmtree(run_dir / "checkpoint", ignore_errors=True)


def name_best(run_dir: Path, name: str, epoch: int, figures: Mapping[str, Any]) -> Path:
    """Gives the kept network a second name that says what it is, for those who collect them.

    Args:
        run_dir: Holds `best.keras`, whose other such names are removed.
        name: Of the experiment.
        epoch: The kept one.
        figures: `accuracy` and `balanced_accuracy` on validation, 0..1.

    Returns:
        For instance `ferplus_tiny_epoch31_acc0.8125_bacc0.6640.keras`, the same file on the disk
        where the file system can do that.
    """
    for earlier in run_dir.glob("*_epoch*_acc*_bacc*.keras"):
        earlier.unlink()
    scores = f"acc{figures['accuracy']:.4f}_bacc{figures['balanced_accuracy']:.4f}"
    path = run_dir / f"{name}_epoch{epoch}_{scores}.keras"
    try:
        os.link(run_dir / "best.keras", path)
    except OSError:
        shutil.copyfile(run_dir / "best.keras", path)
    return path


def _differences(earlier: Experiment, now: Experiment) -> str:
    old, new = (flatten(dataclasses.asdict(each)) for each in (earlier, now))
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return ", ".join(f"{key} ({old.get(key)} there, {new.get(key)} now)" for key in keys[:4])
