"""The only reader of model files: the trust boundary of the project.

Two formats are read. A `.keras` archive may hold Keras' own layers and layers registered by
`fer_keras`, nothing else: its configuration is checked before Keras sees it, and Keras' safe mode
stays on. A `.tflite` file may hold built-in operators only. Size caps are checked before a file is
opened, checksums before it is interpreted. SavedModels of others are never loaded: their graph may
read and write files while it runs.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_keras.common.errors import ModelFileError
from fer_keras.common.files import read_json
from fer_keras.common.hub import local_model
from fer_keras.loading.checks import (
    check_tflite_operators,
)
from fer_keras.loading.classifier import Images, LoadedModel, Scores, from_network
from fer_keras.loading.keras_files import load_network
from fer_keras.loading.published import (
    FAMILIES,
    Published,
    is_published_path,
    read_published,
)
from fer_keras.loading.tflite_files import load_tflite_bytes
from fer_keras.runtime.export_files import first_precision, read_model_files
from fer_keras.runtime.peer_card import card_beside, read_card
from fer_keras.runtime.pictures import AS_THEY_ARE, PictureRule, read_picture_rule
from fer_keras.runtime.shipped import find_shipped, list_models

if TYPE_CHECKING:
    from fer_keras.runtime.engines import EngineName
    from fer_keras.runtime.export_files import ModelFiles

_SAVED_MODEL_REFUSED = (
    "SavedModels are never loaded: their graph can read and write files when it runs. "
    "Use the .keras file of the run or a .tflite file of its export"
)

# Files of other projects that are read with a card; `.tflite` is too, by the runtime.
_OF_OTHERS = (".keras", ".h5", ".hdf5", ".onnx")


def load_model(path: str | Path, *, precision: str | None = None, threads: int = 1) -> LoadedModel:
    """Reads a model for prediction.

    Args:
        path: A run folder (its `best.keras`, with the temperature of `calibration.json` where it
            belongs to that file), a `.keras` file, a `.tflite` file with `manifest.json`; another
            project's `.keras`, `.hdf5`, `.onnx` or `.tflite` file with `NAME.card.json` beside it;
            an export folder, or the name of a shipped model (`fer_keras.list_models()`); what is on
            the disk comes first; or `hf://OWNER/NAME`, see `fer_keras.common.hub`.
        precision: Which file of an export folder: `float32`, `float16`, `dynamic` or `int8`; None =
            `float32` where the folder has it, else the one that users run.
        threads: Processor threads of a `.tflite` model.

    Returns:
        The model.

    Raises:
        ModelFileError: Missing, too large, damaged, of an untrusted kind, or without class names.
    """
    where = local_model(path)
    if not where.exists():
        where = find_shipped(str(path)) or where
    if where.is_dir() and not is_published_path(where):
        if (where / "best.keras").is_file():
            return _load_run(where)
        if (where / "manifest.json").is_file():
            return _load_tflite(where, precision or first_precision(where), threads)
        if (where / "saved_model.pb").exists():
            raise ModelFileError(f"{_SAVED_MODEL_REFUSED}: {where}")
        raise ModelFileError(
            "Expected a run folder (best.keras), an export folder (manifest.json) or a model "
            f"file. Received a folder with neither: {where}"
        )
    if where.suffix in _OF_OTHERS and card_beside(where).is_file():
        # Only now: it imports Keras, which an ONNX file does without.
        from fer_keras.loading.foreign import open_foreign

        return open_foreign(read_card(card_beside(where)), where, threads)[0]
    if where.suffix == ".keras":
        network, sha256 = load_network(where)
        rule = _rule_of_run(where.parent)
        return from_network(network, path=where, sha256=sha256, pictures=rule)
    if where.suffix == ".tflite":
        return _load_tflite(where, None, threads)
    if where.suffix == ".pb":
        raise ModelFileError(f"{_SAVED_MODEL_REFUSED}: {where}")
    if not where.exists():
        shipped = ", ".join(list_models()) or "none"
        raise ModelFileError(f"No such model file or folder. Shipped models: {shipped}: {where}")
    if is_published_path(where):
        raise ModelFileError(
            f"Weights of PyTorch do not say what they are. Mend: --network {'|'.join(FAMILIES)} "
            f"--labels ORDER (docs/published-weights.md): {where}"
        )
    raise ModelFileError(
        "Expected a .keras or .tflite file, a run folder or an export folder. "
        f"Received: {where.suffix or 'no suffix'}. No other format is read: {where}"
    )


def load_for_engine(folder: Path, engine: "EngineName", threads: int = 1) -> LoadedModel:
    """Reads the float32 file that an export holds for another engine than LiteRT.

    Args:
        folder: Of the export, made with `--formats onnx` or `openvino`.
        engine: One of `fer_keras.runtime.engines.ENGINES`.
        threads: Processor threads.

    Returns:
        The model; of no more kinds than `image` and `pair`.

    Raises:
        ConfigError: The engine is not installed.
        ModelFileError: The export has no such file, or it is damaged.
    """
    from fer_keras.runtime.network import Network

    files = read_model_files(folder, None, engine)
    network = Network(files, threads)
    manifest = files.manifest
    return LoadedModel(
        files.path, engine, files.class_names, (*network.image_size, network.channels),
        hashlib.sha256(files.content + files.weights).hexdigest(),
        _temperature(manifest, files.path) if "temperature" in manifest else 1.0, manifest,
        lambda images: network.probabilities(list(images)),
        input_kind=network.input_kind, num_pictures=2 if network.input_kind == "pair" else 1,
        name=f"{manifest['name']} {engine}", pictures=read_picture_rule(manifest, files.path),
    )  # fmt: skip


def load_published(path: str | Path, network: str, labels: str, decision: str = "") -> LoadedModel:
    """Reads weights as their authors publish them; see `fer_keras.loading.published`.

    Args:
        path: Their file, or the folder of an ESR.
        network: A family: `ddamfn`, `esr`, `manet`, ...
        labels: The order of its classes: that of a data set as the authors have it, or names with
            commas between them.
        decision: How an answer is made; empty = the authors' way.

    Returns:
        The model.

    Raises:
        ConfigError: Unknown family, labels or decision.
        ModelFileError: Missing, damaged, or the weights of another network.
    """
    return model_of(read_published(path, network, labels, decision), Path(path))


def model_of(found: Published, path: Path) -> LoadedModel:
    """A network with its authors' weights behind the interface of a loaded model.

    Args:
        found: What was read.
        path: From where.

    Returns:
        The model; its pictures are made as the authors make theirs.
    """
    rule = PictureRule(FAMILIES[found.family].trained_on_grey, "linear")
    return from_network(found.network, path=path, sha256=found.sha256, pictures=rule)


def _rule_of_run(folder: Path) -> PictureRule:
    """What a run says of the pictures that it was trained on."""
    result, experiment = folder / "result.json", folder / "experiment.json"
    stated = read_json(result) if result.is_file() else {}
    if "pictures" in stated:
        return read_picture_rule(stated, result)
    if experiment.is_file():
        dataset = read_json(experiment).get("dataset")
        name = dataset.get("name") if isinstance(dataset, Mapping) else None
        return read_picture_rule({"dataset": name}, experiment)
    return AS_THEY_ARE


def _load_run(folder: Path) -> LoadedModel:
    network, sha256 = load_network(folder / "best.keras")
    temperature = 1.0
    calibration = folder / "calibration.json"
    if calibration.is_file():
        record = read_json(calibration)
        # A run that was trained on has a new best.keras; a temperature fitted to the old one is
        # not used for it.
        if record.get("model_sha256") == sha256:
            temperature = _temperature(record, calibration)
    return from_network(
        network,
        path=folder,
        sha256=sha256,
        temperature=temperature,
        pictures=_rule_of_run(folder),
    )


def _load_tflite(path: Path, precision: str | None, threads: int) -> LoadedModel:
    files = read_model_files(path, precision)
    if files.input_kind == "clip":
        return _load_clip_files(files, threads)
    if files.card is not None:
        return _load_with_card(files, threads)
    run, shape, _ = load_tflite_bytes(files.content, files.path, threads=threads)
    image_shape = (shape[-3], shape[-2], shape[-1])
    input_kind = "pair" if len(shape) == 5 else "image"
    if files.input_kind not in (None, input_kind):
        raise ModelFileError(
            f"manifest.json says input_kind {files.input_kind}, but the model takes {shape}: "
            f"{files.path}"
        )
    if files.image_size is not None and image_shape != (*files.image_size, files.channels):
        raise ModelFileError(
            f"manifest.json says image_size {list(files.image_size)}, channels {files.channels}, "
            f"but the model takes {image_shape}: {files.path}"
        )
    probe = run(np.zeros(shape, np.uint8))
    if probe.shape != (1, len(files.class_names)):
        raise ModelFileError(
            f"The model has {probe.shape[-1]} outputs but {len(files.class_names)} class names "
            f"({', '.join(files.class_names)}): {files.path}"
        )
    manifest = files.manifest
    temperature = _temperature(manifest, files.path) if "temperature" in manifest else 1.0
    sha256 = hashlib.sha256(files.content).hexdigest()
    return LoadedModel(
        files.path, "tflite", files.class_names, image_shape, sha256, temperature, manifest, run, 1,
        input_kind, 2 if input_kind == "pair" else 1, name=_name(files),
        pictures=read_picture_rule(manifest, files.path),
    )  # fmt: skip


def _name(files: "ModelFiles") -> str:
    """Export and precision, such as `ferplus_tiny int8`, or the name of a file alone."""
    stem = files.path.stem.removeprefix("model_")
    return f"{files.manifest['name']} {stem}" if "name" in files.manifest else stem


def _load_with_card(files: "ModelFiles", threads: int) -> LoadedModel:
    """Another project's file, run as its card says."""
    from fer_keras.runtime.network import Network

    # Checks its operators and its size before the network of the runtime runs it.
    load_tflite_bytes(files.content, files.path, threads=threads)
    network = Network(files, threads)
    return LoadedModel(
        files.path,
        "tflite",
        files.class_names,
        (*network.image_size, network.channels),
        hashlib.sha256(files.content).hexdigest(),
        1.0,
        {},
        lambda images: network.probabilities(list(images)),
        1,
        name=_name(files),
        card=files.card,
    )


