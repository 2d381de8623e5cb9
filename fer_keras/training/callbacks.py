"""What happens at the end of each step and epoch of a training run."""

import contextlib
import json
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import keras

from fer_keras.common.errors import Stopped, TrainingError
from fer_keras.common.files import write_text
from fer_keras.common.progress import open_progress
from fer_keras.config import TrainingConfig
from fer_keras.training.checkpoint import Progress, as_array, save_checkpoint
from fer_keras.training.distribution import ONE_DEVICE, Distribution
from fer_keras.training.weight_average import WeightAverage

# Reading the loss waits for the step, so it is not done at every one.
_CHECK_EVERY = 25


class Interrupted(Stopped):
    """Ctrl-C or SIGTERM: the state is saved, the run can be resumed."""


class RunState(keras.callbacks.Callback):
    """Keeps a run safe: finite losses, checkpoints, the kept weights, early stopping.

    At the end of an epoch, in this order: the network is saved if the epoch is to be kept, then
    the checkpoint, then `metrics.jsonl`. A kill between any two is harmless: the resumed run
    repeats the epoch with the same result and writes the same files.

    Args:
        run_dir: The run folder.
        training: The recipe.
        progress: How far the run is; updated in place.
        steps_per_epoch: Steps of one pass.
        seed: The run's seed.
        save_best: Writes the network to a path, atomically.
        on_epoch: Called with the row of each finished epoch.
        average: Of the weights; what is validated and kept.
        distribution: The devices and processes; only one process writes.
    """

    def __init__(
        self,
        run_dir: Path,
        training: TrainingConfig,
        progress: Progress,
        steps_per_epoch: int,
        seed: int,
        save_best: Callable[[Any, Path], None],
        on_epoch: Callable[[dict[str, float]], None],
        average: WeightAverage,
        distribution: Distribution = ONE_DEVICE,
    ) -> None:
        super().__init__()
        self._run_dir = run_dir
        self._training = training
        self._progress = progress
        self._steps_per_epoch = steps_per_epoch
        self._seed = seed
        self._save_best = save_best
        self._on_epoch = on_epoch
        self._average = average
        self._distribution = distribution
        self._clock = time.monotonic()
        self._saved = time.monotonic()
        self._checked_step = progress.step
        self._stop_signal = 0
        self._handlers: dict[int, Any] = {}
        self._averaged = contextlib.ExitStack()
        self._figures: list[Any] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Lets Ctrl-C and SIGTERM end the run after the step that is under way."""
        self._clock = self._saved = time.monotonic()
        self._distribution.synchronize_batch_norm(self.model.network)
        if self._progress.step % self._steps_per_epoch:
            self._figures = [as_array(each) for each in self.model.metrics_variables]

        def note(number: int, frame: FrameType | None) -> None:
            if self._stop_signal:  # The second time, at once.
                raise KeyboardInterrupt
            self._stop_signal = number

        for number in (signal.SIGINT, signal.SIGTERM):
            earlier = signal.signal(number, note)
            # A run has many of these beginnings; what was there before the first is given back.
            self._handlers.setdefault(number, earlier)

    def restore_signals(self) -> None:
        """Gives the signal handlers back, however the training ended."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Gives the rest of an epoch the figures of its beginning, which `fit` has just reset."""
        for variable, value in zip(self.model.metrics_variables, self._figures, strict=False):
            variable.assign(value)
        self._figures = []

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Makes dropout on PyTorch a function of the step, as it is elsewhere by its state."""
        if keras.backend.backend() == "torch":
            import torch

            # Dropout layers without a seed draw from the global generator, from which every new
            # data iterator draws too.
            torch.manual_seed(self._seed * 1_000_003 + self._progress.step)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the step, looks at the loss now and then, saves when it is time."""
        self._progress.step += 1
        self._average.update(self._progress.step)
        if self._progress.step % _CHECK_EVERY == 0:
            self._check_loss(logs or {})
        due = time.monotonic() - self._saved > 60 * self._training.checkpoint_minutes
        inside = bool(self._progress.step % self._steps_per_epoch)
        if (due or self._stop_signal) and inside and self._distribution.writes:
            self._save()
        if self._stop_signal and inside:
            raise Interrupted

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Records the epoch, keeps its weights if they are to be kept, writes the checkpoint."""
        self._check_loss(logs or {})
        row: dict[str, float] = {"epoch": epoch + 1}
        row.update({name: round(float(value), 6) for name, value in (logs or {}).items()})
        step = max(self._progress.step - 1, 0)
        rate = self.model.optimizer._learning_rate
        row["learning_rate"] = float(rate(step)) if callable(rate) else float(rate)
        row["seconds"] = round(self._tick(), 2)
        history = self._progress.history
        history.append(row)
        kept = self._progress.kept(self._training)
        if self._distribution.writes:
            if kept is row:
                with self._average.in_place():
                    self._save_network(self.model.network)
            self._save()
            lines = "".join(json.dumps(each) + "\n" for each in history)
            write_text(self._run_dir / "metrics.jsonl", lines)
        self._on_epoch(row)
        if self._progress.stopped(self._training):
            self.model.stop_training = True
        if self._stop_signal and row["epoch"] < self._training.epochs:
            raise Interrupted

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Validates the weights that would be kept."""
        self._averaged.enter_context(self._average.in_place())

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Gives the weights of the last step back."""
        self._averaged.close()

    def _check_loss(self, logs: dict[str, Any]) -> None:
        loss = float(logs.get("loss", 0.0))
        if not math.isfinite(loss):
            step, per_epoch = self._progress.step, self._steps_per_epoch
            raise TrainingError(
                f"The loss is {loss} at steps {self._checked_step + 1} to {step} of the run "
                f"(epoch {(step - 1) // per_epoch + 1}). Nothing was saved since step "
                f"{self._checked_step}; the last good checkpoint stays in "
                f"{self._run_dir / 'checkpoint'}. Lower training.learning_rate "
                f"({self._training.learning_rate}) or set training.clip_norm=1."
            )
        self._checked_step = self._progress.step

    def _tick(self) -> float:
        """Seconds since the epoch, or this session of it, began; adds them to the run's total."""
        now = time.monotonic()
        elapsed, self._clock = now - self._clock, now
        self._progress.seconds += elapsed
        return elapsed

    def _save_network(self, network: Any) -> None:
        self._distribution.synchronize_batch_norm(network, on=False)
        self._save_best(network, self._run_dir / "best.keras")
        self._distribution.synchronize_batch_norm(network)

    def _save(self) -> None:
        before = self._progress.seconds
        self._progress.seconds += time.monotonic() - self._clock
        save_checkpoint(self._run_dir / "checkpoint", self.model, self._progress)
        self._progress.seconds = before
        self._saved = time.monotonic()


