"""The tables and pictures of the subgroups study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_keras.reporting.plots import plot_confusion_matrix, plot_intervals
from fer_keras.reporting.tables import file_stem, markdown_table
from fer_keras.studies.subgroups.gaps import published_gap


def report(about: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    """All of it as Markdown.

    Args:
        about: What was studied on what, of `base.describe`.
        results: Of `compare_groups`, of all models.

    Returns:
        Text without a last newline.
    """
    lines = [
        "# Subgroups",
        "",
        f"{about['studied_on']}, commit {about['git_commit']}. Intervals are 95 %; gaps are in "
        "points of accuracy; p by permutation, within classes where so said, after Holm's "
        "correction over the gaps of a model.",
    ]
    for result in results:
        for attribute, found in result["attributes"].items():
            lines += ["", f"## {result['model']}: {attribute}", ""]
            table = [
                [
                    group,
                    f"{row['n']:,}",
                    _with_interval(row["accuracy"], row["accuracy_interval"]),
                    f"{row['balanced_accuracy']:.4f}",
                ]
                for group, row in found["groups"].items()
            ]
            header = ["Group", "n", "Accuracy", "Balanced accuracy"]
            lines += [markdown_table(header, table), ""]
            if not found["gaps"]:
                lines.append("No group is large enough to be compared.")
                continue
            lines.append(_gap_table(found["gaps"]))
            recalls = [
                f"{class_name}, {gap['group']}: {_points(recall['gap'])} points "
                f"(p {recall['p_holm']:.3f})"
                for gap in found["gaps"]
                for class_name, recall in gap["recalls"].items()
                if recall["p_holm"] < 0.05
            ]
            tested = sum(len(gap["recalls"]) for gap in found["gaps"])
            of_classes = "; ".join(recalls) or "none"
            lines += ["", f"Significant gaps of the {tested} recalls compared: {of_classes}."]
    published = published_gap()
    low, high = published["gap_interval"]
    lines += [
        "",
        "## Published: DDAMFN, FER2013Plus test, kids and adults",
        "",
        f"{published['n']} and {published['n_others']:,} pictures, gap {_points(published['gap'])} "
        f"points [{_points(low)}, {_points(high)}], p {published['p']:.3f}: not significant.",
    ]
    return "\n".join(lines)


def _gap_table(gaps: Sequence[Mapping[str, Any]]) -> str:
    table = []
    for gap in gaps:
        low, high = gap["gap_interval"]
        table.append(
            [
                f"{gap['group']} against {gap['others']}",
                f"{_points(gap['gap'])} [{_points(low)}, {_points(high)}]",
                f"{gap['p_holm']:.4f}",
                f"{gap['p_within_classes_holm']:.4f}",
                "yes" if gap["p_within_classes_holm"] < 0.05 else "no",
            ]
        )
    return markdown_table(
        ["Gap", "Points", "p", "p within classes", "Significant within classes"], table
    )


def _points(share: float) -> str:
    return f"{100 * share:+.2f}"


def _with_interval(value: float, interval: Sequence[float]) -> str:
    return f"{value:.4f} [{interval[0]:.4f}, {interval[1]:.4f}]"


def rows_of(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the csv file.

    Args:
        result: Of `compare_groups`.

    Returns:
        A row for each attribute, group and class; class `all` is the accuracy.
    """
    rows = []
    for attribute, found in result["attributes"].items():
        gaps = {gap["group"]: gap for gap in found["gaps"]}
        for group, figures in found["groups"].items():
            of_all = {"all": (figures, gaps.get(group, {}))}
            of_classes = {
                name: (recall, gaps.get(group, {}).get("recalls", {}).get(name, {}))
                for name, recall in figures["recalls"].items()
            }
            for class_name, (measured, gap) in {**of_all, **of_classes}.items():
                low, high = measured["accuracy_interval"]
                rows.append(
                    {
                        "model": result["model"], "attribute": attribute, "group": group,
                        "class": class_name, "n": measured["n"], "accuracy": measured["accuracy"],
                        "accuracy_low": low, "accuracy_high": high, "gap": gap.get("gap"),
                        "p": gap.get("p"), "p_holm": gap.get("p_holm"),
                        "p_within_classes_holm": gap.get("p_within_classes_holm"),
                    }
                )  # fmt: skip
    return rows


def figures_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The figures for MLflow.

    Args:
        result: Of `compare_groups`.

    Returns:
        Accuracy of each group, and the gap of each attribute with its p-value.
    """
    figures: dict[str, float] = {}
    for attribute, found in result["attributes"].items():
        for group, row in found["groups"].items():
            figures[f"{file_stem(attribute)}_{file_stem(group)}"] = row["accuracy"]
        if found["gaps"]:
            widest = max(found["gaps"], key=lambda gap: abs(gap["gap"]))
            figures[f"{file_stem(attribute)}_gap"] = widest["gap"]
            figures[f"{file_stem(attribute)}_gap_p"] = widest["p_within_classes_holm"]
    return figures


def draw(folder: Path, result: Mapping[str, Any], studied_on: str) -> None:
    """Draws accuracy and recalls of the groups, and the confusion matrix of each.

    Args:
        folder: Where the pictures go.
        result: Of `compare_groups`.
        studied_on: For the titles.
    """
    stem = file_stem(result["model"])
    for attribute, found in result["attributes"].items():
        plot_intervals(
            {
                group: {
                    "accuracy": (row["accuracy"], *row["accuracy_interval"]),
                    **{
                        name: (recall["accuracy"], *recall["accuracy_interval"])
                        for name, recall in row["recalls"].items()
                        if recall["n"]
                    },
                }
                for group, row in found["groups"].items()
            },
            folder / f"{stem}_{file_stem(attribute)}.png",
            title=f"{result['model']} by {attribute}",
            note=f"95 % Wilson intervals; {studied_on}",
        )
        for group, row in found["groups"].items():
            plot_confusion_matrix(
                row["confusion_matrix"],
                list(row["recalls"]),
                folder / f"{stem}_{file_stem(attribute)}_{file_stem(group)}.png",
                title=f"{attribute} {group}: {row['accuracy']:.1%} of {row['n']:,}",
            )
