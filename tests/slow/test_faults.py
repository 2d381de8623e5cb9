"""Kills and a full disk, with real processes. Run by hand: `python -m pytest tests/slow`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fer_keras.loading.keras_files import load_network

_EXPERIMENT = """
from fer_keras.config import DatasetConfig, Experiment, MethodConfig, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="small",
    dataset=DatasetConfig(name="synthetic_faces", limit=640),
    augmentation="light",
    network=NetworkConfig("compact", {"stem_filters": 8, "widths": [16, 32], "depths": [1, 1]}),
    method=MethodConfig("word2vec", {"loss": "cosine"}),
    training=TrainingConfig(epochs=4, batch_size=32, checkpoint_minutes=0.01),
)
"""

# Dies by SIGKILL at the n-th rename, just before it or just after: inside a checkpoint write,
# between the best weights and the checkpoint, and between the checkpoint and the metrics.
_DYING = """
import os, signal, sys
count, when, calls, replace = int(sys.argv[1]), sys.argv[2], [0], os.replace

def dying(source, target):
    calls[0] += 1
    if calls[0] == count and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
    if calls[0] == count and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = dying
from fer_keras.train import main
main(sys.argv[3:])
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "small.py").write_text(_EXPERIMENT)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = tmp_path_factory.mktemp("cache")
    return {**os.environ, "FER_KERAS_CACHE": str(cache), "TF_ENABLE_ONEDNN_OPTS": "1"}


def command(place: Path, run_dir: Path, *more: str) -> list[str]:
    where = ["--exp", str(place / "small.py"), "--run-dir", str(run_dir), "--no-mlflow"]
    return [sys.executable, "-m", "fer_keras.train", *where, *more]


def weights_of(run_dir: Path) -> list[np.ndarray]:
    return load_network(run_dir / "best.keras")[0].get_weights()


def history_of(run_dir: Path) -> list[dict[str, float]]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def straight(place: Path, environment: dict[str, str]) -> Path:
    """A run that nothing happened to."""
    run_dir = place / "straight"
    subprocess.run(command(place, run_dir), env=environment, check=True, cwd=place)
    return run_dir


def finish(place: Path, run_dir: Path, environment: dict[str, str]) -> None:
    resume = ["--resume"] if (run_dir / "experiment.json").exists() else []
    subprocess.run(command(place, run_dir, *resume), env=environment, check=True, cwd=place)


def assert_equal_runs(first: Path, second: Path) -> None:
    expected, received = weights_of(first), weights_of(second)
    for values, others in zip(expected, received, strict=True):
        np.testing.assert_array_equal(values, others)
    assert history_of(first) == history_of(second)
    figures = [json.loads((each / "result.json").read_text()) for each in (first, second)]
    assert figures[0]["accuracy"] == figures[1]["accuracy"]
    assert figures[0]["nll"] == figures[1]["nll"]


@pytest.mark.parametrize("seconds", [1.0, 3.0, 6.0])
def test_kill_9_at_any_time(
    place: Path, environment: dict[str, str], straight: Path, seconds: float
) -> None:
    run_dir = place / f"killed-{seconds}"
    process = subprocess.Popen(command(place, run_dir), env=environment, cwd=place)
    while not (run_dir / "experiment.json").exists():
        time.sleep(0.1)
    while not (run_dir / "checkpoint").exists() and seconds > 1:
        time.sleep(0.1)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finish(place, run_dir, environment)
    assert_equal_runs(straight, run_dir)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("count", [3, 4, 5, 7])
def test_kill_9_inside_a_write(
    place: Path, environment: dict[str, str], straight: Path, count: int, when: str
) -> None:
    run_dir = place / f"write-{count}-{when}"
    words = command(place, run_dir)[3:]
    dying = [sys.executable, "-c", _DYING, str(count), when, *words]
    done = subprocess.run(dying, env=environment, cwd=place, check=False)
    assert done.returncode == -signal.SIGKILL
    finish(place, run_dir, environment)
    assert_equal_runs(straight, run_dir)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk(
    place: Path, environment: dict[str, str], straight: Path, small_disk: Path
) -> None:
    run_dir = small_disk / "run"
    process = subprocess.Popen(
        command(place, run_dir), env=environment, cwd=place, stderr=subprocess.PIPE, text=True
    )
    while not (run_dir / "checkpoint" / "state.npz").exists():
        time.sleep(0.05)
    filler = small_disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096) == 4096:
                pass
    except OSError:
        pass
    _, shown = process.communicate()
    assert process.returncode == 2
    assert [line for line in shown.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in shown
    assert not list(run_dir.rglob("*tmp*"))
    filler.unlink()
    finish(place, run_dir, environment)
    assert_equal_runs(straight, run_dir)
