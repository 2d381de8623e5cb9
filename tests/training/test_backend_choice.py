"""Which backend trains: what was asked for, what was measured, what is worth measuring."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.common.installed import BACKENDS
from fer_keras.config import (
    Experiment,
    NetworkConfig,
    TrainingConfig,
    load_experiment,
    override,
    to_json,
)
from fer_keras.data.samples import Samples
from fer_keras.training import backend_choice, trial_worker
from fer_keras.training.backend_choice import (
    Trial,
    choose_backend,
    kept_trial,
    run_trial,
    trial_words,
)
from fer_keras.training.trial_worker import train_in_turns

NAMES = ("neutral", "happiness", "anger")
TINY = Experiment(
    name="tiny",
    network=NetworkConfig("compact", {"stem_filters": 4, "widths": [8], "depths": [1]}),
    training=TrainingConfig(batch_size=8),
)
# What a worker says, without Keras: JAX fails, TensorFlow dies when it is asked once more.
WORKER = """
import json, os, sys
rates = {
    "tensorflow auto": ["40", "41"],
    "tensorflow mixed_bfloat16": ["60"],
    "torch auto": ["50", "52", "41"],
}
backend = os.environ["KERAS_BACKEND"]
experiments, image_shape, names = json.loads(sys.stdin.readline())
assert (image_shape, names) == ([16, 16, 1], ["neutral", "happiness", "anger"])
for experiment in experiments:
    experiment = json.loads(experiment)
    assert experiment["name"] == "tiny"
    if backend == "jax":
        print("Traceback", file=sys.stderr)
        sys.exit("RuntimeError: no device")
    left = rates[backend + " " + experiment["training"]["precision"]]
    print("ready", flush=True)
    while sys.stdin.readline() == "go\\n":
        if not left:
            sys.exit("died")
        print(left.pop(0), flush=True)
"""


def pictures(count: int) -> Samples:
    """A training split of so many pictures, which take no memory."""
    images = np.broadcast_to(np.uint8(80), (count, 16, 16, 1))
    targets = np.broadcast_to(np.float32([1, 0, 0]), (count, 3))
    return Samples("x", "train", NAMES, "hard", images, targets, {}, "fingerprint")


FEW = pictures(9)
MANY = pictures(10**6)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Workers of another program, on a processor without bfloat16; a cache that is empty."""
    monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(backend_choice, "_WORKER", [sys.executable, "-c", WORKER])
    monkeypatch.setattr(backend_choice, "cpu_flags", frozenset)
    monkeypatch.setattr(backend_choice, "is_installed", lambda name: True)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))


@pytest.mark.backends
def test_a_worker_trains_a_round_whenever_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_worker, "_ROUND_S", 0.05)
    said: list[str] = []
    train_in_turns(TINY, (16, 16, 1), NAMES, lambda: len(said) < 3, said.append)
    assert said[0] == "ready"
    assert [float(rate) > 0 for rate in said[1:]] == [True, True]


@pytest.mark.backends
def test_a_trial_asks_no_teacher_and_waits_for_no_earlier_stage(tmp_path: Path) -> None:
    """A student is tried before its teachers are trained: neither changes how long a step takes."""
    student = load_experiment("ferplus_student_webcam")
    network = NetworkConfig("compact", TINY.network.options, weights="ferplus_student")
    student = replace(student, network=network)
    said: list[str] = []
    train_in_turns(student, (16, 16, 1), NAMES, lambda: False, said.append)
    assert said == ["ready"]


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_worker_of_another_backend_loads_no_tensorflow(backend: str) -> None:
    pytest.importorskip(backend)
    program = """
import sys
from fer_keras.config import from_json
from fer_keras.training.trial_worker import train_in_turns
experiment, names = from_json(sys.argv[1]), ("neutral", "happiness", "anger")
train_in_turns(experiment, (16, 16, 1), names, lambda: False, print)
print(sorted({"tensorflow", "mlflow", "pandas", "torch._dynamo"} & {*sys.modules}))
"""
    command = [sys.executable, "-c", program, to_json(TINY)]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout.split("\n")[:2] == ["ready", "[]"], ended.stderr


def test_a_trial_takes_the_best_round_of_each(workers: None) -> None:
    trial = run_trial(TINY, FEW, list(BACKENDS))
    # TensorFlow's worker died in its third round, which leaves what it had reached.
    assert trial.rates == {"tensorflow": 41.0, "torch": 52.0}
    assert trial.failed == {"jax": "RuntimeError: no device"}
    assert trial.backend == "torch"


