"""The models that are shipped with this package, by name: what they are and where they lie."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ModelFileError, did_you_mean

MANIFEST = "manifest.json"
DEFAULT_MODEL = "ferplus"
# Precisions of a file whose weights can be trained on, the best first.
_TRAINABLE = ("float32", "dynamic")
_PACKAGE = Path(__file__).parents[1]
# setup.py puts the checkout's folder of models into the wheel's package.
_PLACES = (_PACKAGE.parent / "saved_models", _PACKAGE / "saved_models")


@dataclass(frozen=True)
class ShippedModel:
    """What the manifest of a shipped model says.

    Attributes:
        name: The name by which it is asked for.
        folder: Its export folder.
        class_names: Labels in the order of the outputs.
        image_size: `(height, width)` in pixels.
        channels: 1 (grey) or 3 (RGB).
        network: The network, a name of `list_networks`; empty where the manifest does not say.
        dataset: What it was trained on.
        licence: Of that data set.
        prior: The class prior that it answers by where none is given.
        accuracy: By that prior on the validation split, 0..1; None where the manifest does not say.
        balanced_accuracy: The mean recall of the classes there, 0..1, or None.
        n: Pictures of that split.
        precision: The file that is run: `float32`, `float16`, `dynamic` or `int8`.
        num_bytes: Its size.
        ms_per_face: Its time for one face on the machine that exported it, or None.
        machine: That machine.
        weights: The file that can be trained on: `.keras`, float32 or `dynamic`; None where none is
            shipped.
    """

    name: str
    folder: Path
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    channels: int
    network: str
    dataset: str
    licence: str
    prior: str
    accuracy: float | None
    balanced_accuracy: float | None
    n: int
    precision: str
    num_bytes: int
    ms_per_face: float | None
    machine: str
    weights: Path | None


def list_models() -> tuple[str, ...]:
    """The names of the shipped models, sorted.

    `Recognizer`, `load_model`, `build_model(weights=...)` and `--model` take them.
    """
    manifests = (path for place in _PLACES for path in place.glob(f"*/{MANIFEST}"))
    return tuple(sorted({path.parent.name for path in manifests}))


def find_shipped(name: str) -> Path | None:
    """The export folder of a shipped model; None where none has that name.

    Args:
        name: One of `list_models()`.
    """
    if name not in list_models():
        return None
    return next(place / name for place in _PLACES if (place / name / MANIFEST).is_file())


def place_of(model: str) -> Path:
    """The path of a model: as it is given where it is there, else below the shipped models.

    Args:
        model: A path, the name of a shipped model, or a file of one, `NAME/FILE`.
    """
    there = (place / model for place in _PLACES if (place / model).exists())
    return Path(model) if Path(model).exists() else next(there, Path(model))


def default_model() -> Path:
    """The export folder of the model that is run where none is named.

    Returns:
        `saved_models/ferplus` of the checkout that this package lies in, or the copy of it that a
        wheel brings inside the package.

    Raises:
        ModelFileError: There is neither.
    """
    folder = find_shipped(DEFAULT_MODEL)
    if folder is None:
        places = [place / DEFAULT_MODEL for place in _PLACES]
        raise ModelFileError(
            "no model is shipped with this copy of fer_keras: give the folder of one, or make it "
            "from a trained run with python -m fer_keras.export RUN, then python -m fer_keras.ship "
            f"RUN/export --output {places[0]}. Looked for: {places[0]}, {places[1]}"
        )
    return folder


def shipped_model(name: str) -> ShippedModel:
    """What is known of a shipped model.

    Args:
        name: One of `list_models()`.

    Raises:
        ModelFileError: No model of that name, or a manifest that cannot be read.
    """
    folder = find_shipped(name)
    if folder is None:
        raise ModelFileError(f"No shipped model {name!r}. {did_you_mean(name, list_models())}")
    where = folder / MANIFEST
    try:
        manifest = json.loads(where.read_text(encoding="utf-8"))
        return _from_manifest(name, folder, manifest)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelFileError(f"not a readable manifest ({error!r}): {where}") from error


def _from_manifest(name: str, folder: Path, manifest: dict[str, Any]) -> ShippedModel:
    training, parity = manifest.get("training", {}), manifest.get("parity", {})
    # Of the file that users run, by the prior that it answers by; an export may have none.
    figures = manifest.get("prior_figures", {}).get("with_prior", manifest.get("validation", {}))
    choices = manifest["precision_files"]
    precision = str(manifest.get("default_precision", min(choices)))
    exported = next((folder / choices[key] for key in _TRAINABLE if key in choices), None)
    height, width = manifest["image_size"]
    return ShippedModel(
        name,
        folder,
        tuple(manifest["class_names"]),
        (int(height), int(width)),
        int(manifest["channels"]),
        str(training.get("network", "")),
        str(manifest.get("dataset", "")),
        str(training.get("dataset_licence", "")),
        str(manifest.get("default_prior", "training")),
        figures.get("accuracy"),
        figures.get("balanced_accuracy"),
        int(figures.get("n", 0)),
        precision,
        (folder / choices[precision]).stat().st_size,
        parity.get("models", {}).get(precision, {}).get("ms_per_face"),
        str(parity.get("machine", "")),
        next(iter(sorted(folder.glob("*.keras"))), exported),
    )
