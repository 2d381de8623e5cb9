"""Which file of an export folder is run, and whether it is the one that was exported."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, cast

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.common.hub import local_model
from fer_keras.runtime.engines import EngineName
from fer_keras.runtime.peer_card import PeerCard, card_beside, card_to_write, read_card
from fer_keras.runtime.shipped import MANIFEST as MANIFEST
from fer_keras.runtime.shipped import find_shipped, list_models

LABELS = "labels.txt"
MAX_MODEL_BYTES = 256 * 1024 * 1024
# A manifest or a label file is a page of text.
MAX_TEXT_BYTES = 1024 * 1024
MANIFEST_FORMAT = 1
OUTPUTS = ("probabilities", "valence_arousal")
_EXPORT_HINT = "Write an export folder with: python -m fer_keras.export RUN"


@dataclass(frozen=True)
class ModelFiles:
    """A model's bytes and what belongs to them.

    Attributes:
        path: The `.tflite`, `.onnx` or `.xml` file.
        content: Its bytes: the very ones whose sha256 was compared.
        class_names: Labels in the order of the model's output.
        image_size: `(height, width)` of the input in pixels; None where no manifest says it.
        channels: 1 or 3; None where no manifest says it.
        input_kind: "image", "pair" where an input is a reference and a face, or "clip"; None where
            no manifest says it.
        head: Bytes of the second file of a clip model, which reads what the first one makes of the
            frames; empty for others.
        clip_frames: Frames of a clip; 0 for others.
        manifest: The whole `manifest.json`; empty for a bare file.
        card: Of another project's model: how its numbers are to be read; None for ours.
        engine: Which program runs it, of `fer_keras.runtime.engines.ENGINES`.
        weights: Bytes of the `.bin` file of an OpenVINO model; empty for others.
        outputs: What the file answers with, in the order of its outputs: "probabilities", and
            "valence_arousal" where the network was trained for it.
    """

    path: Path
    content: bytes
    class_names: tuple[str, ...]
    image_size: tuple[int, int] | None = None
    channels: int | None = None
    input_kind: str | None = None
    head: bytes = b""
    clip_frames: int = 0
    manifest: Mapping[str, Any] = field(default_factory=dict)
    card: PeerCard | None = None
    engine: EngineName = "litert"
    weights: bytes = b""
    outputs: tuple[str, ...] = OUTPUTS[:1]


def read_model_files(
    model: str | PathLike[str], precision: str | None = None, engine: EngineName = "litert"
) -> ModelFiles:
    """Read and verify a model.

    Args:
        model: An export folder (with `manifest.json`), a `.tflite` file inside one, a `.tflite`
            file of its own with a card, `NAME.card.json`, beside it, or the name of a shipped
            model; a file or folder of that name comes first; or `hf://OWNER/NAME`, see
            `fer_keras.common.hub`.
        precision: Which of the folder's files: "float32", "float16", "dynamic" or "int8"; None
            takes the manifest's `default_precision`, otherwise float32, or the first there is.
            For a path to a file: None, or what the file is.
        engine: Which program is to run it: "litert", or "onnx" or "openvino" for an export folder
            that has a file for it.

    Returns:
        The verified files.

    Raises:
        ConfigError: The engine has one precision, float32, and another one is asked for.
        ModelFileError: A file is missing, too large or malformed, its sha256 is not that of the
            manifest or the card, the labels contradict each other, or nothing says what the
            numbers of a bare file mean.
    """
    path = local_model(model)
    if not path.exists():
        path = find_shipped(str(model)) or path
    if engine != "litert":
        return _read_for_engine(path, precision, engine)
    if path.is_dir():
        folder = path
    elif path.is_file() and path.suffix == ".tflite":
        folder = path.parent
    elif path.exists():
        raise ModelFileError(
            f"model: expected an export folder or a .tflite file, received another file: {path}"
        )
    else:
        shipped = ", ".join(list_models()) or "none"
        raise ModelFileError(
            f"no model found. {_EXPORT_HINT}. Shipped models: {shipped}. Received: {path}"
        )
    if (folder / MANIFEST).is_file():
        return _read_with_manifest(path, folder, precision)
    if path == folder:
        inner = folder / "export"
        mend = f"Use {inner}" if (inner / MANIFEST).is_file() else _EXPORT_HINT
        raise ModelFileError(f"the folder has no {MANIFEST}. {mend}. Received: {folder}")
    if precision is not None:
        raise ModelFileError(
            f"precision {precision!r} can be chosen only in an export folder: {path} has no "
            f"{MANIFEST} beside it. Leave the precision out"
        )
    return _read_with_card(path)


def first_precision(model: str | PathLike[str], wanted: Sequence[str] = ("float32",)) -> str | None:
    """The first of some precisions that an export folder has.

    Args:
        model: A path as of `read_model_files`.
        wanted: Precisions, the best first.

    Returns:
        A precision, or None where the path is a file, or has none of them.

    Raises:
        ModelFileError: The manifest is missing or damaged.
    """
    folder = Path(model)
    if not folder.is_dir():
        return None
    where = folder / MANIFEST
    choices = _field(_read_manifest(where), "precision_files", dict, where)
    return next((name for name in wanted if name in choices), None)


def _read_with_card(path: Path) -> ModelFiles:
    """Another project's file: without its card, raw pixels would be a guess, mostly a wrong one."""
    labels = path.parent / LABELS
    names = _check_names(_read_text(labels).splitlines(), labels) if labels.is_file() else None
    where = card_beside(path)
    if not where.is_file():
        raise ModelFileError(
            "the file does not say what its inputs and outputs mean (labels, colour, what the "
            f"pixel values become). For an export of fer_keras, copy its {MANIFEST} and {LABELS} "
            f"beside it; for another project's model, {card_to_write(path, names)}. Received: "
            f"{path}"
        )
    card = read_card(where)
    if names is not None and names != card.labels:
        raise ModelFileError(
            f"the labels contradict each other: {where.name} has {list(card.labels)}, {LABELS} has "
            f"{list(names)}. Correct one of them: {path}"
        )
    content = _read_bytes(path, MAX_MODEL_BYTES)
    digest = hashlib.sha256(content).hexdigest()
    if card.sha256 and digest != card.sha256.lower():
        raise ModelFileError(
            f"the card {where} is for a file with sha256 {card.sha256}, this one has {digest}: "
            f"{path}"
        )
    return ModelFiles(
        path, content, card.labels, card.image_size, card.channels, "image", card=card
    )


