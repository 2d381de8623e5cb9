"""The fastest backend for an experiment on this machine, measured once and kept.

Each installed backend takes its first step in a process of its own (`trial_worker`), since Keras
chooses its backend once per process. They start side by side. Then they train in turns, a moment at
a time, while the others wait, and the fastest round of each counts: what else runs on the machine
can only slow a round down. The answer, also a partial one or none, is kept in the cache for this
network, method, batch, precision, processor and these versions.
"""

import dataclasses
import hashlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import write_text
from fer_keras.common.installed import BACKENDS, is_installed
from fer_keras.config import Experiment, override, to_json
from fer_keras.runtime.timing.machine import machine_name, usable_cores
from fer_keras.training.device import bfloat16_unit, cpu_flags
from fer_keras.training.run_folder import stored_backend

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

# A training of fewer pictures than these is over before a trial has paid for itself.
_WORTH_A_TRIAL = 200_000
# The whole trial by the clock on the wall: whoever waits for a training sees no other.
_TRIAL_S = 20.0
# Who has not taken the first step by then is left out, unless nobody has.
_READY_S = 16.0
# XLA compiles a large network for an accelerator for a minute, and is the fastest there.
_MORE_FOR_ACCELERATOR_S = 58.0
# Less than that is no round.
_ROUND_S = 0.7
_MAX_ROUNDS = 3
# Who reaches less than this share of the fastest gets no second round.
_BEYOND_HOPE = 0.6
# What takes longest to start goes first, on a single core what trains if nothing is known.
_START_ORDER = ("tensorflow", "jax", "torch")
# Precision is advice only where it is clearly faster: rounds differ by a few per cent.
_CLEARLY_FASTER = 1.1
# A higher load for each core takes time from the backends, and not from each the same.
_BUSY_LOAD = 0.5
# A trial in which a backend had no time for a step is made so often.
_TRIES = 2
_NO_TIME = "no step within"
_BFLOAT16 = "mixed_bfloat16"
_WORKER = [sys.executable, "-m", "fer_keras.training.trial_worker"]
# What no rate depends on: a worker draws its weights and asks no teacher.
_UNTIMED_OPTIONS = ("teachers", "teacher_weights", "views")
# The settings of a recipe that change a step, and those of a data set that change its shapes.
_TIMED_TRAINING = (
    "batch_size", "optimizer", "layer_rates", "clip_norm", "clip_value", "sam_rho",
    "sam_statistics", "class_weights", "precision", "jit_compile", "deterministic",
)  # fmt: skip
_TIMED_DATASET = (
    "name", "source", "image_size", "channels", "neutral", "clip_frames", "fallback_for",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a trial found.

    Attributes:
        rates: Variant -> images/s of the steps alone: backends at the precision of the experiment,
            and `tensorflow mixed_bfloat16` where the processor multiplies such numbers.
        failed: Variant -> why it has no rate.
        day: ISO date of the trial.
        load: Processes that ran or waited in the minute before it, for each core of the machine.
        tries: How often the machine was asked, this time included.
    """

    rates: dict[str, float]
    failed: dict[str, str]
    day: str
    load: float
    tries: int = 1

    @property
    def backend(self) -> str:
        """The fastest one; where none has a rate, the first that was only too slow."""
        measured = [each for each in self.rates if each in BACKENDS]
        return max(measured, key=self.rates.__getitem__) if measured else self.too_slow[0]

    @property
    def too_slow(self) -> list[str]:
        """The backends that did not fail, but had no time for a step."""
        return [name for name in BACKENDS if self.failed.get(name, "").startswith(_NO_TIME)]

    def __str__(self) -> str:
        """One line for people."""
        ranked = sorted(self.rates.items(), key=lambda item: -item[1])
        rates = ", ".join(f"{name} {rate:.0f}" for name, rate in ranked) or "none"
        failed = "".join(f"; {name}: {reason}" for name, reason in self.failed.items())
        again = ""
        if self.was_busy:
            again = "; the machine was busy, a training on an idle one tries again"
        elif self.was_cut_off:
            again = "; the next training tries once more"
        return f"images/s of the steps alone, measured here on {self.day}: {rates}{failed}{again}"

    @property
    def was_busy(self) -> bool:
        """Whether other work took time from it, so that it is no answer for another day."""
        return self.load > _BUSY_LOAD

    @property
    def was_cut_off(self) -> bool:
        """Whether a backend had no time, and may have some when the disk is not read anew."""
        return bool(self.too_slow) and self.tries < _TRIES

    @property
    def is_worth_another(self) -> bool:
        """Whether a trial now may say more."""
        return self.was_cut_off or (self.was_busy and _load() <= _BUSY_LOAD)


def choose_backend(
    experiment: Experiment,
    asked: str,
    resumed: Path | None,
    report: Callable[[str], None],
    training_split: "Callable[[], Samples]",
    unasked: bool = True,
) -> str:
    """The backend that a training uses.

    In this order: the one that was asked for; that of `KERAS_BACKEND`; of a resumed run the one it
    began on; the only one that is installed; the fastest in a trial, where the training is long
    enough to repay it or `auto` was asked for; TensorFlow.

    Args:
        experiment: What will run.
        asked: A backend, `auto` or nothing.
        resumed: The run folder that goes on, if one does.
        report: Gets a line where there was a trial.
        training_split: The training pictures, asked for before a trial.
        unasked: Whether there may be a trial where `auto` was not asked for.

    Returns:
        `tensorflow`, `jax` or `torch`.

    Raises:
        ConfigError: `auto` was asked for, and no backend could run the experiment.
    """
    if asked in BACKENDS:
        return asked
    told = os.environ.get("KERAS_BACKEND", "") if not asked else ""
    if told:
        return told
    earlier = stored_backend(resumed) if resumed else ""
    installed = [backend for backend in BACKENDS if is_installed(backend)]
    if earlier in installed:
        return earlier
    default = installed[0] if installed else BACKENDS[0]
    if len(installed) < 2:
        return default
    if experiment.training.cached_embeddings:
        return default  # What is trained is small, and its input is worked out first.
    trial = kept_trial(experiment)
    may_try = bool(asked) or unasked
    if trial is None and not may_try:
        return default
    # A machine that is always busy is measured once too.
    if trial is None or (may_try and trial.is_worth_another):
        # Also if its length does not matter: a trial needs the shapes.
        train = training_split()
        if not asked and experiment.training.epochs * len(train) < _WORTH_A_TRIAL:
            return default
        limit = _TRIAL_S + _more_s()
        report(f"trial  {', '.join(installed)} in turns, {limit:.0f} s at most")
        tries = trial.tries + 1 if trial else 1
        trial = dataclasses.replace(run_trial(experiment, train, installed), tries=tries)
        if not trial.rates and not trial.too_slow:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in trial.failed.items())
            if asked:
                raise ConfigError(f"--backend auto: no backend ran. {reasons}. Name one.")
            report(f"trial  no answer ({reasons}); {default} is taken, the next one tries again")
            return default
        path = _kept(experiment)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(dataclasses.asdict(trial), indent=1))
    report(f"trial  {trial}; taken: {trial.backend}")
    return trial.backend


def kept_trial(experiment: Experiment) -> Trial | None:
    """What the last trial of the same network on this machine found, busy or not.

    Args:
        experiment: What will run.

    Returns:
        The trial; None where there was none, or its file cannot be read.
    """
    try:
        trial = Trial(**json.loads(_kept(experiment).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return trial if set(trial.rates) & set(BACKENDS) or trial.too_slow else None


def trial_words(experiment: Experiment) -> str:
    """What a trial on this machine says of the backend and precision in use.

    Args:
        experiment: What runs; Keras has its backend and precision.

    Returns:
        The end of the device line; empty where nothing was measured.
    """
    import keras

    trial = kept_trial(experiment)
    if trial is None:
        return ""
    words, backend = f"  {trial}", keras.backend.backend()
    fastest = trial.rates.get(f"tensorflow {_BFLOAT16}", 0.0)
    is_float32 = keras.config.dtype_policy().name == "float32"
    if is_float32 and fastest > _CLEARLY_FASTER * trial.rates.get(backend, fastest):
        words += f"; faster: --backend tensorflow --set training.precision={_BFLOAT16}"
    return words


def run_trial(experiment: Experiment, train: "Samples", backends: list[str]) -> Trial:
    """Lets backends train the experiment in turns; nothing is written.

    Args:
        experiment: What to try. Networks that it learns from must be trained.
        train: The training split, of which the shapes matter.
        backends: Installed ones.

    Returns:
        What each reached.
    """
    variants = {backend: [experiment] for backend in _START_ORDER if backend in backends}
    full = experiment.training.precision in ("auto", "float32")
    if full and "tensorflow" in backends and bfloat16_unit(cpu_flags()):
        variants["tensorflow"].append(override(experiment, [f"training.precision={_BFLOAT16}"]))
    rates: dict[str, float] = {}
    failed: dict[str, str] = {}
    load, end = _load(), time.monotonic() + _TRIAL_S + _more_s()
    with _Workers(variants, train) as workers:
        running = workers.wait(failed, end)
        for turn in range(_MAX_ROUNDS):
            for name in running:
                left = end - time.monotonic()
                if not turn or left > 2 * _ROUND_S:
                    rates[name] = max(workers.round(name, left), rates.get(name, 0.0))
            best = max(rates.values(), default=0.0)
            running = [name for name in running if rates[name] > _BEYOND_HOPE * best]
            if len(running) < 2:
                break
        if rates.get("tensorflow") and len(variants["tensorflow"]) > 1:
            rates[f"tensorflow {_BFLOAT16}"] = workers.next_round(
                "tensorflow", end - time.monotonic()
            )
    failed |= {
        name: f"{_NO_TIME} the trial" if name in workers.late else "stopped in the trial"
        for name, rate in rates.items()
        if not rate
    }
    order = [name for backend in BACKENDS for name in (backend, f"{backend} {_BFLOAT16}")]
    return Trial(
        {name: round(rates[name], 1) for name in order if rates.get(name)},
        {name: failed[name] for name in order if name in failed},
        date.today().isoformat(),
        round(load, 2),
    )


def _load() -> float:
    """Processes that ran or waited in the minute before, for each core of the machine."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def _more_s() -> float:
    devices = ("/dev/nvidia0", "/dev/kfd", "/dev/accel0")
    return _MORE_FOR_ACCELERATOR_S if any(map(os.path.exists, devices)) else 0.0


class _Workers:
    """A process for each backend, and what they say: `ready`, rates, or why they ended.

    Args:
        variants: Backend -> what it trains, one after the other.
        train: The training split, of which the shapes matter.

    Attributes:
        late: Those that had no time to end a round.
    """

    def __init__(self, variants: dict[str, list[Experiment]], train: "Samples") -> None:
        self._variants = variants
        self._shapes = [list(train.images.shape[1:]), list(train.class_names)]
        self._answers: queue.Queue[tuple[str, str]] = queue.Queue()
        self._processes: dict[str, Any] = {}
        self.late: set[str] = set()

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def wait(self, failed: dict[str, str], end: float) -> list[str]:
        """Starts all until they have taken a step, three for two cores at a time.

        Args:
            failed: Gets the reason of each that has not.
            end: Of the trial, by `time.monotonic`.

        Returns:
            Those that have.
        """
        start, limit = time.monotonic(), _READY_S + _more_s()
        waiting, ready = list(self._variants), list[str]()
        # One more than cores, since each waits for the disk now and then; on one core the first
        # answer comes sooner if it has the core for itself.
        at_once = usable_cores() * 3 // 2
        while waiting:
            for name in waiting[:at_once]:
                if name not in self._processes:
                    self._start(name)
            until = start + limit if ready else end
            try:
                name, line = self._answers.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            waiting.remove(name)
            if line == "ready":
                ready.append(name)
            else:
                failed[name] = line
        for name in waiting:
            failed[name] = f"{_NO_TIME} {limit if ready else end - start:.0f} s"
            if name in self._processes:
                self._processes[name].kill()
        return ready

    def round(self, name: str, timeout_s: float, word: str = "go") -> float:
        """Images/s of one round of a worker that is ready; 0 where it died or took too long."""
        process = self._processes[name]
        try:
            process.stdin.write(f"{word}\n")
            process.stdin.flush()
        except OSError:
            return 0.0
        until = time.monotonic() + timeout_s
        while (left := until - time.monotonic()) > 0:
            try:
                said, line = self._answers.get(timeout=left)
            except queue.Empty:
                break
            if said == name and line != "ready":
                try:
                    return float(line)
                except ValueError:
                    return 0.0
        process.kill()
        self.late.add(name if word == "go" else f"{name} {_BFLOAT16}")
        return 0.0

    def next_round(self, name: str, timeout_s: float) -> float:
        """Images/s of one round of the next experiment of a worker."""
        return self.round(name, timeout_s, word="next\ngo")

    def _start(self, name: str) -> None:
        process = self._processes[name] = subprocess.Popen(
            _WORKER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "KERAS_BACKEND": name},
            text=True,
        )
        listener = threading.Thread(target=self._listen, args=(name, process), daemon=True)
        listener.start()

    def _listen(self, name: str, process: Any) -> None:
        errors: list[str] = []
        # Its own thread: a full pipe of warnings would stop the worker.
        reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
        reader.start()
        try:
            experiments = [to_json(experiment) for experiment in self._variants[name]]
            process.stdin.write(json.dumps([experiments, *self._shapes]) + "\n")
            process.stdin.flush()
        except OSError:
            pass  # It ended; what it said follows.
        for line in process.stdout:
            self._answers.put((name, line.strip()))
        reader.join()
        said = [line.strip() for line in errors if line.strip()]
        self._answers.put((name, said[-1][:200] if said else "ended without a message"))


def _kept(experiment: Experiment) -> Path:
    """The file of the cache for everything that the rates depend on."""
    # Only here: the help of `train` does without OpenCV.
    from fer_keras.data.prepared import cache_folder
    from fer_keras.training.as_weights import AS_WEIGHTS

    packages = ("fer_keras", "keras", *BACKENDS)
    training, dataset = (
        {name: getattr(part, name) for name in names}
        for part, names in (
            (experiment.training, _TIMED_TRAINING),
            (experiment.dataset, _TIMED_DATASET),
        )
    )
    options = dict(experiment.method.options)
    for untimed in _UNTIMED_OPTIONS:
        options.pop(untimed, None)
    network = experiment.network
    facts = {
        "measured": "steps alone, PyTorch without Keras around its layers",
        "training": training,
        "network": [network.name, network.options, network.name == AS_WEIGHTS and network.weights],
        "growth": dataclasses.asdict(dataclasses.replace(experiment.growth, previous="")),
        "method": [experiment.method.name, options],
        "dataset": dataset,
        "machine": [machine_name(), usable_cores(), sorted(cpu_flags())],
        "versions": [_version(package) for package in packages],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    return cache_folder(None) / "backend_trials" / f"{digest[:24]}.json"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
