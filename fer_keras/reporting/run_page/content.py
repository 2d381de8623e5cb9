"""What a report knows: the files of a run folder, and the studies of its model.

A study lies in a folder of its own, beside the run, in it, or where it is said to be. It belongs to
the run where the sha256 of a model that it names is that of the run's network or of a file of its
export: names and places of folders say nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError, FerKerasError
from fer_keras.common.files import read_json
from fer_keras.reporting.tables import read_csv

SPLITS = ("validation", "test")
STUDIES = ("heatmaps", "robustness", "resize", "subgroups")


@dataclass(frozen=True)
class Study:
    """One study of the run's model.

    Attributes:
        name: One of `STUDIES`.
        folder: Its files.
        record: Its JSON file.
        model: Name of the run's model in it.
    """

    name: str
    folder: Path
    record: Mapping[str, Any] = field(repr=False)
    model: str


@dataclass(frozen=True)
class Content:
    """All that a report is made of.

    Attributes:
        run_dir: The run folder.
        results: Split -> content of its result file.
        predictions: Split -> rows of `predictions_SPLIT.csv`.
        history: Of `metrics.jsonl`, a row for each epoch.
        experiment: Of `experiment.json`; empty where it is missing.
        manifest: Of the export; empty where nothing was exported.
        studies: Those of the run's model, by name.
    """

    run_dir: Path
    results: Mapping[str, Mapping[str, Any]]
    predictions: Mapping[str, Sequence[Mapping[str, str]]] = field(repr=False)
    history: Sequence[Mapping[str, Any]] = field(repr=False)
    experiment: Mapping[str, Any] = field(repr=False)
    manifest: Mapping[str, Any] = field(repr=False)
    studies: Sequence[Study]


def read_run(run_dir: Path, study_folders: Sequence[Path] = ()) -> Content:
    """Reads a run folder and finds the studies of its model.

    Args:
        run_dir: The run folder.
        study_folders: Further places of studies.

    Returns:
        The content; what is not there is empty.

    Raises:
        ConfigError: No run folder, a run without results, or a named folder without a study of
            this run.
        ModelFileError: A file is damaged.
    """
    files = {"validation": run_dir / "result.json", "test": run_dir / "result_test.json"}
    results = {split: read_json(path) for split, path in files.items() if path.is_file()}
    if "validation" not in results:
        raise ConfigError(
            "Expected a run folder with result.json, which training and evaluate write. "
            f"Received: {run_dir}"
        )
    predictions = {
        split: read_csv(run_dir / f"predictions_{split}.csv")
        for split in results
        if (run_dir / f"predictions_{split}.csv").is_file()
    }
    manifest = _json_if_there(run_dir / "export" / "manifest.json")
    own = {str(result.get("model_sha256") or "") for result in results.values()}
    own |= {file["sha256"] for file in manifest.get("files", {}).values()}
    own.discard("")
    named = [_find_studies([folder], own) for folder in study_folders]
    for folder, found in zip(study_folders, named, strict=True):
        if not found:
            raise ConfigError(
                f"Expected a folder with {', '.join(f'{name}.json' for name in STUDIES)} about a "
                f"model of {run_dir}. Received: {folder}"
            )
    parents = (run_dir.resolve().parent, run_dir)
    places = [path for parent in parents for path in sorted(parent.iterdir()) if path.is_dir()]
    return Content(
        run_dir,
        results,
        predictions,
        _read_lines(run_dir / "metrics.jsonl"),
        _json_if_there(run_dir / "experiment.json"),
        manifest,
        _latest([study for found in named for study in found] or _find_studies(places, own)),
    )


def _find_studies(folders: Sequence[Path], own: set[str]) -> list[Study]:
    found = []
    for folder in folders:
        for name in STUDIES:
            path = folder / f"{name}.json"
            if not path.is_file():
                continue
            try:
                record = read_json(path)
            except FerKerasError:
                continue  # somebody else's file of this name, or one that is being written
            for model in record.get("models", []):
                if isinstance(model, dict) and model.get("sha256") in own:
                    found.append(Study(name, folder, record, str(model["name"])))
    return found


def _latest(studies: Sequence[Study]) -> list[Study]:
    """For each study, model of the run and split of a data set the one that was written last."""
    latest: dict[tuple[str, ...], Study] = {}
    for study in sorted(studies, key=lambda s: (s.folder / f"{s.name}.json").stat().st_mtime):
        on = (str(study.record.get("dataset")), str(study.record.get("split")))
        latest[study.name, study.model, *on] = study
    return sorted(latest.values(), key=lambda study: (STUDIES.index(study.name), study.model))


def _json_if_there(path: Path) -> Mapping[str, Any]:
    return read_json(path) if path.is_file() else {}


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        rows = [json.loads(line) for line in lines if line.strip()]
    except ValueError as error:
        raise ConfigError(f"Expected one JSON object a line ({error}): {path}") from error
    return [row for row in rows if isinstance(row, dict) and "epoch" in row]
