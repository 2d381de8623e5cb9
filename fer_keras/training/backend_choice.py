"""The fastest backend for an experiment on this machine, measured once and kept.

Each installed backend builds the experiment and takes its first step in a process of its own, since
Keras chooses its backend once per process; this is done side by side. Then they train in turns, a
second at a time, while the others wait, and the fastest round of each counts: what else runs on the
machine can only slow a round down. The answer is kept in the cache for this network, method, batch,
precision, processor and these versions.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import write_text
from fer_keras.common.installed import BACKENDS, is_installed
from fer_keras.config import Experiment, from_json, override, to_json
from fer_keras.runtime.timing.machine import machine_name, usable_cores
from fer_keras.training.device import bfloat16_unit, cpu_flags, prepare_backend
from fer_keras.training.run_folder import stored_backend

# A training of fewer pictures than these is over before a trial has paid for itself.
_WORTH_A_TRIAL = 200_000
# Who has not taken the first step by then is left out, but one has to: it gets more time.
# Three backends start side by side in some 30 s on two cores.
_READY_S = 40.0
_FIRST_READY_S = 60.0
_TRIAL_S = 50.0
_ROUND_S = 1.0
# More than any round takes: the callback stops the training.
_MAX_STEPS = 1_000_000
# Precision is advice only where it is clearly faster: rounds differ by a few per cent.
_CLEARLY_FASTER = 1.1
_BFLOAT16 = "mixed_bfloat16"
_WORKER = [sys.executable, "-m", "fer_keras.training.backend_choice"]


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a trial found.

    Attributes:
        rates: Variant -> images/s: backends at the precision of the experiment, and
            `tensorflow mixed_bfloat16` where the processor multiplies such numbers.
        failed: Variant -> why it has no rate.
        day: ISO date of the trial.
    """

    rates: dict[str, float]
    failed: dict[str, str]
    day: str

    @property
    def backend(self) -> str:
        """The fastest one."""
        return max((each for each in self.rates if each in BACKENDS), key=self.rates.__getitem__)

    def __str__(self) -> str:
        """One line for people."""
        ranked = sorted(self.rates.items(), key=lambda item: -item[1])
        rates = ", ".join(f"{name} {rate:.0f}" for name, rate in ranked)
        failed = "".join(f"; {name}: {reason}" for name, reason in self.failed.items())
        return f"images/s measured here on {self.day}: {rates}{failed}"


def choose_backend(
    experiment: Experiment,
    asked: str,
    resumed: Path | None,
    report: Callable[[str], None],
    num_pictures: Callable[[], int],
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
        num_pictures: The number of training pictures, asked for only if it matters.

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
    trial = kept_trial(experiment)
    if trial is None:
        pictures = experiment.training.epochs * (0 if asked else num_pictures())
        if not asked and pictures < _WORTH_A_TRIAL:
            return default
        report(f"trial  {', '.join(installed)} in turns, up to {_TRIAL_S:.0f} s, once")
        trial = run_trial(experiment, installed)
        if not any(backend in trial.rates for backend in installed):
            reasons = "; ".join(f"{name}: {reason}" for name, reason in trial.failed.items())
            if asked:
                raise ConfigError(f"--backend auto: no backend ran. {reasons}. Name one.")
            report(f"trial  no answer ({reasons}); {default} is taken")
            return default
        path = _kept(experiment)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(dataclasses.asdict(trial), indent=1))
    report(f"trial  {trial}; taken: {trial.backend}")
    return trial.backend