def _load_clip_files(files: "ModelFiles", threads: int) -> LoadedModel:
    """Encoder and head of a clip model, one clip a call."""
    from fer_keras.runtime.clips import ClipNetwork

    for content in (files.content, files.head):
        check_tflite_operators(content, files.path)
    network = ClipNetwork(files, threads)

    def read(clips: Images) -> tuple[Scores, Scores]:
        real = clips[0].any(axis=(1, 2, 3))
        return network.read([network.encode(frame) for frame in clips[0][real]])

    def run(clips: Images) -> Scores:
        return read(clips)[0][np.newaxis]

    def run_frames(clips: Images) -> Scores:
        scores = np.zeros((1, network.num_frames, len(files.class_names)), np.float32)
        frames = read(clips)[1]
        scores[0, : len(frames)] = frames
        return scores

    return LoadedModel(
        files.path,
        "tflite",
        files.class_names,
        (*network.image_size, network.channels),
        hashlib.sha256(files.content + files.head).hexdigest(),
        _temperature(files.manifest, files.path),
        files.manifest,
        run,
        1,
        "clip",
        network.num_frames,
        run_frames,
        name=_name(files),
        pictures=read_picture_rule(files.manifest, files.path),
    )


def _temperature(record: Mapping[str, Any], where: Path) -> float:
    value = record.get("temperature")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1000:
        raise ModelFileError(f"Expected a positive temperature. Received: {value!r}: {where}")
    return float(value)
