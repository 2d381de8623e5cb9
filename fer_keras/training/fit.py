"""The epochs of a run, from wherever it is."""

import contextlib
import importlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras.callbacks import LambdaCallback

from fer_keras.common.errors import Stopped
from fer_keras.config import Experiment
from fer_keras.data.pipeline import evaluation_dataset, training_dataset
from fer_keras.tracking.tracker import Tracker
from fer_keras.training.callbacks import Interrupted, ProgressBar, RunState, epoch_line
from fer_keras.training.checkpoint import Progress
from fer_keras.training.distribution import Distribution
from fer_keras.training.task import Task

# Slow imports.
_NEEDED_AT_THE_END = ("matplotlib.figure", "matplotlib.backends.backend_agg", "scipy.optimize")


class Pruned(Stopped):
    """Whoever watches the epochs of a run does not want more of them."""


def fit(
    experiment: Experiment,
    task: Task,
    run_dir: Path,
    progress: Progress,
    tracker: Tracker,
    on_epoch: Callable[[dict[str, float]], None] | None,
    distribution: Distribution,
) -> None:
    """Trains what is left of a run: the rest of an epoch that had begun, then the others.

    Args:
        experiment: What runs.
        task: Of `fer_keras.training.task.build_task`.
        run_dir: Gets checkpoints, the best network and `metrics.jsonl`.
        progress: How far the run is; updated in place.
        tracker: Gets the row of each finished epoch.
        on_epoch: Called with it after everything is saved; it may raise `Pruned`.
        distribution: The devices and processes that share the work.

    Raises:
        TrainingError: A loss that is not finite, or a checkpoint that cannot be written.
        Interrupted: Ctrl-C or SIGTERM; everything is saved.
        Pruned: `on_epoch` gave the run up.
    """
    training, method = experiment.training, task.method

    def report(row: dict[str, float]) -> None:
        print(epoch_line(row, training.epochs), flush=True)
        tracker.log({k: v for k, v in row.items() if k != "epoch"}, int(row["epoch"]))
        if on_epoch is not None:
            on_epoch(row)

    state = RunState(
        run_dir,
        training,
        progress,
        task.steps_per_epoch,
        experiment.seed,
        task.save,
        report,
        task.average,
        distribution,
    )
    # Beside the steps, which leave Python idle.
    beside = threading.Thread(target=_load_ahead, args=(tracker,), daemon=True)

    def after_step(batch: int, logs: dict[str, Any] | None = None) -> None:
        if beside.ident is None:
            beside.start()

    held_out = evaluation_dataset(
        task.validation, shard=distribution.shard, target_facts=method.target_facts
    )

    def fit_epochs(first: int, last: int, steps: int) -> None:
        bar = ProgressBar(training.epochs, steps, len(held_out))
        begins = progress.step % task.steps_per_epoch == 0
        try:
            batches = training_dataset(
                task.train,
                batch_size=training.batch_size,
                seed=experiment.seed,
                first_step=progress.step,
                augmentation=task.augmentation,
                views=task.views,
                class_weights=task.class_weights,
                sampling=training.sampling,
                shard=distribution.shard,
                with_rows=method.needs_rows,
                target_facts=method.target_facts,
                only=task.learned.pass_of(first, experiment.seed, begins=begins),
            )
            method.fit(
                batches,
                initial_epoch=first,
                epochs=last,
                steps_per_epoch=steps,
                validation_data=held_out,
                callbacks=[bar, state, LambdaCallback(on_train_batch_end=after_step)],
                verbose=0,
                shuffle=False,
            )
        finally:
            bar.close()

    try:
        with distribution.running(run_dir / "checkpoint"):
            epoch, inside = divmod(progress.step, task.steps_per_epoch)
            if inside:  # A checkpoint within an epoch: first the rest of that epoch.
                fit_epochs(epoch, epoch + 1, task.steps_per_epoch - inside)
                epoch += 1
            while epoch < training.epochs and not progress.stopped(training):
                # What a pass leaves out depends on the passes before it.
                last = epoch + 1 if task.learned.left_out else training.epochs
                fit_epochs(epoch, last, task.steps_per_epoch)
                epoch = last
    except (Interrupted, KeyboardInterrupt):
        print(
            f"Interrupted at step {progress.step}; saved. Go on with: python -m fer_keras.train "
            f"--run-dir {run_dir} --resume",
            file=sys.stderr,
        )
        raise
    finally:
        state.restore_signals()


def _load_ahead(tracker: Tracker) -> None:
    """Opens the MLflow run, and imports what the end of a run needs."""
    # What fails here fails again where it is needed, and is reported there.
    with contextlib.suppress(Exception):
        tracker.open()
    with contextlib.suppress(Exception):
        for module in _NEEDED_AT_THE_END:
            importlib.import_module(module)
        tracker.prepare_model()
