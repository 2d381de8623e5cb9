"""Trains an experiment: `python -m fer_keras.train --exp NAME`.

`run` is the whole story, top to bottom: data, network, method, optimizer, restore, fit, evaluate.
Everything a run makes lies in its folder; MLflow gets a copy.
"""

import argparse
import dataclasses
import json
import math
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fer_keras.backend_choice import fastest_backend
from fer_keras.config import Experiment, flatten, load_experiment, override
from fer_keras.cross_validation import cross_validate
from fer_keras.distribution import ONE_DEVICE, Distribution, one_run
from fer_keras.errors import ConfigError, FerKerasError, TrainingError, run_command
from fer_keras.fallback import with_fallback
from fer_keras.files import write_text
from fer_keras.growth import grow, stage_rates
from fer_keras.run_folder import first_command, name_best, new_run_dir, open_run_dir

_EXAMPLES = """examples:
  python -m fer_keras.train --list
  python -m fer_keras.train --exp word2vec
  python -m fer_keras.train --exp word2vec --set training.epochs=3 --set method.options.scale=24
  python -m fer_keras.train --exp path/to/mine.py --seed 1 --run-dir runs/mine-1
  python -m fer_keras.train --run-dir runs/mine-1 --resume
  python -m fer_keras.train --exp ferplus_cel --backend auto
  python -m fer_keras.train --exp ferplus_cel --backend jax --devices 8
  python -m fer_keras.train --exp runs/mine-1/experiment.json      the same run again
"""


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
        fer_keras.callbacks.Interrupted: Ctrl-C or SIGTERM; `resume` goes on from there.
        Pruned: `on_epoch` gave the run up.
    """
    import keras

    from fer_keras.callbacks import Interrupted, ProgressBar, RunState, epoch_line
    from fer_keras.card import card_of_run
    from fer_keras.champion import challenge, pictures_id
    from fer_keras.checkpoint import Progress, load_checkpoint
    from fer_keras.data import describe
    from fer_keras.data.augment import check_policy, mixes_pictures
    from fer_keras.data.pipeline import (
        balanced_class_weights,
        evaluation_dataset,
        steps_per_epoch,
        training_dataset,
    )
    from fer_keras.data.splits import load_splits
    from fer_keras.device import faster_settings, prepare_backend, use_xla
    from fer_keras.embedding_cache import feed_embeddings
    from fer_keras.evaluate import evaluate
    from fer_keras.loading import load_model, save_network
    from fer_keras.methods import build_method
    from fer_keras.models import build_model
    from fer_keras.optimizers import build_optimizer, freeze_layers
    from fer_keras.plots import plot_curves
    from fer_keras.pretrained import (
        keeping_start,
        load_start,
        with_bases,
        with_encoders,
        with_teacher,
    )
    from fer_keras.tracking import TRACKED_FIGURES, Tracker, git_commit

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

    keras.utils.set_random_seed(experiment.seed)
    image_shape = train.images.shape[1:]
    network_options, encoders = with_encoders(dict(experiment.network.options), image_shape)
    network_options, bases = with_bases(network_options, train.class_names)
    network = build_model(
        experiment.network.name, image_shape, len(train.class_names), **network_options
    )
    weights_from = encoders or bases or "none: trained from scratch"
    start = experiment.network
    if start.weights:
        weights_from = load_start(
            network,
            train.class_names,
            start.weights,
            whole=start.keep_start > 0,
            pictures=train.images,
        )
    if experiment.growth.previous:
        grown_from = load_start(network, train.class_names, experiment.growth.previous)
        weights_from = f"{weights_from}; then {grown_from}" if start.weights else grown_from
    if encoders or bases or start.weights or experiment.growth.previous:
        print(f"weights {weights_from}")
    options, teacher = with_teacher(dict(experiment.method.options))
    method = build_method(experiment.method.name, network, train.class_names, **options)
    if mixes_pictures(experiment.augmentation):
        method.check_mixtures()
    method.prepare(train)
    save_kept: Any = save_network
    if start.keep_start:
        save_kept = keeping_start(save_network, method.network, start.keep_start)
        weights_from += f"; they are {start.keep_start:.0%} of the kept weights"
    fed_train, fed_validation, augmentation = train, validation, experiment.augmentation
    if training.cached_embeddings:
        fed_train, fed_validation = feed_embeddings(method, train, validation, experiment)
        augmentation = "none"  # It is in the embeddings.
    per_epoch = steps_per_epoch(len(fed_train), training.batch_size)
    if not method.trainable_variables:
        print("note: this network has nothing to train; it is measured as it is")
        warnings.filterwarnings("ignore", message="The model does not have any trainable weights")
        per_epoch = 1
    method.sam_rho = training.sam_rho
    if training.layer_rates:
        freeze_layers(method.network, training.layer_rates)
    method.compile(
        optimizer=build_optimizer(training, per_epoch), jit_compile=use_xla(training.jit_compile)
    )
    method.optimizer.build(method.trainable_variables)
    num_parameters = sum(math.prod(v.shape) for v in method.trainable_variables)
    print(f"network {network.name}  {num_parameters:,} trainable parameters")

    # Only now: a wrong option or data that cannot be read leaves no folder behind.
    if distribution.writes:
        open_run_dir(run_dir, experiment, resume)
        command = first_command(run_dir, command)
        write_text(run_dir / "labels.txt", "\n".join(train.class_names) + "\n")
    progress = (load_checkpoint(run_dir / "checkpoint", method) if resume else None) or Progress()
    if progress.step:
        print(f"resumed at step {progress.step} (epoch {progress.step // per_epoch + 1})")

    weights = balanced_class_weights(fed_train) if training.class_weights == "balanced" else None
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
        save_kept,
        report,
        distribution,
    )
    facts = method.target_facts
    held_out = evaluation_dataset(fed_validation, shard=distribution.shard, target_facts=facts)

    def fit(first_epoch: int, last_epoch: int, steps: int) -> None:
        batches = training_dataset(
            fed_train,
            batch_size=training.batch_size,
            seed=experiment.seed,
            first_step=progress.step,
            augmentation=augmentation,
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
            "trainable_parameters": num_parameters,
            "initial_weights": weights_from,
            "teacher": teacher,
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
            image_shape[-3:],
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


def run_stages(
    experiment: Experiment,
    run_dir: Path | None,
    *,
    resume: bool = False,
    command: str = "",
    track: bool = True,
    parent_run_id: str = "",
    part: str = "",
    distribution: Distribution = ONE_DEVICE,
) -> dict[str, Any]:
    """Trains an experiment, by folds or stages if it says so, and first what it starts from.

    Args:
        experiment: What to run.
        run_dir: The folder of the last stage; a new one in `runs` if None, as for the earlier ones.
        resume: Go on with what is in the folder.
        command: The command line, for the record.
        track: Whether MLflow gets the runs.
        parent_run_id: See `run`.
        part: See `run`.
        distribution: See `run`.

    Returns:
        The result of the last stage, or of `fer_keras.cross_validation.cross_validate`.
    """
    folder = run_dir or new_run_dir(experiment)
    record: dict[str, Any] = {"resume": resume, "command": command, "track": track}
    if distribution != ONE_DEVICE:
        experiment = experiment if resume else one_run(experiment, run_dir)
        return run(experiment, folder, distribution=distribution, **record)
    if experiment.dataset.every_fold:
        return cross_validate(experiment, folder, run_stages, report=print, **record)
    if not resume:  # A run that was started names the networks of its earlier stages.
        experiment = train_earlier_stages(experiment, command, track)
    record |= {"parent_run_id": parent_run_id, "part": part}
    if experiment.growth.first:
        return grow(experiment, folder, run, report=print, **record)
    return run(experiment, folder, **record)


def train_earlier_stages(experiment: Experiment, command: str, track: bool) -> Experiment:
    """Trains what an experiment starts or learns from, where there is no finished run of it.

    Args:
        experiment: What will run.
        command: The command line, for the record.
        track: Whether MLflow gets the runs.

    Returns:
        The experiment with the paths of the trained networks.
    """
    from fer_keras.pretrained import with_earlier_stages

    def earlier(first: Experiment) -> Path:
        print(f"{first.name} has no finished run in runs: it is trained first\n")
        folder = new_run_dir(first)
        run_stages(first, folder, command=f"{command}  # an earlier stage of it", track=track)
        print()
        return folder

    return with_earlier_stages(experiment, earlier)


def _stopped_early(progress: Any, experiment: Experiment) -> bool:
    patience = experiment.training.early_stopping_patience
    best = progress.best(experiment.training.select_by)
    return bool(patience and best and progress.history[-1]["epoch"] - best["epoch"] >= patience)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.train",
        description="Train an experiment, choose its weights by validation, and record it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--exp", help="a shipped experiment, a .py file, or an experiment.json")
    parser.add_argument("--list", action="store_true", help="list the shipped experiments")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting"
    )
    parser.add_argument("--seed", type=int, help="short for --set seed=N")
    parser.add_argument(
        "--backend",
        choices=("tensorflow", "jax", "torch", "auto"),
        help="Keras backend; auto: the fastest for this network on this machine, after a trial",
    )
    parser.add_argument("--devices", type=int, default=1, help="devices of each process")
    cluster = parser.add_argument_group("several processes (JAX), see docs/distributed.md")
    cluster.add_argument("--coordinator", default="", metavar="HOST:PORT", help="process 0")
    cluster.add_argument("--num-processes", type=int, default=1)
    cluster.add_argument("--process-id", type=int, default=0)
    parser.add_argument("--run-dir", type=Path, help="default: runs/NAME-seedN-DATE")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --run-dir")
    parser.add_argument(
        "--require-data", action="store_true", help="a missing data set is an error"
    )
    parser.add_argument("--no-mlflow", action="store_true", help="keep the run folder only")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `--help`."""
    from fer_keras.config import list_experiments

    arguments = _parser().parse_args(argv)
    if arguments.list:
        experiments = list_experiments()
        width = max(len(name) for name in experiments)
        for name, line in experiments.items():
            print(f"{name:<{width}}  {line}")
        return 0
    if arguments.resume and arguments.run_dir is None:
        raise ConfigError("--resume needs --run-dir: the folder of the run to go on with.")
    if not arguments.exp and not arguments.resume:
        raise ConfigError("Expected --exp NAME (see --list). Received none.")
    experiment = load_experiment(arguments.exp or str(arguments.run_dir))
    changes = [*arguments.set, *([] if arguments.seed is None else [f"seed={arguments.seed}"])]
    experiment = override(experiment, changes)

    distribution = Distribution(
        arguments.devices, arguments.coordinator, arguments.num_processes, arguments.process_id
    )

    # Before the first import of Keras and TensorFlow, which read these once.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not arguments.resume:
        experiment = with_fallback(experiment, arguments.require_data)
    if arguments.backend == "auto":
        arguments.backend = fastest_backend(experiment, print)
    if arguments.backend:
        os.environ["KERAS_BACKEND"] = arguments.backend

    words = sys.argv[1:] if argv is None else list(argv)
    command = shlex.join(["python", "-m", "fer_keras.train", *words])
    record = {"command": command, "track": not arguments.no_mlflow, "resume": arguments.resume}
    record["distribution"] = distribution
    return _run_and_report(
        lambda: run_stages(experiment, arguments.run_dir, **record), distribution.num_processes > 1
    )


def _run_and_report(action: Callable[[], Any], several_processes: bool) -> int:
    from fer_keras.callbacks import Interrupted

    code = 0
    try:
        action()
    except Interrupted:
        code = 130
    except MemoryError:
        raise TrainingError("Out of memory. Try a smaller training.batch_size.") from None
    except FerKerasError as error:
        if not several_processes:
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = 2
    if code and several_processes:
        os._exit(code)  # At a usual exit JAX waits for processes that wait for this one.
    return code


if __name__ == "__main__":
    run_command(main)