def _read_for_engine(folder: Path, precision: str | None, engine: EngineName) -> ModelFiles:
    """The float32 file that an export holds for another engine than LiteRT."""
    if precision not in (None, "float32"):
        raise ConfigError(
            f"precision: the file for {engine} is in float32, received {precision!r}. Leave the "
            "precision out, or the engine"
        )
    where = folder / MANIFEST
    if not where.is_file():
        raise ModelFileError(
            f"engine {engine}: expected an export folder with {MANIFEST}. {_EXPORT_HINT} --formats "
            f"{engine}. Received: {folder}"
        )
    manifest = _read_manifest(where)
    names = _labels(manifest, folder)
    # Exports from before there were other engines have no such entry.
    there = manifest.get("engine_files", {})
    name = there.get(engine) if isinstance(there, dict) else None
    if name is None:
        raise ModelFileError(
            f"the export has no file for the engine {engine}. {_EXPORT_HINT} --formats {engine}. "
            f"Received: {folder}"
        )
    content = _verified(folder, name, manifest, MAX_MODEL_BYTES)
    weights = b""
    if engine == "openvino":
        weights = _verified(folder, Path(str(name)).stem + ".bin", manifest, MAX_MODEL_BYTES)
    size, channels, kind = _input_facts(manifest, where)
    return ModelFiles(
        folder / str(name), content, names, size, channels, kind, manifest=manifest,
        engine=engine, weights=weights, outputs=_outputs(manifest, where),
    )  # fmt: skip


def _read_with_manifest(path: Path, folder: Path, precision: str | None) -> ModelFiles:
    where = folder / MANIFEST
    manifest = _read_manifest(where)
    choices = _field(manifest, "precision_files", dict, where)
    if path != folder:
        if path.name not in choices.values():
            raise ModelFileError(
                f"the model is not listed among the precision_files of {where}, so it cannot be "
                f"verified: expected one of {sorted(map(str, choices.values()))}, received "
                f"{path.name}. {_EXPORT_HINT}"
            )
        if precision is not None and choices.get(precision) != path.name:
            raise ModelFileError(
                f"precision {precision!r} is {choices.get(precision)} in {where}, received "
                f"{path.name}. Leave the precision out"
            )
        file_name = path.name
    else:
        file_name = choices[_precision(precision, manifest, choices, where)]
    names = _labels(manifest, folder)
    content = _verified(folder, file_name, manifest, MAX_MODEL_BYTES)
    size, channels, kind = _input_facts(manifest, where)
    head, clip_frames = b"", 0
    if kind == "clip":
        key = next(key for key, name in choices.items() if name == file_name)
        heads = _field(manifest, "head_files", dict, where)
        head = _verified(folder, heads.get(key), manifest, MAX_MODEL_BYTES)
        clip_frames = _field(manifest, "clip_frames", int, where)
        if not 3 <= clip_frames <= 1024:
            raise ModelFileError(
                f"clip_frames: expected 3 to 1024, received {clip_frames}: {where}"
            )
    return ModelFiles(
        folder / file_name, content, names, size, channels, kind, head, clip_frames,
        manifest, outputs=_outputs(manifest, where),
    )  # fmt: skip