class ProgressBar(keras.callbacks.Callback):
    """A bar within each epoch on a terminal, and always one line per finished epoch.

    Args:
        epochs: Epochs of the whole run.
        steps_per_epoch: Steps of one pass.
        held_out_steps: Steps of the validation.
    """

    def __init__(self, epochs: int, steps_per_epoch: int, held_out_steps: int) -> None:
        super().__init__()
        self._epochs = epochs
        self._steps = steps_per_epoch
        self._held_out_steps = held_out_steps
        self._bar = open_progress("starting")

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Opens the bar of the epoch."""
        self._show(f"epoch {epoch + 1}/{self._epochs}", self._steps)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves the bar."""
        self._bar.update()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Opens the bar of the validation."""
        self._show("validation", self._held_out_steps)

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves the bar."""
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Closes the bar."""
        self._bar.close()

    def close(self) -> None:
        """Takes the bar away, wherever the training stopped."""
        self._bar.close()

    def _show(self, what: str, steps: int) -> None:
        self._bar.close()
        self._bar = open_progress(what, steps, "step")


def epoch_line(row: dict[str, float], epochs: int) -> str:
    """The line that stands for one epoch.

    Args:
        row: A row of the history.
        epochs: Epochs of the whole run.

    Returns:
        For instance `epoch  3/20  loss 1.2034  accuracy 0.5422  val_accuracy 0.5511  41 s`.
    """
    shown = {k: v for k, v in row.items() if k not in ("epoch", "seconds", "learning_rate")}
    figures = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
    return (
        f"epoch {int(row['epoch']):>3}/{epochs}  {figures}  "
        f"lr {row['learning_rate']:.2g}  {row['seconds']:.0f} s"
    )
