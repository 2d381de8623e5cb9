"""The samples that a run is evaluated on."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.config import DatasetConfig, load_experiment
from fer_keras.data import splits
from fer_keras.data.clips import with_clips
from fer_keras.data.load import load_samples
from fer_keras.data.pairs import with_neutral

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples
    from fer_keras.loading.classifier import LoadedModel


def run_samples(
    run_dir: str | Path, split: str, image_size: int | None = None
) -> "tuple[Samples, Samples]":
    """The data of a run as it was trained: a held-out split, and the training split.

    Args:
        run_dir: A folder with `experiment.json`.
        split: `"validation"` or `"test"`.
        image_size: Side of the pictures in pixels in place of that of the training.

    Returns:
        The samples of the split, with the evaluation label rule of the experiment, and the
        training samples that the run saw or could have seen.

    Raises:
        ConfigError: `experiment.json` is missing or malformed.
        DataError: The data set or the split is missing.
    """

    experiment = load_experiment(str(Path(run_dir) / "experiment.json"))
    config = experiment.dataset
    if image_size:
        config = dataclasses.replace(config, image_size=image_size)
    # The validation split may have been cut from the training split.
    _, validation, whole = splits.load_splits(config, experiment.seed)
    if split == "validation":
        return validation, whole
    return splits.load_test(config, experiment.seed), whole


def own_source(path: Path, dataset: str) -> str | None:
    """Where the data of a model lies: what the run says that it is, or that it was exported from.

    Args:
        path: Run folder, export folder, or a model file in one of them.
        dataset: Name of the data set that is read.

    Returns:
        The source of that run's experiment; None where there is none, or it is another data set's.
    """
    for folder in (path, *path.absolute().parents[:2]):
        file = folder / "experiment.json"
        if file.is_file():
            config = load_experiment(str(file)).dataset
            return config.source or None if config.name == dataset else None
    return None


def requested_samples(
    arguments: argparse.Namespace, model: "LoadedModel"
) -> "tuple[Samples, Samples | None]":
    """The samples that the words of `fer_keras.evaluate` ask for.

    Args:
        arguments: The parsed words.
        model: The model that they name.

    Returns:
        The samples of the split, and those of train where the model's run tells them.
    """
    path: Path = arguments.model
    if (path / "experiment.json").is_file() and not (
        arguments.dataset or arguments.label_rule or arguments.source or arguments.neutral
    ):
        return run_samples(path, arguments.split, arguments.ten_crop)
    name, rule, source = arguments.dataset, arguments.label_rule, arguments.source
    if not name:
        name, rule, source = _known_dataset(path, model, rule, source)
    elif source is None:
        source = own_source(path, name)
    height, width, channels = model.image_shape
    common: dict[str, Any] = {
        "image_size": arguments.ten_crop or (height if height == width else (height, width)),
        "channels": channels,
        "enlarge": model.pictures.enlarge,
        "source": source,
    }
    samples = load_samples(name, arguments.split, label_rule=rule, **common)
    try:
        train = load_samples(name, "train", **common)
    except DataError as error:
        # A data set may have only the split that is asked for; the report then says so.
        print(f"note: duplicates of training images are not counted: {error}")
        train = None
    if model.input_kind == "pair":
        policy = arguments.neutral or model.manifest.get("neutral", "auto")
        samples = _paired(samples, train, policy)
    if model.input_kind == "clip":
        config = DatasetConfig(name=name, clip_frames=model.num_pictures)
        samples = with_clips(samples, config)
        train = train and with_clips(train, config)
    return samples, train


def _paired(samples: "Samples", train: "Samples | None", policy: Any) -> "Samples":
    if train is None and policy != "same_subject":
        raise DataError(
            f"{samples.name}: neutral faces of train are needed, which is not there. "
            "Mend: --neutral same_subject"
        )
    config = DatasetConfig(name=samples.name, neutral=policy)
    return with_neutral(samples, samples if train is None else train, config)


def _known_dataset(
    path: Path, model: "LoadedModel", rule: str | None, source: Path | None
) -> tuple[str, str | None, Any]:
    if (path / "experiment.json").is_file():
        config = load_experiment(str(path / "experiment.json")).dataset
        return config.name, rule or config.eval_label_rule or None, source or config.source or None
    name = model.manifest.get("dataset")
    if not isinstance(name, str):
        raise ConfigError(f"Expected --dataset NAME: the model does not say its own: {path}")
    return name, rule, source or own_source(path, name)