def test_bfloat16_is_tried_where_the_processor_multiplies_it(
    workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_choice, "cpu_flags", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setattr(backend_choice, "_MAX_ROUNDS", 2)
    trial = run_trial(TINY, FEW, ["tensorflow", "torch"])
    expected = {"tensorflow": 41.0, "tensorflow mixed_bfloat16": 60.0, "torch": 52.0}
    assert trial.rates == expected
    assert trial.backend == "torch"


def test_who_is_far_behind_gets_no_second_round(
    workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = WORKER.replace('["40", "41"]', '["20", "99"]')
    monkeypatch.setattr(backend_choice, "_WORKER", [sys.executable, "-c", slow])
    # And then there is nothing left to choose.
    assert run_trial(TINY, FEW, list(BACKENDS)).rates == {"tensorflow": 20.0, "torch": 50.0}


def test_who_starts_slowly_is_left_out(workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = 'import os, time\nif os.environ["KERAS_BACKEND"] == "torch": time.sleep(60)\n' + WORKER
    monkeypatch.setattr(backend_choice, "_WORKER", [sys.executable, "-c", slow])
    monkeypatch.setattr(backend_choice, "_READY_S", 2.0)
    start = time.monotonic()
    trial = run_trial(TINY, FEW, ["tensorflow", "torch"])
    assert time.monotonic() - start < 20
    assert trial.rates == {"tensorflow": 40.0}
    assert trial.failed == {"torch": "no step within 2 s"}


def test_who_had_no_time_is_tried_once_more(workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a start of the machine, when every library comes from the disk."""
    slow = 'import os, time\nif os.environ["KERAS_BACKEND"] == "torch": time.sleep(60)\n' + WORKER
    monkeypatch.setattr(backend_choice, "_WORKER", [sys.executable, "-c", slow])
    monkeypatch.setattr(backend_choice, "_READY_S", 2.0)
    said: list[str] = []

    def choose(unasked: bool = True) -> str:
        return choose_backend(TINY, "", None, said.append, lambda: MANY, unasked)

    assert choose() == "tensorflow"
    assert "torch: no step within 2 s; the next training tries once more" in said[-1]
    # Where there may be no trial, what is known counts.
    assert choose(unasked=False) == "tensorflow"
    monkeypatch.setattr(backend_choice, "_WORKER", [sys.executable, "-c", WORKER])
    assert choose() == "torch"
    kept = kept_trial(TINY)
    assert kept is not None
    assert (kept.tries, kept.was_cut_off) == (2, False)


def test_a_fast_processor_format_is_no_backend() -> None:
    trial = Trial({"tensorflow": 30.0, "tensorflow mixed_bfloat16": 45.0}, {}, "2026-01-01", 0.0)
    assert trial.backend == "tensorflow"


def test_auto_is_measured_once(workers: None) -> None:
    said: list[str] = []

    def prepare() -> Samples:
        said.append("prepared")
        return FEW

    def choose() -> str:
        return choose_backend(TINY, "auto", None, said.append, prepare)

    assert choose() == "torch"
    assert said[0] == "prepared"
    assert "in turns" in said[1]
    assert "torch 52, tensorflow 41; jax: RuntimeError: no device; taken: torch" in said[2]
    backend_choice._WORKER[:] = ["no such program"]  # The fixture's list: put back after the test.
    assert choose() == "torch"
    assert len(said) == 4
    kept = kept_trial(TINY)
    assert kept is not None
    assert kept.rates == {"tensorflow": 41.0, "torch": 52.0}
    assert "torch 52" in trial_words(TINY)


def test_only_a_long_training_is_worth_a_trial(workers: None) -> None:
    said: list[str] = []
    few = 200_000 // TINY.training.epochs - 1
    assert choose_backend(TINY, "", None, said.append, lambda: pictures(few)) == "tensorflow"
    assert said == []
    assert choose_backend(TINY, "", None, said.append, lambda: pictures(few + 2)) == "torch"


def test_what_the_user_says_comes_first(workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")

    def never() -> Samples:
        raise AssertionError

    assert choose_backend(TINY, "", None, print, never) == "jax"
    assert choose_backend(TINY, "torch", None, print, never) == "torch"
    assert choose_backend(TINY, "auto", None, print, lambda: FEW) == "torch"


def test_a_resumed_run_stays_on_its_backend(workers: None, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    facts = np.frombuffer(json.dumps({"step": 4, "backend": "jax"}).encode(), np.uint8)
    np.savez(tmp_path / "checkpoint" / "state.npz", progress=facts)
    assert choose_backend(TINY, "", tmp_path, print, lambda: MANY) == "jax"
    # Of an earlier version: nothing is known, and nothing is in the way.
    assert choose_backend(TINY, "", tmp_path / "none", print, lambda: FEW) == "tensorflow"


def test_a_trial_without_an_answer(workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_choice, "_WORKER", [sys.executable, "-c", "raise SystemExit('no')"])
    said: list[str] = []
    assert choose_backend(TINY, "", None, said.append, lambda: MANY) == "tensorflow"
    assert "no answer (tensorflow: no; jax: no; torch: no); tensorflow is taken" in said[-1]
    assert "the next one tries again" in said[-1]
    with pytest.raises(ConfigError, match="no backend ran"):
        choose_backend(TINY, "auto", None, said.append, lambda: FEW)
    assert kept_trial(TINY) is None


def test_a_damaged_file_of_the_cache_is_measured_anew(workers: None) -> None:
    path = backend_choice._kept(TINY)
    path.parent.mkdir(parents=True)
    path.write_text("{", encoding="utf-8")
    assert kept_trial(TINY) is None
    assert choose_backend(TINY, "auto", None, print, lambda: FEW) == "torch"


@pytest.mark.parametrize(
    ("change", "is_new"),
    [
        ("training.learning_rate=0.5", False),
        ("training.epochs=3", False),
        ("augmentation=standard", False),
        ("network.weights=ferplus", False),
        ("seed=3", False),
        ("training.batch_size=16", True),
        ("training.precision=mixed_bfloat16", True),
        ("training.sam_rho=0.1", True),
        ("network.options.stem_filters=8", True),
        ("dataset.image_size=64", True),
        ("method.name=label_distribution", True),
    ],
)
def test_a_trial_serves_all_experiments_with_the_same_step(change: str, is_new: bool) -> None:
    assert (backend_choice._kept(override(TINY, [change])) != backend_choice._kept(TINY)) == is_new


def test_the_whole_trial_ends_in_time(workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is ready, or somebody never ends a round: the clock on the wall decides."""
    monkeypatch.setattr(backend_choice, "_TRIAL_S", 3.0)
    monkeypatch.setattr(backend_choice, "_READY_S", 2.0)
    said: list[str] = []
    for line in (
        "import time; time.sleep(60)",
        WORKER.replace("print(left.pop(0), flush=True)", "time.sleep(60)"),
    ):
        program = f"import time\n{line}"
        monkeypatch.setattr(backend_choice, "_WORKER", [sys.executable, "-c", program])
        start = time.monotonic()
        assert choose_backend(TINY, "auto", None, said.append, lambda: FEW) == "tensorflow"
        assert time.monotonic() - start < 3 + 2
        assert "3 s at most" in said[-2]
        assert "none; tensorflow: no step within" in said[-1]
        assert "tries once more; taken: tensorflow" in said[-1]
        assert choose_backend(TINY, "auto", None, said.append, lambda: FEW) == "tensorflow"
        assert "once more" not in said[-1]
        # Kept: the next training does not wait for the same again.
        start = time.monotonic()
        assert choose_backend(TINY, "auto", None, said.append, lambda: FEW) == "tensorflow"
        assert time.monotonic() - start < 1
        backend_choice._kept(TINY).unlink()


def test_what_a_busy_machine_says_is_tried_again(
    workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def choose() -> str:
        said.clear()
        return choose_backend(TINY, "auto", None, said.append, lambda: FEW)

    monkeypatch.setattr(os, "getloadavg", lambda: (float(os.cpu_count() or 1), 0.0, 0.0))
    assert choose() == "torch"
    assert "the machine was busy, a training on an idle one tries again" in said[-1]
    # As long as it is busy, what was found is used.
    assert choose() == "torch"
    assert len(said) == 1
    # The device line of this training.
    assert "the machine was busy" in trial_words(TINY)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert choose() == "torch"
    assert "in turns" in said[0]
    assert "busy" not in trial_words(TINY)
    assert choose() == "torch"
    assert len(said) == 1
