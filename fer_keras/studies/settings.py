"""What a setting changes: finished runs that differ in it, side by side, their seeds together.

Runs that agree in all settings but the seed are one row. The first row is what the others are
compared with, seed by seed and picture by picture (McNemar's exact test), and for the class in
question, by default the rarest, how many of its pictures are found. Nothing is trained and no
picture is read: the figures are those that the runs wrote. Cross-validated runs are compared by
their out-of-fold predictions.

examples:
  python -m fer_keras.study settings runs/cross_entropy-seed0 runs/fer2013_oversampled-seed0
  python -m fer_keras.study settings runs/ckplus_compact-* runs/ckplus_compact_pretrained-*
  python -m fer_keras.study settings RUN RUN RUN --class fear --split test

files:
  settings.md, .csv, .json   a row for each setting, and the differences
  settings.png               the recall of every class
"""

import argparse
import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError, did_you_mean
from fer_keras.common.files import read_json, write_text
from fer_keras.common.metrics import wilson_interval
from fer_keras.common.significance import mcnemar
from fer_keras.config import flatten, load_experiment
from fer_keras.reporting.plots import plot_intervals
from fer_keras.reporting.tables import markdown_table, read_csv, write_csv
from fer_keras.studies.comparison.report import published
from fer_keras.studies.shared.output import output_folder

# What two runs of one setting may differ in.
_FREE = ("name", "seed", "dataset.source", "growth.previous")
_KINDS = {
    "validation": ("result.json", "predictions_validation.csv"),
    "test": ("result_test.json", "predictions_test.csv"),
    "out_of_fold": ("result.json", "predictions_out_of_fold.csv"),
}


@dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        path: Its folder.
        name: Of its experiment.
        seed: Its seed.
        settings: `part.field` -> value as text, without `_FREE`.
        result: The figures it wrote.
        right: Source of a picture -> whether it was answered right.
    """

    path: Path
    name: str
    seed: int
    settings: Mapping[str, str]
    result: Mapping[str, Any]
    right: Mapping[str, bool]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="finished run folders")
    parser.add_argument(
        "--split", choices=("validation", "test"), default="validation",
        help="test: of runs that were evaluated on it",
    )  # fmt: skip
    parser.add_argument("--class", dest="emotion", help="default: the rarest")
    parser.add_argument("--output", type=Path, metavar="DIR", help="runs/study-settings-DATE")


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        Two tables, as Markdown.

    Raises:
        ConfigError: A run is not finished, the runs were measured on different pictures, or do not
            differ.
    """
    runs = [read_run(path, arguments.split) for path in arguments.runs]
    for other in runs[1:]:
        if other.right.keys() != runs[0].right.keys():
            raise ConfigError(
                f"Expected runs that were measured on the same pictures. Received: {runs[0].path} "
                f"({len(runs[0].right)} pictures) and {other.path} ({len(other.right)})."
            )
    groups = group_runs(runs)
    if len(groups) < 2:
        raise ConfigError("Expected runs that differ in a setting. Received: the same settings.")
    emotion = _emotion(runs[0], arguments.emotion)
    rows = [_row(label, group, emotion) for label, group in groups.items()]
    differences = _differences(groups, emotion)
    result = runs[0].result
    studied_on = (
        f"{result['dataset']} {result['split'].replace('_', ' ')} ({result['label_rule']}), "
        f"n {result['n']:,}"
    )
    folder = output_folder(arguments, "settings")
    text = report(studied_on, rows, differences, emotion)
    write_text(folder / "settings.md", text + "\n")
    write_csv(folder / "settings.csv", rows)
    record = {"studied_on": studied_on, "rows": rows, "differences": differences}
    write_text(folder / "settings.json", json.dumps(record, indent=2) + "\n")
    _draw(folder / "settings.png", groups, studied_on)
    return f"{text}\n\nwritten to {folder}"


def read_run(path: Path, split: str) -> Finished:
    """Reads what a run wrote.

    Args:
        path: A run folder, or that of a cross-validation.
        split: `"validation"` or `"test"`; a cross-validation has its out-of-fold predictions only.

    Returns:
        The run.

    Raises:
        ConfigError: It is not finished, or was not evaluated on the split.
    """
    experiment = load_experiment(str(path / "experiment.json"))
    kind = "out_of_fold" if experiment.dataset.every_fold else split
    result_file, predictions_file = (path / name for name in _KINDS[kind])
    if not result_file.is_file() or not predictions_file.is_file():
        raise ConfigError(
            f"Expected a finished run with {result_file.name} and {predictions_file.name}. "
            f"Received: {path}"
        )
    lines = read_csv(predictions_file)
    right = {line["source"]: line["true"] == line["predicted"] for line in lines}
    settings = {
        key: _short(key, value)
        for key, value in flatten(dataclasses.asdict(experiment)).items()
        if key not in _FREE
    }
    return Finished(path, experiment.name, experiment.seed, settings, read_json(result_file), right)


