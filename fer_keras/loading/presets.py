"""`fer_keras.build_model`: a network for Keras' own verbs, untrained or with trained weights."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from fer_keras.common.constraints import check
from fer_keras.common.errors import ConfigError, ModelFileError, did_you_mean
from fer_keras.common.files import file_sha256, read_json
from fer_keras.common.installed import require_keras
from fer_keras.loading.exported_weights import is_export, read_exported_weights
from fer_keras.loading.keras_files import load_network
from fer_keras.loading.transfer import (
    copy_layers,
    fill_from_export,
    is_classifier,
    with_classes,
)
from fer_keras.models import build_network
from fer_keras.models.graphs import plain_network
from fer_keras.runtime.shipped import MANIFEST, find_shipped, list_models, place_of

Outputs = Literal["probabilities", "logits", "named"]


def build_model(
    name: str,
    image_shape: Sequence[int] | None = None,
    num_classes: int | None = None,
    *,
    class_names: Sequence[str] | None = None,
    outputs: Outputs = "probabilities",
    weights: str | Path | None = None,
    **options: Any,
) -> Any:
    """Builds a network that `compile`, `fit`, `predict`, `evaluate` and `save` of Keras take.

    Args:
        name: One of `fer_keras.list_networks()`, or the path of a `.py` file of one's own.
        image_shape: `(height, width, channels)` of the pictures; channels 1 or 3. For a network
            that reads pairs `(2, height, width, channels)`, for one that reads clips `(frames,
            height, width, channels)`. None = that of `weights`, else `(48, 48, 1)`.
        num_classes: Number of classes, at least 2. None = that of `class_names`, else that of
            `weights`, else 8.
        class_names: The ordered names of the classes. They travel in the saved file, and
            `fer_keras.load_model` asks for them.
        outputs: `probabilities` `(batch, classes)`, for losses by name such as
            `"categorical_crossentropy"`; `logits`, for losses with `from_logits=True`; `named`, the
            dict of named outputs that `fer_keras.build_method` consumes.
        weights: Trained weights to start from: a shipped model (`fer_keras.list_models()`) with a
            `.keras`, a float32 or a `dynamic` file, a run folder, an export or a `.keras` file of
            the same network.
            Of a float32 or a `dynamic` file batch norm is frozen: it has no statistics.
            Without options the graph is that of the file. A classifier is matched by the names of
            the classes; classes that are new keep fresh weights, with a warning.
        **options: Keyword options of the network's `build`, described in its module.

    Returns:
        A functional `keras.Model`: raw pixels 0..255 in, scaling is part of the graph.

    Raises:
        ConfigError: A name, shape or option that is not usable, or weights of another network.
        ModelFileError: The weights are missing, damaged or refused.
    """
    require_keras("build_model")
    # Only now: it imports Keras.
    from fer_keras.models.layers import with_class_names

    check(outputs, Outputs, "outputs")
    names = None if class_names is None else tuple(class_names)
    if names is not None and num_classes not in (None, len(names)):
        raise ConfigError(
            f"build_model: expected as many class_names as num_classes. Received: {len(names)} "
            f"names ({', '.join(map(str, names))}) and num_classes={num_classes!r}"
        )
    if weights is None:
        count = 8 if num_classes is None else num_classes
        shape = image_shape or (48, 48, 1)
        network = build_network(name, shape, len(names) if names else count, **options)
        if names is not None:
            network = with_class_names(network, names)
    else:
        network = _trained_network(name, weights, image_shape, num_classes, names, options)
    return network if outputs == "named" else plain_network(network, outputs)


def _trained_network(
    name: str,
    weights: str | Path,
    image_shape: Sequence[int] | None,
    num_classes: int | None,
    names: tuple[str, ...] | None,
    options: Mapping[str, Any],
) -> Any:
    """The network of a file, or one for other classes, shapes or options that starts with it."""
    from fer_keras.models.layers import class_names_of, with_class_names

    place = place_of(str(weights))
    if is_export(place) and not list(place.glob("*.keras")):
        return _exported_network(name, place, image_shape, num_classes, names, options)
    file = trained_file(weights)
    trained, _ = load_network(file)
    if trained.name != name:
        raise ConfigError(
            f"weights: expected those of network {name!r}. Received those of {trained.name!r}: "
            f"{file}"
        )
    shape, known = tuple(trained.inputs[0].shape[1:]), class_names_of(trained)
    if names is None:
        names = known if num_classes in (None, len(known)) else None
    same_graph = tuple(image_shape or shape) == shape and not options
    if same_graph and names == known:
        return trained
    if same_graph and names is not None:
        network, fresh = with_classes(trained, names)
    else:
        count = len(names) if names else num_classes
        network = build_network(name, image_shape or shape, count or 0, **options)
        if names is not None:
            network = with_class_names(network, names)
        copied, fresh = copy_layers(network, names or (), trained)
        lacking = [layer for layer in fresh if not is_classifier(layer)]
        if lacking or not copied:
            raise ConfigError(
                "weights: expected every layer but the classifier in the file. Missing or of "
                f"another shape: {', '.join(lacking[:6]) or 'all'}. Give the options with which "
                f"the network was trained, or class_names and no options: {file}"
            )
    if fresh:
        _warn_of_fresh(fresh, file)
    return network


def _exported_network(
    name: str,
    export: Path,
    image_shape: Sequence[int] | None,
    num_classes: int | None,
    names: tuple[str, ...] | None,
    options: Mapping[str, Any],
) -> Any:
    """The network of an export's file with float activations; its batch norm is frozen."""
    import keras

    from fer_keras.models.layers import with_class_names

    exported = read_exported_weights(export)
    if exported.network != name:
        raise ConfigError(
            f"weights: expected those of network {name!r}. Received those of "
            f"{exported.network or 'a network without a name'!r}: {exported.path}"
        )
    if names is None and num_classes in (None, len(exported.class_names)):
        names = exported.class_names
    shape = image_shape or exported.image_shape
    count = len(names) if names else num_classes
    network = build_network(name, shape, count or 0, **{**exported.options, **options})
    if names is not None:
        network = with_class_names(network, names)
    fresh, _ = fill_from_export(network, names or (), exported)
    lacking = [layer for layer in fresh if not is_classifier(layer)]
    if lacking:
        raise ConfigError(
            "weights: expected every layer but the classifier in the file. Missing or of another "
            f"shape: {', '.join(lacking[:6])}: {exported.path}"
        )
    if fresh:
        _warn_of_fresh(fresh, exported.path)
    # Their statistics are folded into the weights: normalising by a batch would be another network.
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    return network


