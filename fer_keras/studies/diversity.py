"""Whether branches that are kept apart answer better: an ensemble with and without diversification.

Trains the same network with the same budget without diversification, where the likeness of the
branches is only measured, and with each form of the loss of fer_keras.methods.diversity: -log det,
-det and
the sum of the similarities. --legacy adds -det of the matrix with zeros on the diagonal, as
the authors of the loss have it, which for an odd number of branches makes them MORE alike.

examples:
  python -m fer_keras.study diversity --seeds 0 1 2
  python -m fer_keras.study diversity --kinds logdet --weight 0.1 --epochs 3 --limit 4000
  python -m fer_keras.study diversity --experiment ferplus_manet_diversified

files:
  diversity.md, .csv    a row for each form: accuracy, likeness, difference to the control
  diversity.png         likeness of the branches and validation accuracy over the epochs
  ROW-seedN/            the run folder of every training

On validation by default, where figures compare rows and are no final scores; --split test.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import write_text
from fer_keras.config import load_experiment
from fer_keras.reporting.plots import Line, Panel, plot_panels
from fer_keras.reporting.tables import markdown_table, write_csv
from fer_keras.studies.shared.output import output_folder
from fer_keras.studies.shared.series import (
    accuracy_cell,
    add_series_arguments,
    difference_cell,
    mean,
    measured_on,
    parent_run,
    plot_limits,
    schedule,
    shared_changes,
    train_series,
)
from fer_keras.studies.shared.trained_rows import Outcome, Row

KINDS = ("logdet", "det", "direct")
_LABELS = {"logdet": "-log det", "det": "-det", "direct": "sum of similarities"}
_CONTROL = "control"
_OPTIONS = "method.options"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    add_series_arguments(parser, "diversity", "ferplus")
    parser.add_argument(
        "--experiment", default="ferplus_esr_small_diversified", metavar="NAME",
        help="of the method branch_ensemble, with diversity (ferplus_esr_small_diversified)",
    )  # fmt: skip
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument(
        "--weight", type=float, metavar="W", help="of the diversity loss (as its experiment)"
    )
    parser.add_argument("--legacy", action="store_true", help="also -det with a zero diagonal")


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        The table, as Markdown.

    Raises:
        ConfigError: The experiment has no diversity.
        FerKerasError: The data set is missing, or a training failed.
    """
    chosen = rows(arguments)
    folder = output_folder(arguments, "diversity")
    with parent_run("diversity", folder, arguments) as tracker:
        outcomes = train_series(chosen, folder, arguments, tracker)
        curves = {
            name: [read_history(outcome) for outcome in of_row] for name, of_row in outcomes.items()
        }
        for name, histories in curves.items():
            for epoch, values in enumerate(_by_epoch(histories, "val_mean_similarity"), start=1):
                tracker.log({f"{name}_mean_similarity": statistics.fmean(values)}, epoch)
        text = write_report(folder, arguments.experiment, outcomes, curves)
    return f"{text}\n\nwritten to {folder}"


def rows(arguments: argparse.Namespace) -> dict[str, Row]:
    """What is trained.

    Args:
        arguments: Parsed options.

    Returns:
        Name of a run folder -> row; the first is the control.

    Raises:
        ConfigError: The experiment has no diversity.
    """
    options = load_experiment(arguments.experiment).method.options
    if not options.get("diversity"):
        raise ConfigError(
            "--experiment: expected one with method.options.diversity, such as "
            f"ferplus_esr_small_diversified. Received: {arguments.experiment}."
        )
    shared = shared_changes(arguments)
    weight = arguments.weight
    if weight is not None:
        shared = (*shared, f"{_OPTIONS}.diversity_weight={weight}")
    control = (*shared, f"{_OPTIONS}.diversity_weight=0")
    made = {_CONTROL: Row("none", arguments.experiment, control)}
    for kind in arguments.kinds:
        changes = (*shared, f"{_OPTIONS}.diversity_kind={kind}")
        made[kind] = Row(_LABELS[kind], arguments.experiment, changes)
    if arguments.legacy:
        changes = (
            *shared, f"{_OPTIONS}.diversity_kind=det", f"{_OPTIONS}.diagonal=zero_legacy",
        )  # fmt: skip
        made["legacy"] = Row("-det, zeros on the diagonal", arguments.experiment, changes)
    return made