def group_runs(runs: Sequence[Finished]) -> dict[str, list[Finished]]:
    """Puts the seeds of one setting together.

    Args:
        runs: Any number.

    Returns:
        The settings that are not the same in all runs -> the runs that have them.
    """
    keys = sorted({key for each in runs for key in each.settings})
    differing = [key for key in keys if len({each.settings.get(key, "") for each in runs}) > 1]
    groups: dict[str, list[Finished]] = {}
    for each in runs:
        parts = [f"{key.split('.')[-1]} {each.settings.get(key) or 'none'}" for key in differing]
        groups.setdefault(", ".join(parts), []).append(each)
    return groups


def _short(key: str, value: Any) -> str:
    # The same start in another folder is the same setting.
    return Path(str(value)).name if key == "network.weights" else str(value)


def _emotion(first: Finished, asked: str | None) -> str:
    support = {name: row["support"] for name, row in first.result["per_class"].items()}
    if asked and asked not in support:
        raise ConfigError(f"--class: unknown {asked!r}. {did_you_mean(asked, support)}")
    return asked or min((name for name in support if support[name]), key=lambda n: support[n])


def _row(label: str, group: Sequence[Finished], emotion: str) -> dict[str, Any]:
    results = [each.result for each in group]
    accuracies = [result["accuracy"] for result in results]
    return {
        "setting": label,
        "experiment": group[0].name,
        "seeds": " ".join(str(each.seed) for each in group),
        "n": results[0]["n"],
        "accuracy": statistics.fmean(accuracies),
        "accuracy_std": statistics.stdev(accuracies) if len(group) > 1 else None,
        "balanced_accuracy": statistics.fmean(r["balanced_accuracy"] for r in results),
        "macro_f1": statistics.fmean(r["macro_f1"] for r in results),
        "recall": statistics.fmean(r["per_class"][emotion]["recall"] for r in results),
        "precision": statistics.fmean(r["per_class"][emotion]["precision"] or 0 for r in results),
        "support": results[0]["per_class"][emotion]["support"],
        "published": published(results[0]["dataset"], group[0].name),
    }


def _differences(groups: Mapping[str, Sequence[Finished]], emotion: str) -> list[dict[str, Any]]:
    (_, first), *others = groups.items()
    by_seed = {each.seed: each for each in first}
    rows = []
    for label, group in others:
        for each in group:
            base = by_seed.get(each.seed)
            if base is None:
                continue
            gained = sum(right and not base.right[source] for source, right in each.right.items())
            lost = sum(base.right[source] and not right for source, right in each.right.items())
            recalls = [run.result["per_class"][emotion]["recall"] for run in (each, base)]
            rows.append(
                {
                    "setting": label, "seed": each.seed, "gained": gained, "lost": lost,
                    "difference": each.result["accuracy"] - base.result["accuracy"],
                    "p_value": mcnemar(gained, lost), "recall_difference": recalls[0] - recalls[1],
                }
            )  # fmt: skip
    return rows


def report(
    studied_on: str,
    rows: Sequence[Mapping[str, Any]],
    differences: Sequence[Mapping[str, Any]],
    emotion: str,
) -> str:
    """All of it as Markdown.

    Args:
        studied_on: Data set, split, label rule and number of pictures.
        rows: One for each setting.
        differences: One for each setting after the first and each seed that both have.
        emotion: The class in question.

    Returns:
        Text without a last newline.
    """
    header = [
        "Setting", "Seeds", "Accuracy", "Balanced", "Macro F1", f"Recall of {emotion}",
        f"Precision of {emotion}", "Published",
    ]  # fmt: skip
    table = [
        [
            row["setting"], row["seeds"],
            f"{row['accuracy']:.4f}"
            + (f" ± {row['accuracy_std']:.4f}" if row["accuracy_std"] is not None else ""),
            f"{row['balanced_accuracy']:.4f}", f"{row['macro_f1']:.4f}", f"{row['recall']:.3f}",
            f"{row['precision']:.3f}", row["published"],
        ]
        for row in rows
    ]  # fmt: skip
    lines = [
        "# Settings",
        "",
        f"{studied_on}; {rows[0]['support']} of them {emotion}. With several seeds: mean ± "
        "standard deviation.",
        "",
        markdown_table(header, table),
    ]
    if differences:
        versus = [
            [
                row["setting"], str(row["seed"]), f"{row['difference']:+.4f}",
                f"{row['gained']} / {row['lost']}", f"{row['p_value']:.3f}",
                f"{row['recall_difference']:+.3f}",
            ]
            for row in differences
        ]  # fmt: skip
        header = ["Setting", "Seed", "Accuracy", "Gained / lost", "p", f"Recall of {emotion}"]
        lines += ["", f"Against {rows[0]['setting']}, the same seed and pictures:", ""]
        lines.append(markdown_table(header, versus))
    return "\n".join(lines)


def _draw(path: Path, groups: Mapping[str, Sequence[Finished]], studied_on: str) -> None:
    shown: dict[str, dict[str, tuple[float, float, float]]] = {}
    for label, group in groups.items():
        classes = group[0].result["per_class"]
        for name, row in classes.items():
            support = row["support"]
            if support:
                recall = statistics.fmean(e.result["per_class"][name]["recall"] for e in group)
                low, high = wilson_interval(round(recall * support), support)
                shown.setdefault(label, {})[f"{name} (n {support})"] = (recall, low, high)
    note = f"Recall, 95 % Wilson interval of one run; {studied_on}"
    plot_intervals(shown, path, title="What the setting changes for each class", note=note)