def _warn_of_fresh(fresh: Sequence[str], file: Path) -> None:
    warnings.warn(
        f"weights: {', '.join(fresh)} has fresh weights for what the file does not know; train the "
        f"network before it predicts: {file}",
        stacklevel=4,
    )


def trained_file(weights: str | Path) -> Path:
    """The `.keras` file of trained weights.

    Args:
        weights: A `.keras` file, a run folder, an export folder with such a file, or the name of a
            shipped model; what is on the disk comes first.

    Returns:
        The file, compared with the sha256 of its manifest where it has one.

    Raises:
        ModelFileError: There is none, or it is not the one of the manifest.
    """
    path = Path(weights)
    if path.is_file():
        return path
    folder = path if path.is_dir() else find_shipped(str(weights))
    if folder is None:
        hint = did_you_mean(str(weights), list_models())
        raise ModelFileError(
            "weights: expected a .keras file, a run folder or a shipped model. "
            f"{hint} Received: {weights}"
        )
    if (folder / "best.keras").is_file():
        return folder / "best.keras"
    files = sorted(folder.glob("*.keras"))
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or ", ".join(
            path.name for path in sorted(folder.glob("*.tflite"))
        )
        raise ModelFileError(
            "weights: expected one .keras file, which can be trained on. Received a model with "
            f"{found or 'neither .keras nor .tflite'}. A .tflite file only predicts: "
            f'Recognizer("{weights}"). Mend: weights=RUN_FOLDER of a training: {folder}'
        )
    manifest = folder / MANIFEST
    listed = read_json(manifest).get("files", {}) if manifest.is_file() else {}
    expected = listed.get(files[0].name, {}).get("sha256")
    if expected and file_sha256(files[0]) != expected:
        raise ModelFileError(f"sha256: not the file that {manifest} lists: {files[0]}")
    return files[0]
