"""Trains an experiment by folds or stages, and first what it starts from."""

from pathlib import Path
from typing import Any

from fer_keras.common.files import read_json
from fer_keras.config import Experiment
from fer_keras.training.distribution import ONE_DEVICE, Distribution, one_run
from fer_keras.training.run import run
from fer_keras.training.run_folder import drop_checkpoint, new_run_dir, open_run_dir
from fer_keras.training.stages.cross_validation import cross_validate
from fer_keras.training.stages.growth import grow, stages
from fer_keras.training.start import with_earlier_stages


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
    announced: bool = False,
) -> dict[str, Any]:
    """Trains an experiment, by folds or stages if it says so, and first what it starts from.

    Args:
        experiment: What to run.
        run_dir: The folder of the last stage; a new one in `runs` if None, as for the earlier ones.
        resume: Go on with what is in the folder; where that is finished, say so and do nothing.
        command: The command line, for the record.
        track: Whether MLflow gets the runs.
        parent_run_id: See `run`.
        part: See `run`.
        distribution: See `run`.
        announced: See `run`.

    Returns:
        The result of the last stage, or of
        `fer_keras.training.stages.cross_validation.cross_validate`.

    Raises:
        ConfigError: The folder is in use, or there is nothing to resume; else see `run`.
    """
    folder = run_dir or new_run_dir(experiment)
    finished = _finished_result(experiment, folder) if resume else {}
    if finished:
        print(
            f"{finished['run']} is finished, accuracy {finished['accuracy']:.4f} on "
            f"{finished['dataset']} {finished['split']}: nothing is left to do in {folder}\n"
            "To train it anew, choose another --run-dir and leave --resume out."
        )
        return finished
    record: dict[str, Any] = {"resume": resume, "command": command, "track": track}
    if distribution != ONE_DEVICE:
        experiment = experiment if resume else one_run(experiment, run_dir)
        result = run(experiment, folder, distribution=distribution, announced=announced, **record)
        if distribution.writes:
            drop_checkpoint(folder)
        return result
    if experiment.dataset.every_fold:
        return cross_validate(experiment, folder, run_stages, report=print, **record)
    if not resume:  # A run that was started names the networks of its earlier stages.
        whole = experiment
        experiment = train_earlier_stages(whole, command, track)
        # The lines of earlier stages may stand in between.
        announced = announced and experiment == whole
    record |= {"parent_run_id": parent_run_id, "part": part}
    if experiment.growth.first:
        result = grow(experiment, folder, run, report=print, **record)
    else:
        result = run(experiment, folder, announced=announced, **record)
    drop_checkpoint(folder)
    return result


def _finished_result(experiment: Experiment, run_dir: Path) -> dict[str, Any]:
    """The `result.json` of a folder where everything is done, else empty; refuses other folders."""
    whole = stages(experiment, run_dir)[-1][0] if experiment.growth.first else experiment
    open_run_dir(run_dir, whole, resume=True)
    path = run_dir / "result.json"
    has_network = experiment.dataset.every_fold or (run_dir / "best.keras").is_file()
    result = read_json(path) if path.is_file() and has_network else {}
    # An evaluation writes the file too, but not how long the training took.
    return result if "training_minutes" in result else {}


def train_earlier_stages(experiment: Experiment, command: str, track: bool) -> Experiment:
    """Trains what an experiment starts or learns from, where there is no finished run of it.

    Args:
        experiment: What will run.
        command: The command line, for the record.
        track: Whether MLflow gets the runs.

    Returns:
        The experiment with the paths of the trained networks.
    """

    def earlier(first: Experiment) -> Path:
        print(f"{first.name} has no finished run in runs: it is trained first\n")
        folder = new_run_dir(first)
        run_stages(first, folder, command=f"{command}  # an earlier stage of it", track=track)
        print()
        return folder

    return with_earlier_stages(experiment, earlier)
