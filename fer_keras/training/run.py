"""One training, top to bottom: data, task, folder, restore, fit, finish.

Everything a run makes lies in its folder; MLflow gets a copy.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_keras.common.files import write_text
from fer_keras.common.progress import progress as bar
from fer_keras.config import Experiment, flatten
from fer_keras.data import splits
from fer_keras.data.augmentation.policies import check_policy
from fer_keras.data.load import tracked_name
from fer_keras.tracking.run_names import headline
from fer_keras.tracking.tracked import tracked
from fer_keras.tracking.tracker import Tracker
from fer_keras.training.backend_choice import trial_words
from fer_keras.training.checkpoint import Progress, load_checkpoint
from fer_keras.training.device import precision_note, prepare_backend
from fer_keras.training.distribution import ONE_DEVICE, Distribution
from fer_keras.training.finish import finish
from fer_keras.training.fit import fit
from fer_keras.training.own_parts import check_parts, keep_own_files
from fer_keras.training.record import RunRecord
from fer_keras.training.run_folder import first_command, open_run_dir
from fer_keras.training.task import build_task

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples


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
    announced: bool = False,
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
        announced: Whether the headline stands on the terminal already.

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
    if not announced:
        print(headline(experiment, run_dir))
    distribution.start(experiment.training, experiment.seed)
    device = prepare_backend(experiment.training, distribution.description)
    device += trial_words(experiment)
    print(device)
    if note := precision_note(experiment.training):
        print(note)
    check_policy(experiment.augmentation)
    check_parts(experiment)
    train, validation, whole_train = _load(experiment)
    with bar("building the network"):
        task = build_task(experiment, train, validation)

    # Only now: a wrong option or data that cannot be read leaves no folder behind.
    if distribution.writes:
        open_run_dir(run_dir, experiment, resume)
        keep_own_files(run_dir, experiment)
        command = first_command(run_dir, command)
        write_text(run_dir / "labels.txt", "\n".join(train.class_names) + "\n")
    record = RunRecord(experiment, run_dir, train, validation, task, device, command)
    print(f"network {task.method.network.name}  {task.num_parameters:,} trainable parameters")
    checkpoint = load_checkpoint(run_dir / "checkpoint", task.method) if resume else None
    progress = checkpoint or Progress()
    if progress.step:
        epoch = progress.step // task.steps_per_epoch + 1
        print(f"resumed at step {progress.step} (epoch {epoch})")

    def log_beginning(tracker: Tracker) -> None:
        tracker.artifact(run_dir / "experiment.json")
        tracker.log_data(record.tracked_data())

    with tracked(
        run_dir,
        tracked_name(experiment.dataset.name, experiment.dataset.source),
        record.name(part),
        flatten(dataclasses.asdict(experiment)),
        record.tags(),
        enabled=track and distribution.writes,
        parent_run_id=parent_run_id,
        first=log_beginning,
    ) as tracker:
        fit(experiment, task, run_dir, progress, tracker, on_epoch, distribution)
        if not distribution.writes:
            return {}
        result = finish(record, whole_train, progress, tracker, is_part=bool(parent_run_id))
    print(record.last_line(result))
    if not part and not parent_run_id:
        print(record.next_line(tracker.active))
    return result


def _load(experiment: Experiment) -> "tuple[Samples, Samples, Samples]":
    """Train, validation, and train with what was left out of it; says what they are."""
    train, validation, whole_train = splits.load_splits(experiment.dataset, experiment.seed)
    for note in dict.fromkeys((*train.notes, *validation.notes)):
        print(f"note: {note}")
    print(
        f"data  train {len(train)} ({train.label_rule})  "
        f"validation {len(validation)} ({validation.label_rule})"
    )
    return train, validation, whole_train
