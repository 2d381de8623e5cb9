"""Several devices and processes, real ones. Run by hand: `python -m pytest tests/slow`."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

# The 755 validation pictures do not divide by two.
_EXPERIMENT = """
from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="small",
    dataset=DatasetConfig(name="synthetic_faces", limit=640),
    network=NetworkConfig(
        "compact", {"stem_filters": 8, "widths": [16], "depths": [1], "dropout": 0.0}
    ),
    training=TrainingConfig(epochs=2, batch_size=32, optimizer="sgd", learning_rate=0.05),
)
"""
# Losses of whole epochs against those of one device. They are equal up to the order of sums.
_LOSS_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "small.py").write_text(_EXPERIMENT)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = os.environ.get("FER_KERAS_CACHE") or str(tmp_path_factory.mktemp("cache"))
    return {**os.environ, "FER_KERAS_CACHE": cache, "TF_CPP_MIN_LOG_LEVEL": "3"}


def command(place: Path, run_dir: Path, backend: str, *more: str) -> list[str]:
    words = ["--exp", str(place / "small.py"), "--run-dir", str(run_dir), "--no-mlflow"]
    return [sys.executable, "-m", "fer_keras.train", *words, "--backend", backend, *more]


def straight(place: Path, environment: dict[str, str], backend: str) -> Path:
    """A run on one device, made once for each backend."""
    run_dir = place / f"one-{backend}"
    if not run_dir.exists():
        subprocess.run(command(place, run_dir, backend), env=environment, check=True, cwd=place)
    return run_dir


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_two(place: Path, run_dir: Path, environment: dict[str, str]) -> list[subprocess.Popen]:
    """Two processes that find each other on this machine."""
    address = f"127.0.0.1:{free_port()}"
    environment = {**environment, "JAX_COORDINATOR_BIND_ADDRESS": address}
    processes = []
    for number in range(2):
        words = ["--coordinator", address, "--num-processes", "2", "--process-id", str(number)]
        log = (place / f"{run_dir.name}-{number}.log").open("w")
        processes.append(
            subprocess.Popen(
                command(place, run_dir, "jax", *words),
                env=environment,
                cwd=place,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        )
    return processes


def rows(run_dir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def assert_alike(expected: Path, received: Path) -> None:
    for one, other in zip(rows(expected), rows(received), strict=True):
        for name in ("loss", "val_loss"):
            assert other[name] == pytest.approx(one[name], rel=_LOSS_TOLERANCE), name
        assert other["val_accuracy"] == pytest.approx(one["val_accuracy"], abs=0.01)
    figures = [json.loads((each / "result.json").read_text()) for each in (expected, received)]
    assert figures[0]["n"] == figures[1]["n"]
    assert figures[0]["nll"] == pytest.approx(figures[1]["nll"], rel=_LOSS_TOLERANCE)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_train_like_one(place: Path, environment: dict[str, str], backend: str) -> None:
    run_dir = place / f"two-devices-{backend}"
    words = command(place, run_dir, backend, "--devices", "2")
    done = subprocess.run(
        words, env=environment, check=True, cwd=place, capture_output=True, text=True
    )
    assert "2 devices" in done.stdout
    assert_alike(straight(place, environment, backend), run_dir)


def test_two_processes_train_like_one(place: Path, environment: dict[str, str]) -> None:
    run_dir = place / "two-processes"
    processes = start_two(place, run_dir, environment)
    assert [process.wait() for process in processes] == [0, 0]
    assert_alike(straight(place, environment, "jax"), run_dir)


@pytest.mark.parametrize("victim", [1, 0])
def test_a_lost_process_ends_the_run_and_one_goes_on(
    place: Path, environment: dict[str, str], victim: int
) -> None:
    run_dir = place / f"lost-{victim}"
    processes = start_two(place, run_dir, environment)
    while not (run_dir / "metrics.jsonl").exists():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    processes[victim].send_signal(signal.SIGKILL)
    began = time.monotonic()
    survivor = processes[1 - victim]
    assert survivor.wait(timeout=300) != 0
    log = (place / f"{run_dir.name}-{1 - victim}.log").read_text()
    if victim == 1:
        (line,) = [line for line in log.splitlines() if line.startswith("error: ")]
        assert "Process 0 of 2" in line
        assert "--resume" in line
    assert "Traceback" not in log
    assert time.monotonic() - began < 300
    assert not list(run_dir.rglob("*tmp*"))
    subprocess.run(
        [*command(place, run_dir, "jax"), "--resume"], env=environment, check=True, cwd=place
    )
    assert_alike(straight(place, environment, "jax"), run_dir)


@pytest.mark.parametrize(("first", "second"), [("tensorflow", "torch"), ("jax", "tensorflow")])
def test_another_backend_goes_on(
    place: Path, environment: dict[str, str], first: str, second: str
) -> None:
    """Ended after the first epoch on one backend, it ends on another where one alone ends."""
    run_dir = place / f"{first}-{second}"
    process = subprocess.Popen(command(place, run_dir, first), env=environment, cwd=place)
    while not (run_dir / "metrics.jsonl").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(
        [*command(place, run_dir, second), "--resume"],
        env=environment,
        check=True,
        cwd=place,
        capture_output=True,
        text=True,
    )
    assert "resumed at step" in done.stdout
    assert json.loads((run_dir / "result.json").read_text())["backend"] == second
    assert_alike(straight(place, environment, first), run_dir)
