"""A sweep whose command, or one of whose processes, is killed with SIGKILL goes on.

Run by hand: `python -m pytest tests/slow/test_sweep.py`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.config import (
    DatasetConfig,
    Experiment,
    NetworkConfig,
    TrainingConfig,
    load_experiment,
    to_json,
)
from fer_keras.training.sweep.trials import locked, open_study, read_history, read_sweep

_SEARCH = ("--search", "training.learning_rate=0.001..0.1:log", "--trials", "3", "--no-prune")
_EPOCHS = 3


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = tmp_path_factory.mktemp("cache")
    # The processes share the cores: one thread each, whether there are one or two of them.
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, "1"), "FER_KERAS_CACHE": str(cache)}


def start(folder: Path, environment: dict[str, str], *words: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "fer_keras.sweep", *words, "--no-mlflow"]
    return subprocess.Popen(command, env=environment, cwd=folder)


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    for _ in range(6000):
        if condition():
            return
        assert process.poll() is None, "it ended before"
        time.sleep(0.1)
    raise TimeoutError("it did not come so far in ten minutes")


def outcome(folder: Path) -> list[Any]:
    study = open_study(folder, read_sweep(folder))
    return [(trial.params, trial.value) for trial in study.get_trials(deepcopy=False)]


def is_free(folder: Path) -> bool:
    try:
        with locked(folder / "sweep.lock", wait=False):
            return True
    except ConfigError:
        return False


def test_kill_9_and_resume(tmp_path: Path, environment: dict[str, str]) -> None:
    experiment = Experiment(
        name="small",
        dataset=DatasetConfig(name="synthetic_faces", limit=640),
        network=NetworkConfig("compact", {"stem_filters": 4, "widths": [8], "depths": [1]}),
        training=TrainingConfig(epochs=_EPOCHS, batch_size=32),
    )
    (tmp_path / "small.json").write_text(to_json(experiment))
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    command = ("small.json", *_SEARCH, "--sweep-dir")
    assert start(tmp_path, environment, *command, str(straight)).wait() == 0

    # The command itself, in one process, while a trial is between its epochs.
    process = start(tmp_path, environment, *command, str(cut))
    wait_for(lambda: len(read_history(cut / "trial-001")) == 1, process)
    process.send_signal(signal.SIGKILL)
    process.wait()

    # The command of two processes: they notice and leave with their trials saved.
    process = start(tmp_path, environment, "--resume", str(cut), "--processes", "2")
    wait_for(lambda: len(read_history(cut / "trial-002")) == 1, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(600):
        if is_free(cut):
            break
        time.sleep(0.5)

    assert start(tmp_path, environment, "--resume", str(cut)).wait() == 0
    assert outcome(cut) == outcome(straight)
    for number in range(3):
        history = read_history(cut / f"trial-{number:03d}")
        assert [row["epoch"] for row in history] == [1, 2, 3]
    assert load_experiment(str(cut / "best.json")) == load_experiment(str(straight / "best.json"))
