"""The fastest backend for an experiment on this machine: `--backend auto`.

Each installed backend takes 20 steps of the experiment, with its data, network and method, in a
process of its own, since Keras chooses its backend once per process.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError
from fer_keras.common.installed import BACKENDS, is_installed
from fer_keras.config import Experiment, from_json, to_json
from fer_keras.training.device import prepare_backend

_STEPS = 20
# The first ones compile, fill the pipeline and warm up.
_LEFT_OUT = 5
_TIMEOUT_S = 900


def fastest_backend(experiment: Experiment, report: Callable[[str], None]) -> str:
    """Tries the installed backends, one after the other.

    Args:
        experiment: What will run. Networks that it starts or learns from must be trained.
        report: Gets one line for each backend, and one with the choice.

    Returns:
        The backend with most images per second.

    Raises:
        ConfigError: No backend ran.
    """
    rates: dict[str, float] = {}
    for backend in BACKENDS:
        if not is_installed(backend):
            report(f"trial  {backend}: not installed")
            continue
        try:
            done = subprocess.run(
                [sys.executable, "-m", "fer_keras.training.backend_choice"],
                input=to_json(experiment),
                env={**os.environ, "KERAS_BACKEND": backend},
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            report(f"trial  {backend}: not done after {_TIMEOUT_S} s")
            continue
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            report(f"trial  {backend}: failed: {reason[:200]}")
            continue
        figures = json.loads(done.stdout.splitlines()[-1])
        rates[backend] = figures["images_per_second"]
        report(
            f"trial  {backend}: {figures['images_per_second']:.0f} images/s, first step "
            f"{figures['first_step_s']:.1f} s"
        )
    if not rates:
        raise ConfigError("--backend auto: no backend could run this experiment. Name one.")
    best = max(rates, key=lambda backend: rates[backend])
    report(f"trial  chosen: {best}, the fastest over {_STEPS - _LEFT_OUT} steps")
    return best


def measure(experiment: Experiment) -> dict[str, float]:
    """Trains for 20 steps on the backend of this process and writes nothing.

    Args:
        experiment: What to try.

    Returns:
        `images_per_second`, from the median step after the first five, and `first_step_s`, which
        is mostly compilation.
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
        class_weights=task.class_weights,
        sampling=training.sampling,
        with_rows=method.needs_rows,
        target_facts=method.target_facts,
    )

    class Clock(keras.callbacks.Callback):
        """The time at the end of every step."""

        times: list[float]

        def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
            self.times = [time.perf_counter()]

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            float((logs or {})["loss"])  # Waits for the step.
            self.times.append(time.perf_counter())

    clock = Clock()
    method.fit(batches, steps_per_epoch=_STEPS, callbacks=[clock], verbose=0, shuffle=False)
    seconds = [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)]
    rate = training.batch_size / statistics.median(seconds[_LEFT_OUT:])
    return {"images_per_second": round(rate, 1), "first_step_s": round(seconds[0], 2)}


def _not_trained(earlier: Experiment) -> Path:
    raise ConfigError(
        f"--backend auto: {earlier.name} has no finished run in runs, and a trial trains no "
        f"earlier stage. Train it first: python -m fer_keras.train --exp {earlier.name}"
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(from_json(sys.stdin.read()))) + "\n")