def read_history(outcome: Outcome) -> list[dict[str, float]]:
    """The rows of `metrics.jsonl` of a run, one for each epoch."""
    lines = (outcome.run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _by_epoch(histories: Sequence[Sequence[Mapping[str, float]]], key: str) -> list[list[float]]:
    """Values of all seeds for every epoch that all of them have."""
    return [
        [row[key] for row in rows_of_epoch]
        for rows_of_epoch in zip(*histories, strict=False)
        if all(key in row for row in rows_of_epoch)
    ]


def write_report(
    folder: Path,
    experiment: str,
    outcomes: Mapping[str, Sequence[Outcome]],
    curves: Mapping[str, Sequence[Sequence[Mapping[str, float]]]],
) -> str:
    """Writes tables and figure, and returns the table.

    Args:
        folder: Where to.
        experiment: What was trained.
        outcomes: Of `rows`, by name.
        curves: Name -> the history of every seed.

    Returns:
        Markdown.
    """
    header = (
        "Diversity loss", "Accuracy [95 %]", "Against none", "Vote", "Balanced", "Likeness",
    )  # fmt: skip
    table, records = [], []
    for name, of_row in outcomes.items():
        kept = [
            history[outcome.training["best_epoch"] - 1]
            for outcome, history in zip(of_row, curves[name], strict=True)
        ]
        alike = [row["val_mean_similarity"] for row in kept]
        votes = [row["val_vote_accuracy"] for row in kept if "val_vote_accuracy" in row]
        spread = f" ± {statistics.stdev(alike):.3f}" if len(alike) > 1 else ""
        table.append(
            [
                of_row[0].row.label,
                accuracy_cell(of_row),
                difference_cell(of_row, outcomes[_CONTROL]),
                f"{statistics.fmean(votes):.4f}" if votes else "",
                f"{mean(of_row, 'balanced_accuracy'):.4f}",
                f"{statistics.fmean(alike):.3f}{spread}",
            ]
        )
        for outcome, row in zip(of_row, kept, strict=True):
            low, high = outcome.figures["accuracy_interval"]
            records.append(
                {
                    "diversity": name, "seed": outcome.training["seed"],
                    "accuracy": outcome.figures["accuracy"], "low": low, "high": high,
                    "n": outcome.figures["n"], "best_epoch": outcome.training["best_epoch"],
                    "mean_similarity": row["val_mean_similarity"],
                    "diversity_loss": row["val_diversity_loss"], "command": outcome.command,
                }
            )  # fmt: skip
    seeds = len(outcomes[_CONTROL])
    subject = measured_on(outcomes)
    text = (
        f"# Diversity\n\n{experiment} on {subject}; {seeds} seed{'s' if seeds > 1 else ''}, "
        f"{schedule(outcomes)}. Accuracy: mean ± standard deviation of the seeds, 95 % Wilson "
        "interval of one run. Against none: points on the same pictures (p: McNemar's exact test "
        "of each seed). Vote: of the branches, on validation. Likeness: mean similarity of "
        "different branches there, 0..1, at the kept epoch.\n\n"
        f"{markdown_table(header, table)}"
    )
    write_text(folder / "diversity.md", text + "\n")
    write_csv(folder / "diversity.csv", records)
    _draw(folder / "diversity.png", outcomes, curves, experiment)
    return text


def _draw(
    path: Path,
    outcomes: Mapping[str, Sequence[Outcome]],
    curves: Mapping[str, Sequence[Sequence[Mapping[str, float]]]],
    experiment: str,
) -> None:
    panels = []
    for key, title in (
        ("val_mean_similarity", "Mean similarity of the branches"),
        ("val_accuracy", "Validation accuracy"),
    ):
        lines: list[Any] = []
        epochs = 0
        for name, of_row in outcomes.items():
            values = _by_epoch(curves[name], key)
            epochs = max(epochs, len(values))
            means = [statistics.fmean(each) for each in values]
            band: tuple[Sequence[float], Sequence[float]] = ((), ())
            if len(of_row) > 1:
                band = (list(map(min, values)), list(map(max, values)))
            lines.append(Line(of_row[0].row.label, means, *band))
        step = -(-epochs // 10)
        ticks = [str(e) if (e - 1) % step == 0 else "" for e in range(1, epochs + 1)]
        ends = [end for line in lines for end in (*line.values, *line.lower, *line.upper)]
        panels.append(Panel(title, ticks, lines, plot_limits(ends)))
    note = "Over the epochs. Bands: from the\nlowest to the highest seed."
    plot_panels(panels, path, title=f"Diversity of branches, {experiment}", note=note, columns=3)
