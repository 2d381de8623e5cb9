"""One training, top to bottom: data, network, method, optimizer, restore, fit, evaluate.

Everything a run makes lies in its folder; MLflow gets a copy.
"""

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fer_keras.common.files import write_text
from fer_keras.config import Experiment, flatten
from fer_keras.training.distribution import ONE_DEVICE, Distribution
from fer_keras.training.run_folder import first_command, name_best, open_run_dir
from fer_keras.training.stages.growth import stage_rates


class Pruned(Exception):
    """Whoever watches the epochs of a run does not want more of them."""


def run(
    experiment: Experiment,
    run_dir: Path,
    *,
    resume: bool = False,
    command: str = "",
    track: bool = True,
    parent_run_id: str = "",
    part: str = "",
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    distribution: Distribution = ONE_DEVICE,
) -> dict[str, Any]:
    """Trains, selects by validation, evaluates and records one experiment.

    Args:
        experiment: What to run.
        run_dir: The run folder; made if missing.
        resume: Go on from the folder's checkpoint.
        command: The command line, for the record.
        track: Whether MLflow gets the run.
        parent_run_id: The MLflow run that this one is nested in.
        part: Which part of that it is, such as `trial 3`, for its name.
        on_epoch: Called with the row of each finished epoch, after everything is saved; it may
            raise `Pruned`.
        distribution: The devices and processes that share the work.

    Returns:
        The content of `result.json`: the validation figures of the kept epoch, and what the run
        was. Nothing in a process that does not write.

    Raises:
        ConfigError: An unknown network, method, option or augmentation; a run folder in use.
        DataError: The data set is missing or malformed.
        TrainingError: A loss that is not finite, or a checkpoint that cannot be written.
        fer_keras.training.callbacks.Interrupted: Ctrl-C or SIGTERM; `resume` goes on from there.
        Pruned: `on_epoch` gave the run up.
    """
    import keras

    from fer_keras.data.augmentation.policies import check_policy
    from fer_keras.data.load import describe
    from fer_keras.data.pipeline import (
        balanced_class_weights,
        evaluation_dataset,
        training_dataset,
        training_prior,
    )
    from fer_keras.data.splits import load_splits
    from fer_keras.evaluation.evaluate import evaluate
    from fer_keras.loading.load import load_model
    from fer_keras.reporting.card import card_of_run
    from fer_keras.reporting.plots import plot_curves
    from fer_keras.tracking.champion import challenge, pictures_id
    from fer_keras.tracking.tracker import TRACKED_FIGURES, Tracker, git_commit
    from fer_keras.training.callbacks import Interrupted, ProgressBar, RunState, epoch_line
    from fer_keras.training.checkpoint import Progress, load_checkpoint
    from fer_keras.training.device import faster_settings, prepare_backend
    from fer_keras.training.task import build_task

    training = dataclasses.replace(experiment.training, layer_rates=stage_rates(experiment))
    fallback = bool(experiment.dataset.fallback_for)
    tag = f"dataset={experiment.dataset.name}{' (fallback)' if fallback else ''}"
    print(f"{experiment.name} seed {experiment.seed}  {tag}  {run_dir}")
    distribution.start(training, experiment.seed)
    device = prepare_backend(training, distribution.description)
    print(device)
    for faster in faster_settings(training):
        print(f"note: {faster}")
    check_policy(experiment.augmentation)
    train, validation, left_out = load_splits(experiment.dataset, experiment.seed)
    for note in dict.fromkeys((*train.notes, *validation.notes)):
        print(f"note: {note}")
    print(
        f"data  train {len(train)} ({train.label_rule})  "
        f"validation {len(validation)} ({validation.label_rule})"
    )

    task = build_task(experiment, train, validation)
    method, per_epoch, weights_from = task.method, task.steps_per_epoch, task.weights_from
    num_parameters = sum(math.prod(v.shape) for v in method.trainable_variables)
    print(f"network {method.network.name}  {num_parameters:,} trainable parameters")

    # Only now: a wrong option or data that cannot be read leaves no folder behind.
    if distribution.writes:
        open_run_dir(run_dir, experiment, resume)
        command = first_command(run_dir, command)
        write_text(run_dir / "labels.txt", "\n".join(train.class_names) + "\n")
    progress = (load_checkpoint(run_dir / "checkpoint", method) if resume else None) or Progress()
    if progress.step:
        print(f"resumed at step {progress.step} (epoch {progress.step // per_epoch + 1})")

    weights = balanced_class_weights(task.train) if training.class_weights == "balanced" else None
    tracker = Tracker(track and distribution.writes)
    tags = {
        "experiment": experiment.name,
        "method": experiment.method.name,
        "network": experiment.network.name,
        "git_commit": git_commit(),
        "dataset": tag.removeprefix("dataset="),
        "dataset_fingerprint": train.fingerprint,
        "fallback": str(fallback).lower(),
        "label_rule": train.label_rule,
        "label_order": ",".join(train.class_names),
        "backend": keras.backend.backend(),
        "device": device,
        "seed": str(experiment.seed),
        "initial_weights": weights_from,
        "run_dir": str(run_dir),
    }
    run_id_file = run_dir / "mlflow_run_id.txt"
    earlier = run_id_file.read_text().strip() if resume and run_id_file.exists() else ""
    run_name = f"{experiment.name}-seed{experiment.seed}{f' {tag}' if fallback else ''}"
    run_name += f" {part}" if part else ""
    settings = flatten(dataclasses.asdict(experiment))
    if tracker.start(train.name, run_name, settings, tags, earlier, parent_run_id):
        write_text(run_id_file, tracker.run_id + "\n")
    tracker.artifact(run_dir / "experiment.json")

    def report(row: dict[str, float]) -> None:
        print(epoch_line(row, training.epochs), flush=True)
        tracker.log({k: v for k, v in row.items() if k != "epoch"}, int(row["epoch"]))
        if on_epoch is not None:
            on_epoch(row)

    state = RunState(
        run_dir,
        training,
        progress,
        per_epoch,
        experiment.seed,
        task.save,
        report,
        distribution,
    )
    facts = method.target_facts
    held_out = evaluation_dataset(task.validation, shard=distribution.shard, target_facts=facts)

    def fit(first_epoch: int, last_epoch: int, steps: int) -> None:
        batches = training_dataset(
            task.train,
            batch_size=training.batch_size,
            seed=experiment.seed,
            first_step=progress.step,
            augmentation=task.augmentation,
            class_weights=weights,
            sampling=training.sampling,
            shard=distribution.shard,
            with_rows=method.needs_rows,
            target_facts=facts,
        )
        method.fit(
            batches,
            initial_epoch=first_epoch,
            epochs=last_epoch,
            steps_per_epoch=steps,
            validation_data=held_out,
            callbacks=[ProgressBar(training.epochs, steps), state],
            verbose=0,
            shuffle=False,
        )

    status = "FAILED"
    try:
        epoch, inside = divmod(progress.step, per_epoch)
        with distribution.running(run_dir / "checkpoint"):
            if inside:  # A checkpoint within an epoch: first the rest of that epoch.
                fit(epoch, epoch + 1, per_epoch - inside)
                epoch += 1
            if epoch < training.epochs and not _stopped_early(progress, experiment):
                fit(epoch, training.epochs, per_epoch)
        state.restore_signals()
        if not distribution.writes:
            return {}

        best = progress.best(training.select_by) or {}
        figures = evaluate(
            load_model(run_dir / "best.keras"),
            validation,
            train_samples=left_out,
            output_dir=run_dir,
        )
        result = {
            **figures,
            "experiment": experiment.name,
            "run": f"{experiment.name} seed {experiment.seed} {tag}",
            "fallback": fallback,
            "seed": experiment.seed,
            "best_epoch": int(best["epoch"]),
            "epochs": len(progress.history),
            "train_images": len(train),
            "train_label_rule": train.label_rule,
            "class_prior": training_prior(train, class_weights=weights, sampling=training.sampling),
            "trainable_parameters": num_parameters,
            "initial_weights": weights_from,
            "teacher": task.teacher,
            "training_minutes": round(progress.seconds / 60, 2),
            "images_per_second": round(progress.step * training.batch_size / progress.seconds, 1),
            "backend": keras.backend.backend(),
            "device": device,
            "git_commit": tags["git_commit"],
            "dataset_fingerprint": train.fingerprint,
            "validation_pictures": pictures_id(validation),
            "command": command,
        }
        write_text(run_dir / "result.json", json.dumps(result, indent=2) + "\n")
        card = card_of_run(
            experiment,
            describe(experiment.dataset.name),
            result,
            train.images.shape[-3:],
            train.label_rule,
        )
        write_text(run_dir / "card.md", card)
        plot_curves(run_dir / "metrics.jsonl", run_dir / "curves.png")
        named = name_best(run_dir, experiment.name, result["best_epoch"], figures)
        scores = {f"best_{name}": round(figures[name], 5) for name in TRACKED_FIGURES}
        tracker.log(scores, int(best["epoch"]))
        for path in sorted(run_dir.iterdir()):
            if path.is_file() and path.name not in ("mlflow_run_id.txt", named.name):
                tracker.artifact(path)
        # Which of several is the best is for their parent to say.
        if tracker.active and not parent_run_id and not fallback:
            print(challenge(tracker, result))
        status = "FINISHED"
    except Pruned:
        status = "KILLED"
        raise
    except (Interrupted, KeyboardInterrupt):
        status = "KILLED"
        print(
            f"Interrupted at step {progress.step}; saved. Go on with: python -m fer_keras.train "
            f"--run-dir {run_dir} --resume",
            file=sys.stderr,
        )
        raise
    finally:
        state.restore_signals()
        tracker.finish(status)

    low, high = result["accuracy_interval"]
    print(
        f"{experiment.name} seed {experiment.seed}  {tag}  validation accuracy "
        f"{result['accuracy']:.4f} [{low:.4f}, {high:.4f}]  n {result['n']} "
        f"({result['label_rule']})  best epoch {result['best_epoch']}/{training.epochs}  "
        f"{result['training_minutes']} min  {run_dir}"
    )
    return result


def _stopped_early(progress: Any, experiment: Experiment) -> bool:
    patience = experiment.training.early_stopping_patience
    best = progress.best(experiment.training.select_by)
    return bool(patience and best and progress.history[-1]["epoch"] - best["epoch"] >= patience)