def _labels(manifest: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """The class names of the manifest, which are those of the file of labels."""
    where = folder / MANIFEST
    names = _check_names(_field(manifest, "class_names", list, where), where)
    labels = _read_text(folder / LABELS).splitlines() if (folder / LABELS).exists() else None
    if labels is None:
        raise ModelFileError(f"{LABELS} is missing. {_EXPORT_HINT}. Folder: {folder}")
    # Compared before its sha256, because the two lists say more than two hashes.
    if tuple(labels) != names:
        raise ModelFileError(
            f"the labels contradict each other: {MANIFEST} has {list(names)}, {LABELS} has "
            f"{labels}. {_EXPORT_HINT}. Folder: {folder}"
        )
    _verified(folder, LABELS, manifest, MAX_TEXT_BYTES)
    return names


def _input_facts(manifest: Mapping[str, Any], where: Path) -> tuple[tuple[int, int], int, str]:
    """Image size, channels and kind of input."""
    size = _field(manifest, "image_size", list, where)
    if len(size) != 2 or not all(type(side) is int and 1 <= side <= 4096 for side in size):
        raise ModelFileError(f"image_size: expected [height, width], received {size}: {where}")
    channels = _field(manifest, "channels", int, where)
    if channels not in (1, 3):
        raise ModelFileError(f"channels: expected 1 or 3, received {channels}: {where}")
    # Exports from before there were pairs say nothing.
    kind = manifest.get("input_kind", "image")
    if kind not in ("image", "pair", "clip"):
        raise ModelFileError(
            f"input_kind: expected image, pair or clip, received {kind!r}: {where}"
        )
    return (size[0], size[1]), channels, kind


def _outputs(manifest: Mapping[str, Any], where: Path) -> tuple[str, ...]:
    """The outputs of a file; exports of other networks do not name them."""
    names = manifest.get("outputs", [OUTPUTS[0]])
    if names not in ([*OUTPUTS[:1]], [*OUTPUTS]):
        raise ModelFileError(
            f"outputs: expected {[*OUTPUTS[:1]]} or {[*OUTPUTS]}, received {names!r}. "
            f"{_EXPORT_HINT}: {where}"
        )
    return tuple(names)


def _precision(
    wanted: str | None, manifest: Mapping[str, Any], choices: Mapping[str, Any], where: Path
) -> str:
    key = "precision"
    if wanted is None and "default_precision" in manifest:
        key, wanted = (
            "default_precision",
            cast(str, _field(manifest, "default_precision", str, where)),
        )
    elif wanted is None:
        wanted = "float32" if "float32" in choices else min(choices, default="")
    if wanted not in choices:
        raise ModelFileError(
            f"{key}: expected one of {sorted(choices)}, received {wanted!r}. Export it, or choose "
            f"another: {where}"
        )
    return wanted


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"not valid JSON ({error}). {_EXPORT_HINT}: {path}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != MANIFEST_FORMAT:
        received = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise ModelFileError(
            f"format: expected {MANIFEST_FORMAT}, received {received!r}. {_EXPORT_HINT}: {path}"
        )
    return manifest


def _field(manifest: Mapping[str, Any], key: str, kind: type, path: Path) -> Any:
    value = manifest.get(key)
    if type(value) is not kind:
        raise ModelFileError(
            f"{key}: expected {kind.__name__}, received {value!r}. {_EXPORT_HINT}: {path}"
        )
    return value


def _check_names(names: list[Any], path: Path) -> tuple[str, ...]:
    usable = all(isinstance(name, str) and name.strip() and name.isprintable() for name in names)
    if not usable or len(names) < 2 or len(set(names)) != len(names):
        raise ModelFileError(
            f"class names: expected at least two different words, received {names}: {path}"
        )
    return tuple(names)


def _verified(folder: Path, name: Any, manifest: Mapping[str, Any], limit: int) -> bytes:
    """The bytes of a file of the folder, after its size and sha256 were compared."""
    where = folder / MANIFEST
    # A name with a folder in it could point to any file of the machine.
    if not isinstance(name, str) or Path(name).name != name:
        raise ModelFileError(f"files: expected a plain file name, received {name!r}: {where}")
    entry = _field(manifest, "files", dict, where).get(name)
    if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
        raise ModelFileError(f"files: no sha256 for {name}. {_EXPORT_HINT}: {where}")
    path = folder / name
    if not path.is_file():
        raise ModelFileError(f"the file that {where} lists is missing. {_EXPORT_HINT}: {path}")
    content = _read_bytes(path, limit)
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry["sha256"].lower():
        raise ModelFileError(
            f"sha256: expected {entry['sha256']}, received {digest}: the file was changed after "
            f"the export or damaged. Copy the export folder again: {path}"
        )
    return content


def _read_bytes(path: Path, limit: int) -> bytes:
    size = path.stat().st_size
    if size > limit:
        raise ModelFileError(f"file too large: expected at most {limit} bytes, has {size}: {path}")
    with path.open("rb") as stream:
        return stream.read(limit)


def _read_text(path: Path) -> str:
    try:
        return _read_bytes(path, MAX_TEXT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFileError(f"expected UTF-8 text ({error}): {path}") from error
