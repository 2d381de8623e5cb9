"""Trained networks that a training starts from, is built on (encoders) or learns from (a teacher).

`network.weights`, the options `encoder` and `identity` of a network and `teacher` and `auxiliary`
of a method name a `.keras` file, a run folder, or another experiment. An experiment is looked for
among the finished runs of the current folder and trained first where there is none, so one command
goes through all stages. Nothing is fetched, but the ImageNet weights that Keras has where
`encoder_weights=imagenet` asks for them.

A network may keep a share of the weights it started with (`network.keep_start`, a mean of both): a
second stage on harder pictures lost 0.8 points on clean ones, and the mean lost none while it kept
what the stage had gained.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import Model

from fer_keras.common.errors import ConfigError, ModelFileError, did_you_mean
from fer_keras.common.files import file_sha256
from fer_keras.config import (
    Experiment,
    NetworkConfig,
    list_experiments,
    load_experiment,
    override,
)
from fer_keras.loading.exported_weights import (
    ExportedWeights,
    is_export,
    read_exported_weights,
)
from fer_keras.loading.face_features import LICENCE, is_face_features, read_face_features
from fer_keras.loading.keras_files import load_network
from fer_keras.loading.load import load_model
from fer_keras.loading.presets import trained_file
from fer_keras.loading.published import (
    files_sha256,
    is_published_path,
    published_spec,
    start_from_published,
)
from fer_keras.loading.torch_files import is_torch_file, load_torch_tensors
from fer_keras.loading.transfer import (
    copy_layers,
    fill_from_export,
    has_other_widths,
    with_classes,
)
from fer_keras.loading.weights import load_arrays, load_weights
from fer_keras.models.encoders import (
    build_encoder,
    list_encoders,
    load_torchvision_mobilenet,
    load_vggface2,
)
from fer_keras.models.face_resnet import fill
from fer_keras.models.folded import folded
from fer_keras.models.fusion import in_order
from fer_keras.models.layers import class_names_of
from fer_keras.runtime.shipped import place_of

# Training pictures whose statistics batch normalisation starts with.
_STATISTICS_OF = 512
# Options of methods that name another network.
_TEACHERS = ("teacher", "auxiliary")
# The option of a fusion that names its networks, and that of a method with several teachers.
_BASES = "bases"
_SEVERAL = "teachers"
# Options of networks that name another network.
_ENCODERS = ("encoder", "identity")


def with_earlier_stages(
    experiment: Experiment, train: Callable[[Experiment], Path], runs: Path = Path("runs")
) -> Experiment:
    """Puts the path of a trained network in the place of the name of its experiment.

    Args:
        experiment: Whose `network.weights`, encoders and teachers may name experiments. An earlier
            stage has its seed and, where both are divided alike, its fold.
        train: Trains an experiment and returns its run folder; called where `runs` has no finished
            run of it on the same data set and with the same seed.
        runs: Where finished runs lie.

    Returns:
        The experiment with paths.

    Raises:
        ConfigError: A setting is neither a path nor an experiment.
    """

    def trained(key: str, value: str) -> str:
        known = list_experiments()
        if value not in known:
            spec = published_spec(value)
            if spec is not None and Path(spec[2]).exists():
                return value
            path = place_of(value)
            if path.exists():
                return str(path)
            raise ConfigError(
                f"{key}: expected a file of weights, a run folder or an experiment. Received: "
                f"{value!r}. {did_you_mean(value, known)}"
            )
        earlier = _of_the_same_pictures(load_experiment(value), experiment)
        if earlier.dataset.every_fold:
            raise ConfigError(
                f"{key}: expected an experiment that trains one network. Received: {value!r}, "
                "which is cross-validated on another data set or in other folds. Mend: the path of "
                "one of its folds"
            )
        return str(_finished_run(earlier, runs) or train(earlier))

    changes = [f"{key}={trained(key, value)}" for key, value in _earlier(experiment).items()]
    for key, options in (
        (f"network.options.{_BASES}", experiment.network.options),
        (f"method.options.{_SEVERAL}", experiment.method.options),
    ):
        named = [
            trained(key, each) if isinstance(each, str) else each
            for each in options.get(key.rsplit(".", 1)[-1], ())
        ]
        if named:
            changes.append(f"{key}={json.dumps(named)}")
    return override(experiment, changes)


def network_of_weights(start: NetworkConfig, class_names: tuple[str, ...]) -> tuple[Any, str]:
    """The network of a file, with a classifier for other classes.

    Args:
        start: Its weights are a `.keras` file or a run folder.
        class_names: The classes of the data set.

    Returns:
        The network, and one line for the record.

    Raises:
        ConfigError: Its classifier cannot be replaced.
        ModelFileError: The file is missing, damaged or refused.
    """
    file = trained_file(start.weights)
    trained, sha256 = load_network(file)
    if class_names_of(trained) == class_names:
        network, fresh = trained, list[str]()
    else:
        network, fresh = with_classes(trained, class_names)
    return network, _start_line(network, file, fresh, sha256, whole=start.keep_start > 0)


def _of_the_same_pictures(earlier: Experiment, later: Experiment) -> Experiment:
    """An earlier stage that sees no picture that the later one is measured on."""
    earlier = replace(earlier, seed=later.seed)
    ours, theirs = later.dataset, earlier.dataset
    if ours.fallback_for:
        # Drawn faces for both: a network of real faces has other classes.
        dataset = replace(ours, neutral=theirs.neutral, neutral_seed=theirs.neutral_seed)
        if ours.split == "held_out":
            dataset = replace(dataset, split="official")
        epochs = min(later.training.epochs, earlier.training.epochs)
        training = replace(earlier.training, epochs=epochs)
        return replace(earlier, dataset=dataset, training=training)
    if (ours.name, ours.split, ours.folds) == (theirs.name, theirs.split, theirs.folds):
        return replace(earlier, dataset=replace(theirs, fold=ours.fold))
    return earlier


def load_start(
    network: Any,
    class_names: tuple[str, ...],
    path: str,
    *,
    whole: bool = False,
    pictures: np.ndarray | None = None,
) -> str:
    """Copies the weights of a trained network where layer names and shapes are the same.

    Classifiers (`logits`, `branch1_logits`, ...) are matched by the names of the classes, and so
    are neurons that read them (`branch1_valence_arousal`); a class that is new to the trained
    network keeps its fresh weights.

    Args:
        network: The new network; its weights are changed.
        class_names: The classes of its logits.
        path: A `.keras` file or a run folder. The weights of a network's authors
            (`fer_keras.loading.published`): their PyTorch file, whose classifier is left out, or
            `NETWORK:LABELS=FILE`, whose classifier is taken by the names of the classes. For
            `ddamfn` also `.weights.h5` of Keras with the weights of its backbone alone.
            Also an export folder with a float32 or a `dynamic` file, such as that of a shipped
            model, or that file. A `compact` network that is narrower than the trained one gets the
            channels that matter most.
            For `face_resnet` also the package of face features that
            `fer_keras.loading.face_features` reads, its folder or its manifest.
        whole: Every layer must fit.
        pictures: The training pictures `(n, height, width, channels)`; statistics of some of them
            are measured where the file has none.

    Returns:
        One line for the record: what was copied from where.

    Raises:
        ModelFileError: The file is missing, damaged or refused.
        ConfigError: No layer fits, or one does not where all must.
    """
    if pictures is not None:
        pictures = pictures[:: max(1, len(pictures) // _STATISTICS_OF)][:_STATISTICS_OF]
    if is_face_features(path):
        return _load_face_features(network, Path(path), pictures, whole=whole)
    spec = published_spec(path)
    theirs_path = Path(path if spec is None else spec[2])
    if spec is not None or is_published_path(theirs_path):
        fresh = start_from_published(network, class_names, path)
        return _start_line(network, theirs_path, fresh, files_sha256(theirs_path), whole=whole)
    if is_export(Path(path)):
        weights = read_exported_weights(Path(path))
        fresh, how = fill_from_export(network, class_names, weights, pictures)
        line = _start_line(network, weights.path, fresh, weights.sha256, whole=whole)
        return f"{line}{how}"
    file = _model_file(path)
    if file.name.endswith(".h5"):
        fresh = _load_backbone(network, file)
        return _start_line(network, file, fresh, whole=whole)
    trained, sha256 = load_network(file)
    if trained.name == network.name and has_other_widths(network, layers := folded(trained)):
        height, width, channels = trained.inputs[0].shape[1:]
        names, shape = class_names_of(trained), (height, width, channels)
        weights = ExportedWeights(file, names, shape, trained.name, {}, layers, sha256)
        fresh, how = fill_from_export(network, class_names, weights, pictures, trained)
        return f"{_start_line(network, file, fresh, sha256, whole=whole)}{how}"
    copied, fresh = copy_layers(network, class_names, trained)
    if not copied:
        raise ConfigError(
            f"network.weights: no layer of {network.name!r} has the name and the shape of one in "
            f"the file. Give the network the options that the other had: {file}"
        )
    return _start_line(network, file, fresh, sha256, whole=whole)


def _load_face_features(
    network: Any, path: Path, pictures: np.ndarray | None, *, whole: bool
) -> str:
    """Fills `face_resnet` from the package of face features; returns the line of `load_start`."""
    fresh, sha256 = _fill_face_features(network, path, pictures)
    line = _start_line(network, path, fresh, sha256, whole=whole)
    return f"{line}; {LICENCE}"


def _fill_face_features(
    network: Any, path: Path, pictures: np.ndarray | None = None
) -> tuple[list[str], str]:
    """Fills `face_resnet`, or its part up to the embedding; its fresh layers and a digest."""
    tensors = read_face_features(path)
    try:
        fresh = fill(network, tensors, pictures)
    except (ModelFileError, ConfigError) as error:
        raise type(error)(f"{error} Another network: {path}") from error
    digest = hashlib.sha256()
    for name, values in sorted(tensors.items()):
        digest.update(name.encode() + values.tobytes())
    return fresh, digest.hexdigest()


def _start_line(
    network: Any, file: Path, fresh: list[str], sha256: str = "", *, whole: bool
) -> str:
    """The line of `load_start`; refuses fresh layers where every layer must fit."""
    if whole and fresh:
        raise ConfigError(
            "network.keep_start: expected starting weights for every layer. Received none for "
            f"{', '.join(fresh)}: {file}"
        )
    total = sum(bool(layer.weights) for layer in network.layers)
    new = f"; fresh: {', '.join(fresh)}" if fresh else ""
    digest = (sha256 or file_sha256(file))[:12]
    return f"{total - len(fresh)} of {total} layers from {file} ({digest}){new}"


def _load_backbone(network: Any, file: Path) -> list[str]:
    """Fills a network from a Keras file of weights without a graph; returns what stays fresh."""
    if "mfn_features" not in network.output:
        raise ConfigError(
            "network.weights: a file of weights alone is read for the backbone of the network "
            f"ddamfn. Received: {network.name!r}. Expected a .keras file or a run folder."
        )
    backbone = Model(network.input, network.output["mfn_features"])
    load_weights(backbone, file)
    known = {layer.name for layer in backbone.layers}
    return [each.name for each in network.layers if each.weights and each.name not in known]


def keeping_start(save: Callable[[Any, Path], None], network: Any, share: float) -> Any:
    """Lets the kept network be a mean of the weights it started with and those it has then.

    Args:
        save: Writes a network to a path.
        network: With its starting weights.
        share: Of the starting weights in the mean, 0 to 1.

    Returns:
        A function like `save`; the network in training keeps its own weights. What is saved has
        the layers frozen that are frozen now.
    """
    start = network.get_weights()
    kept = keras.models.clone_model(network)

    def save_mean(trained: Any, path: Path) -> None:
        pairs = zip(start, trained.get_weights(), strict=True)
        kept.set_weights([share * before + (1 - share) * after for before, after in pairs])
        save(kept, path)

    return save_mean


def with_teacher(options: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Loads the teacher that the options of a method name.

    Args:
        options: Options of a method; `teacher` or `auxiliary`, if there, is a `.keras` file or a
            run folder; each of `teachers` is any model that `fer_keras.loading.load` reads, or a
            shipped one by its name (`ferplus`, `ferplus/model_int8.tflite`).

    Returns:
        The options with networks and models in place of their paths, and one line for the record
        (empty where there is none).

    Raises:
        ModelFileError: The file is missing, damaged or refused.
    """
    options, notes = dict(options), []
    for key in _TEACHERS:
        if key in options:
            file = _model_file(str(options[key]))
            options[key], sha256 = load_network(file)
            notes.append(f"{file} ({sha256[:12]})")
    if _SEVERAL in options:
        models = [
            load_model(place_of(each)) if isinstance(each, str) else each
            for each in options[_SEVERAL]
        ]
        notes += [f"{each.path} ({each.sha256[:12]})" for each in models]
        options[_SEVERAL] = models
    return options, "; ".join(notes)