def kept_trial(experiment: Experiment) -> Trial | None:
    """What an earlier trial of the same network on this machine found.

    Args:
        experiment: What will run.

    Returns:
        The trial; None where there was none, or its file cannot be read.
    """
    try:
        trial = Trial(**json.loads(_kept(experiment).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return trial if set(trial.rates) & set(BACKENDS) else None


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


def run_trial(experiment: Experiment, backends: list[str]) -> Trial:
    """Lets backends train the experiment in turns; nothing is written.

    Args:
        experiment: What to try. Networks that it starts or learns from must be trained.
        backends: Installed ones.

    Returns:
        What each reached.
    """
    variants = {backend: (backend, experiment) for backend in backends}
    full = experiment.training.precision in ("auto", "float32")
    if full and "tensorflow" in backends and bfloat16_unit(cpu_flags()):
        changed = override(experiment, [f"training.precision={_BFLOAT16}"])
        variants[f"tensorflow {_BFLOAT16}"] = ("tensorflow", changed)
    start = time.monotonic()
    rates: dict[str, float] = {}
    failed: dict[str, str] = {}
    with _workers(variants) as (processes, answers):
        waiting, ready = set(variants), list[str]()
        while waiting:
            limit = _READY_S if ready else _FIRST_READY_S
            try:
                name, line = answers.get(timeout=max(0.0, limit - (time.monotonic() - start)))
            except queue.Empty:
                break
            waiting.discard(name)
            if line == "ready":
                ready.append(name)
            else:
                failed[name] = line
        for name in waiting:
            failed[name] = f"no step within {limit:.0f} s"
            processes[name].kill()
        # Every one has a round; a second and third as far as time goes.
        for turn in range(3):
            for name in ready:
                if turn and time.monotonic() - start > _TRIAL_S - _ROUND_S:
                    break
                rate = _round(processes[name], name, answers)
                rates[name] = max(rate, rates.get(name, 0.0))
    failed |= {name: "stopped in the trial" for name, rate in rates.items() if not rate}
    return Trial(
        {name: round(rates[name], 1) for name in variants if rates.get(name)},
        {name: failed[name] for name in variants if name in failed},
        date.today().isoformat(),
    )


def _round(process: Any, name: str, answers: "queue.Queue[tuple[str, str]]") -> float:
    """Images/s of one round of a worker that is ready; 0 where it died."""
    try:
        process.stdin.write("go\n")
        process.stdin.flush()
    except OSError:
        return 0.0
    while True:
        answered, line = answers.get()
        if answered == name:
            try:
                return float(line)
            except ValueError:
                return 0.0


@contextmanager
def _workers(
    variants: dict[str, tuple[str, Experiment]],
) -> Iterator[tuple[dict[str, Any], "queue.Queue[tuple[str, str]]"]]:
    """A process for each variant, and what they say: `ready`, rates, or why they ended."""
    answers: queue.Queue[tuple[str, str]] = queue.Queue()
    processes: dict[str, Any] = {}

    def listen(name: str, process: Any, experiment: Experiment) -> None:
        errors: list[str] = []
        # Its own thread: a full pipe of warnings would stop the worker.
        reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
        reader.start()
        try:
            process.stdin.write(json.dumps(to_json(experiment)) + "\n")
            process.stdin.flush()
        except OSError:
            pass  # It ended; what it said follows.
        for line in process.stdout:
            answers.put((name, line.strip()))
        reader.join()
        said = [line.strip() for line in errors if line.strip()]
        answers.put((name, said[-1][:200] if said else "ended without a message"))

    try:
        for name, (backend, experiment) in variants.items():
            processes[name] = subprocess.Popen(
                _WORKER,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "KERAS_BACKEND": backend},
                text=True,
            )
            threading.Thread(
                target=listen, args=(name, processes[name], experiment), daemon=True
            ).start()
        yield processes, answers
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def train_in_turns(
    experiment: Experiment, ask: Callable[[], bool], say: Callable[[str], None]
) -> None:
    """What a worker does: the first step, then rounds whenever it is told to.

    Args:
        experiment: What to try.
        ask: Waits for the next round; whether there is one.
        say: Gets `ready` and then the images/s of each round.
    """
    import keras

    from fer_keras.data.pipeline import training_dataset
    from fer_keras.data.splits import load_splits
    from fer_keras.training.start import with_earlier_stages
    from fer_keras.training.task import build_task

    training = experiment.training
    prepare_backend(training)
    experiment = with_earlier_stages(experiment, _not_trained)
    train, validation, _ = load_splits(experiment.dataset, experiment.seed)
    task = build_task(experiment, train, validation)
    method = task.method
    batches = training_dataset(
        task.train,
        batch_size=training.batch_size,
        seed=experiment.seed,
        augmentation=task.augmentation,
        views=task.views,
        class_weights=task.class_weights,
        sampling=training.sampling,
        with_rows=method.needs_rows,
        target_facts=method.target_facts,
    )

    class Rounds(keras.callbacks.Callback):
        """Waits between rounds; a round is at least one step."""

        start = 0.0
        steps = 0

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            float((logs or {})["loss"])  # Waits for the step.
            seconds = time.perf_counter() - self.start
            self.steps += 1
            if batch and seconds < _ROUND_S:
                return
            # The first step compiles and is no measurement.
            say(f"{self.steps * training.batch_size / seconds:.2f}" if batch else "ready")
            if not ask():
                self.model.stop_training = True
            self.start, self.steps = time.perf_counter(), 0

    method.fit(batches, steps_per_epoch=_MAX_STEPS, verbose=0, shuffle=False, callbacks=[Rounds()])


def _not_trained(earlier: Experiment) -> Path:
    raise ConfigError(
        f"{earlier.name} has no finished run in runs, and a trial trains no earlier stage. "
        f"Train it first: python -m fer_keras.train --exp {earlier.name}"
    )


def _kept(experiment: Experiment) -> Path:
    """The file of the cache for everything that the rates depend on."""
    # Only here: the help of `train` does without OpenCV.
    from fer_keras.data.prepared import cache_folder

    packages = ("keras", *BACKENDS)
    training = dataclasses.asdict(experiment.training)
    for irrelevant in ("epochs", "early_stopping_patience"):
        training.pop(irrelevant)
    facts = {
        "training": training,
        "network": dataclasses.asdict(experiment.network),
        "method": dataclasses.asdict(experiment.method),
        "dataset": dataclasses.asdict(dataclasses.replace(experiment.dataset, limit=0)),
        "augmentation": experiment.augmentation,
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


def _main() -> None:
    # What libraries print must not stand among the answers.
    answers, sys.stdout = sys.stdout, sys.stderr

    def say(line: str) -> None:
        answers.write(line + "\n")
        answers.flush()

    experiment = from_json(json.loads(sys.stdin.readline()))
    try:
        train_in_turns(experiment, lambda: bool(sys.stdin.readline()), say)
    except Exception as error:
        raise SystemExit(f"{type(error).__name__}: {error}".splitlines()[0]) from None


if __name__ == "__main__":
    _main()
