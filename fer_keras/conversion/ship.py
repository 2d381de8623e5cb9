"""Copies an export into the folder of shipped models, with its card.

File by file, after its sha256 was compared: two TFLite files, labels, manifest and card. Exports
keep the SavedModel and the other precisions for those who build on them.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError, ExportError
from fer_keras.common.files import read_json, write_text
from fer_keras.conversion.folder import check_target, file_table, publish
from fer_keras.reporting.card import render_card
from fer_keras.runtime.export_files import LABELS, MANIFEST, read_model_files


def ship(
    export_dir: Path,
    output_dir: Path,
    *,
    precisions: Sequence[str] = ("float32", "int8"),
    default: str = "int8",
    robustness: Path | None = None,
) -> dict[str, Any]:
    """Copies what users run from an export, with a card that has all figures.

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
    try:
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}.", dir=output_dir.parent))
        try:
            for file in files.values():
                (building / file.path.name).write_bytes(file.content)
            shutil.copy(export_dir / LABELS, building / LABELS)
            write_text(building / "card.md", render_card(manifest))
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
    return manifest


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
    clean = {row["model"]: row["accuracy"] for row in record["conditions"] if not row["severity"]}
    return {
        "precision": precision,
        **{key: record[key] for key in ("dataset", "split", "label_rule", "n", "seed")},
        "accuracy": clean[name],
        "reference_accuracy": clean,
        "points": [row for row in record["standard_points"] if row["model"] == name],
    }