def with_bases(options: dict[str, Any], class_names: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """Loads the trained networks that a fusion is made of.

    Args:
        options: Options of a network; each of `bases`, if there, is a `.keras` file or a run
            folder, or what the network takes by itself.
        class_names: Their logits are brought into this order.

    Returns:
        The options with networks in the place of paths, and one line for the record (empty where
        there is none).

    Raises:
        ModelFileError: A file is missing, damaged or refused.
        DataError: A base does not know one of the classes.
    """
    bases, notes = list(options.get(_BASES, ())), []
    for number, base in enumerate(bases):
        if isinstance(base, str):
            file = _model_file(base)
            network, sha256 = load_network(file)
            bases[number] = in_order(network, class_names)
            notes.append(f"base {file} ({sha256[:12]})")
    return {**options, _BASES: bases} if bases else options, "; ".join(notes)


def with_encoders(
    options: dict[str, Any], image_shape: tuple[int, ...]
) -> tuple[dict[str, Any], str]:
    """Loads the encoders, and the weights of encoders, that the options of a network name.

    Args:
        options: Options of a network. `encoder` or `identity`, if there, is a name that
            `fer_keras.models.encoders` knows, a `.keras` file or a run folder; with `_weights`
            behind it, `none`, `imagenet` or a file of weights: `.h5` of `keras.applications`, or
            the arrays of the ResNet-50 of VGGFace2 in its PyTorch form: `.pkl` as they are
            published, `.pth`, `.npz`; `.pth` of torchvision's MobileNetV3; for `face_resnet` the
            package of face features.
        image_shape: That of the pictures or of the pairs.

    Returns:
        The options with networks in the place of paths, and one line for the record: which weights
        each encoder starts from (empty where there is none).

    Raises:
        ModelFileError: A file is missing, damaged or refused, or does not fit.
        ConfigError: A setting is neither a name nor a path.
    """
    picture = (int(image_shape[-3]), int(image_shape[-2]), int(image_shape[-1]))
    options, notes = dict(options), []
    for key in _ENCODERS:
        value = str(options.get(key, "none"))
        weights = str(options.get(f"{key}_weights", "none"))
        if value == "none":
            continue
        if value not in list_encoders():
            file = _model_file(value)
            options[key], sha256 = load_network(file)
            notes.append(f"{key} {file} ({sha256[:12]})")
        elif weights in ("none", "imagenet"):
            origin = "fresh" if weights == "none" else "ImageNet weights of keras.applications"
            notes.append(f"{key} {value}: {origin}")
        else:
            given = dict(options.pop(f"{key}_options", None) or {})
            if value.startswith("mobilenet_v3") and is_torch_file(weights):
                given = {"padding": "pytorch", **given}
            encoder = build_encoder(value, picture, given)
            notes.append(f"{key} {value}: {_fill_encoder(encoder, value, Path(weights))}")
            options[key] = encoder
            del options[f"{key}_weights"]
    return options, "; ".join(notes)


def _fill_encoder(encoder: Any, name: str, file: Path) -> str:
    """Fills an encoder of `list_encoders` from a file; returns words about it for the record."""
    if is_face_features(file):
        _, sha256 = _fill_face_features(encoder, file)
        return f"{file} ({sha256[:12]}); {LICENCE}"
    if name == "resnet50_vggface2":
        read = load_torch_tensors if is_torch_file(file) else load_arrays
        load_vggface2(encoder, read(file))
    elif name.startswith("mobilenet_v3") and is_torch_file(file):
        load_torchvision_mobilenet(encoder, load_torch_tensors(file))
    else:
        trunk = next((x for x in encoder.layers if hasattr(x, "load_weights")), encoder)
        load_weights(trunk, file)
    return f"{file} ({file_sha256(file)[:12]})"


def _earlier(experiment: Experiment) -> dict[str, str]:
    """The settings that name a trained network, without the empty ones."""
    values = {
        "network.weights": experiment.network.weights,
        **{f"method.options.{k}": experiment.method.options.get(k, "") for k in _TEACHERS},
        **{f"network.options.{key}": _trained_encoder(experiment, key) for key in _ENCODERS},
    }
    return {key: str(value) for key, value in values.items() if value}


def _trained_encoder(experiment: Experiment, key: str) -> str:
    """The path or the experiment that an encoder comes from; empty for one that is built afresh."""
    value = str(experiment.network.options.get(key, ""))
    return "" if value == "none" or value in list_encoders() else value


def _finished_run(experiment: Experiment, runs: Path) -> Path | None:
    """The newest run folder of the same recipe that was trained to its end."""
    found = []
    for result in runs.glob("*/result.json"):
        folder = result.parent
        complete = (folder / "experiment.json").is_file() and (folder / "best.keras").is_file()
        if complete and _recipe(load_experiment(str(folder))) == _recipe(experiment):
            found.append(folder)
    return max(found, key=lambda folder: (folder / "best.keras").stat().st_mtime, default=None)


def _recipe(experiment: Experiment) -> Experiment:
    """The experiment without its earlier stages: a finished run has paths in their place."""
    stages = [key for key in _ENCODERS if _trained_encoder(experiment, key)]
    network = {k: v for k, v in experiment.network.options.items() if k not in stages}
    method = {k: v for k, v in experiment.method.options.items() if k not in (*_TEACHERS, _SEVERAL)}
    return replace(
        experiment,
        network=replace(experiment.network, weights="", options=network),
        method=replace(experiment.method, options=method),
        growth=replace(experiment.growth, previous=""),
    )


def _model_file(path: str) -> Path:
    return Path(path) / "best.keras" if Path(path).is_dir() else Path(path)
