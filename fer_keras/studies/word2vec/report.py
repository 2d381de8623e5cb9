"""Tables and pictures of the study of words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_keras.common.files import write_text
from fer_keras.reporting.bars import plot_bars, plot_cosines, plot_histograms
from fer_keras.reporting.plots import plot_intervals
from fer_keras.reporting.tables import markdown_table, write_csv
from fer_keras.studies.shared.series import (
    Outcomes,
    accuracy_cell,
    accuracy_interval,
    difference_cell,
    mean,
    measured_on,
    plot_limits,
    schedule,
)
from fer_keras.studies.word2vec.semantics import CompoundScores, Mistakes, OpenWords

_SHOWN_CLASSES = 3


@dataclass(frozen=True)
class Findings:
    """What the study found.

    Attributes:
        outcomes: `LOSS VECTORS` -> the outcome of each seed; the baseline first.
        class_names: Of the data set.
        tables: Kind of vectors -> `(classes, d)`.
        mistakes: As `outcomes`, of the first seed.
        cosines: As `outcomes` without the baseline: of each face with its class vector.
        words: As `outcomes`, where faces were read in all words.
        compounds: Label -> scores on compound faces.
    """

    outcomes: Mapping[str, Outcomes]
    class_names: Sequence[str]
    tables: Mapping[str, npt.NDArray[np.float32]]
    mistakes: Mapping[str, Mistakes]
    cosines: Mapping[str, npt.NDArray[np.float32]]
    words: Mapping[str, OpenWords]
    compounds: Mapping[str, CompoundScores]


def write_report(folder: Path, findings: Findings) -> str:
    """Writes tables and figures, and returns the tables.

    Args:
        folder: Where to.
        findings: What was found.

    Returns:
        Markdown.
    """
    subject = measured_on(findings.outcomes)
    parts = [
        f"Measured on {subject}; {schedule(findings.outcomes)}. A mistake costs the cosine "
        "distance of the predicted and the true word, 0 to 2, in the vectors of the words, "
        "whatever a row was trained towards; at random: if mistakes fell on any other class with "
        "equal chance. The absolute cosine is the loss of the first write-up, at its best where "
        "faces and words are orthogonal.",
        _losses(findings),
        _cosine_words(findings),
    ]
    if findings.words:
        parts.append(_open_words(findings))
    if findings.compounds:
        parts.append(_compounds(findings))
    text = "\n\n".join(parts)
    write_text(folder / "word2vec.md", text + "\n")
    write_csv(folder / "word2vec.csv", _records(findings))
    _draw(folder, findings, subject)
    return f"{text}\n\nwritten to {folder}"


def _losses(findings: Findings) -> str:
    baseline = next(iter(findings.outcomes.values()))
    header = (
        "", "accuracy [95 %]", "against cross-entropy", "balanced", "cost of all", "of a mistake",
        "at random", "cosine with true",
    )  # fmt: skip
    table = []
    for name, row in findings.outcomes.items():
        cost = findings.mistakes[name]
        cosine = f"{findings.cosines[name].mean():+.3f}" if name in findings.cosines else ""
        table.append([
            row[0].row.label, accuracy_cell(row), difference_cell(row, baseline),
            f"{mean(row, 'balanced_accuracy'):.4f}", f"{cost.error:.4f}", f"{cost.of_mistakes:.4f}",
            f"{cost.at_random:.4f}", cosine,
        ])  # fmt: skip
    return markdown_table(header, table)


def _cosine_words(findings: Findings) -> str:
    lines = []
    for kind, table in findings.tables.items():
        if kind == "random":  # orthonormal
            continue
        cosines = table @ table.T
        pairs = sorted(
            ((cosines[i, j], i, j) for i in range(len(table)) for j in range(i)), reverse=True
        )
        nearest = ", ".join(
            f"{findings.class_names[j]} and {findings.class_names[i]} {cosine:.2f}"
            for cosine, i, j in pairs[:_SHOWN_CLASSES]
        )
        lines.append(f"- {kind.replace('_', ' ')}: {nearest}")
    return "Classes whose vectors are nearest, by their cosine:\n\n" + "\n".join(lines)


def _open_words(findings: Findings) -> str:
    rows, words = [], []
    for name, found in findings.words.items():
        label = findings.outcomes[name][0].row.label
        low, high = found.interval
        rows.append([
            label, f"{found.in_family:.3f} [{low:.3f}, {high:.3f}]", f"{found.chance:.3f}",
            f"{found.n:,}",
        ])  # fmt: skip
        for emotion, counts in found.by_class.items():
            shown = ", ".join(f"{word} {share:.0%}" for word, share in counts)
            words.append([f"{label}: {emotion}", shown])
    return (
        "The nearest of all emotion words, whether it is of the family of the true emotion (anger: "
        "angry, mad, furious, ...):\n\n"
        f"{markdown_table(('', 'in the family [95 %]', 'chance', 'n'), rows)}\n\n"
        f"{markdown_table(('faces of', 'their nearest words'), words)}"
    )


def _compounds(findings: Findings) -> str:
    header = (
        "trained on drawn faces",
        "both parts are the top 2",
        "nearest compound",
        "top 1 is a part",
    )
    table = [
        [label, *(f"{share:.3f}" for share in (found.both, found.nearest, found.either))]
        for label, found in findings.compounds.items()
    ]
    first = next(iter(findings.compounds.values()))
    table.append(["chance", *(f"{chance:.3f}" for chance in first.chances)])
    return (
        f"Compound expressions, {first.n:,} drawn faces of twelve compounds, people of the test "
        "split; the networks were trained on single emotions and were told of no compound:\n\n"
        f"{markdown_table(header, table)}"
    )


def _records(findings: Findings) -> list[dict[str, object]]:
    records: list[dict[str, object]] = []
    for name, row in findings.outcomes.items():
        accuracy, low, high = accuracy_interval(row)
        cost, words = findings.mistakes[name], findings.words.get(name)
        cosine = float(findings.cosines[name].mean()) if name in findings.cosines else ""
        records.append({
            "row": name, "seeds": " ".join(str(each.training["seed"]) for each in row),
            "n": row[0].figures["n"], "accuracy": accuracy, "low": low, "high": high,
            "balanced_accuracy": mean(row, "balanced_accuracy"), "semantic_error": cost.error,
            "cost_of_a_mistake": cost.of_mistakes, "cost_at_random": cost.at_random,
            "cosine_with_true": cosine, "in_family": words.in_family if words else "",
            "in_family_chance": words.chance if words else "", "command": row[0].command,
        })  # fmt: skip
    return records


def _draw(folder: Path, findings: Findings, subject: str) -> None:
    labels = {name: row[0].row.label for name, row in findings.outcomes.items()}
    shown = {labels[name]: accuracy_interval(row) for name, row in findings.outcomes.items()}
    ends = [end for _, *both in shown.values() for end in both]
    plot_intervals(
        {"95 % interval": shown}, folder / "word2vec.png", title="Faces as words", note=subject,
        limits=plot_limits(ends),
    )  # fmt: skip
    costs = {labels[name]: cost for name, cost in findings.mistakes.items()}
    plot_bars(
        {
            "over all faces": {label: cost.error for label, cost in costs.items()},
            "of a mistake": {
                label: cost.of_mistakes for label, cost in costs.items()
                if np.isfinite(cost.of_mistakes)
            },
        },
        folder / "word2vec_mistakes.png", note=subject,
        title="Cosine distance of predicted and true word: less is better",
    )  # fmt: skip
    plot_cosines(
        {kind.replace("_", " "): table @ table.T for kind, table in findings.tables.items()},
        findings.class_names, folder / "word2vec_cosines.png", title="Cosines of the class vectors",
    )  # fmt: skip
    failed = {
        labels[name]: values for name, values in findings.cosines.items()
        if name in ("cosine word", "absolute_cosine word")
    }  # fmt: skip
    plot_histograms(
        failed, folder / "word2vec_failure.png", title="Where the absolute value leads",
        note=f"cosine of a face with its true word; {subject}",
    )  # fmt: skip
    if findings.compounds:
        chances = next(iter(findings.compounds.values())).chances
        names = ("both parts are the top 2", "nearest compound", "top 1 is a part")
        panels = {}
        for place, title in enumerate(names):
            values = {
                label: (found.both, found.nearest, found.either)[place]
                for label, found in findings.compounds.items()
            }
            panels[title] = {**values, "chance": chances[place]}
        plot_bars(
            panels, folder / "word2vec_compounds.png",
            title="Drawn faces of two emotions, networks trained on one",
        )  # fmt: skip
