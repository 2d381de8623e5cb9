"""What a run is called: on the terminal, in MLflow, in its records."""

from pathlib import Path

from fer_keras.common.plugins import is_own_file
from fer_keras.config import Experiment


def data_tag(experiment: Experiment) -> str:
    """The data set as lines about a run name it.

    Args:
        experiment: What runs.
    """
    fallback = " (fallback)" if experiment.dataset.fallback_for else ""
    name = experiment.dataset.name
    return f"dataset={Path(name).stem if is_own_file(name) else name}{fallback}"


def run_name(experiment: Experiment, part: str = "") -> str:
    """The name of the MLflow run.

    Args:
        experiment: What runs.
        part: Which part of a whole it is, such as `fold 3`; may be empty.
    """
    tag = f" {data_tag(experiment)}" if experiment.dataset.fallback_for else ""
    return f"{experiment.name}-seed{experiment.seed}{tag}{f' {part}' if part else ''}"


def headline(experiment: Experiment, run_dir: Path) -> str:
    """The line that a run begins with on the terminal.

    Args:
        experiment: What runs.
        run_dir: The run folder.
    """
    return f"{experiment.name} seed {experiment.seed}  {data_tag(experiment)}  {run_dir}"
