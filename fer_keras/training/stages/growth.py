"""Growth: an ensemble trained in stages, each with one branch more than the one before.

Siqueira, Magg and Wermter, "Efficient Facial Feature Learning with Wide Ensemble-based
Convolutional Neural Networks" (AAAI 2020), section 3.2: a stage goes on from the best checkpoint
of the one before with a fresh branch and a fresh optimizer; what has been trained learns more
slowly than the new branch, and the training images are drawn anew. `growth.first` asks for it.

A stage is a run like any other, so what was trained so far can be evaluated and exported at any
time. The last stage is the run of the folder itself:
  branches-1, branches-2, ...   the run folders of the stages before
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from fer_keras.common.errors import ConfigError, Stopped
from fer_keras.common.files import read_json
from fer_keras.config import Experiment, flatten
from fer_keras.data.load import tracked_name
from fer_keras.tracking.tracked import tracked
from fer_keras.training.run_folder import drop_checkpoint, open_run_dir

_OPTION = "num_branches"


def stages(experiment: Experiment, run_dir: Path) -> list[tuple[Experiment, Path]]:
    """What a growth trains, in this order, and where.

    Args:
        experiment: With `growth.first` of 1 or more.
        run_dir: The folder of the last stage, in which those of the others are.

    Returns:
        Experiment and run folder of every stage. The last experiment is the given one with
        `growth.previous`; the others have fewer branches, draw other training images, and are
        plain runs (`growth.first` is 0).

    Raises:
        ConfigError: The network says no number of branches, or has fewer than the first stage.
    """
    growth, last = experiment.growth, experiment.network.options.get(_OPTION)
    if not isinstance(last, int) or last < growth.first:
        raise ConfigError(
            f"growth.first={growth.first}: expected network.options.{_OPTION} of at least as many. "
            f"Received: {last}."
        )
    made: list[tuple[Experiment, Path]] = []
    for branches in range(growth.first, last + 1):
        is_first = branches == growth.first
        folder = run_dir / f"branches-{branches}" if branches < last else run_dir
        stage = dataclasses.replace(
            experiment,
            dataset=dataclasses.replace(
                experiment.dataset,
                per_class_seed=experiment.dataset.per_class_seed + last - branches,
            ),
            network=dataclasses.replace(
                experiment.network, options={**experiment.network.options, _OPTION: branches}
            ),
            training=dataclasses.replace(
                experiment.training,
                epochs=(growth.first_epochs if is_first and branches < last else 0)
                or experiment.training.epochs,
            ),
            growth=dataclasses.replace(
                growth,
                first=growth.first if branches == last else 0,
                previous="" if is_first else str(made[-1][1]),
            ),
        )
        made.append((stage, folder))
    return made


def grow(
    experiment: Experiment,
    run_dir: Path,
    train_stage: Callable[..., dict[str, Any]],
    *,
    resume: bool,
    command: str,
    track: bool,
    parent_run_id: str,
    part: str,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Trains every stage that is not finished, each as an MLflow run nested in that of the last.

    Args:
        experiment: With `growth.first` of 1 or more.
        run_dir: The folder of the last stage; made if missing.
        train_stage: Trains one stage: `fer_keras.training.run.run`.
        resume: Go on where the growth of the folder was interrupted.
        command: The command line, for the record.
        track: Whether MLflow gets the runs.
        parent_run_id: The MLflow run that all of it is nested in.
        part: Which part of that it is.
        report: Takes the lines for the terminal.

    Returns:
        The result of the last stage.

    Raises:
        ConfigError: The folder is in use, or there is nothing to resume.
        fer_keras.training.callbacks.Interrupted: Ctrl-C or SIGTERM; `resume` goes on in the same
        stage.
    """
    *earlier, (last, _) = stages(experiment, run_dir)
    # At once: what is under way can be told from the folder, and a resumed growth finds it.
    open_run_dir(run_dir, last, resume)
    name = f"{last.name}-seed{last.seed}{f' {part}' if part else ''}"
    settings = flatten(dataclasses.asdict(last))
    record: dict[str, Any] = {"command": command, "track": track}
    try:
        with tracked(
            run_dir,
            tracked_name(last.dataset.name, last.dataset.source),
            name,
            settings,
            {},
            enabled=track,
            parent_run_id=parent_run_id,
        ) as tracker:
            for stage, folder in earlier:
                branches = stage.network.options[_OPTION]
                if not (folder / "result.json").is_file():
                    report(f"\n{branches} of {last.network.options[_OPTION]} branches")
                    started = (folder / "experiment.json").is_file()
                    label = f"{part} {branches} branches".strip()
                    train_stage(
                        stage, folder, resume=started, parent_run_id=tracker.run_id, part=label,
                        **record,
                    )  # fmt: skip
                    drop_checkpoint(folder)
                    # The networks of the finished stages would stay in memory.
                    keras.utils.clear_session()
                accuracy = read_json(folder / "result.json")["accuracy"]
                tracker.log({"accuracy_by_branches": accuracy}, branches)
    except (Stopped, KeyboardInterrupt):
        report(
            "The stages that are finished are kept. Go on with all of it: python -m "
            f"fer_keras.train --run-dir {run_dir} --resume"
        )
        raise
    report(f"\nall {last.network.options[_OPTION]} branches")
    return train_stage(last, run_dir, resume=True, parent_run_id=parent_run_id, part=part, **record)
