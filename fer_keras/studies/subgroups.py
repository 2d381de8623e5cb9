"""Whether a model is as good for one group of people, or of pictures, as for another.

Groups come from what the data set knows of a picture (--attribute age_group), from a table of yours
(--csv FILE with a column `source` or `sha256`; all its other columns, or those of --attribute), or
from the pixels: `brightness`, `contrast` and `sharpness`, which need no annotation. An attribute of
numbers is cut into --bins groups of equal size. Each group is compared with all other pictures by a
permutation test of the gap, as it is and within each class (groups show the emotions in different
shares), Holm's correction over all tests of a model.

examples:
  python -m fer_keras.study subgroups runs/NAME --dataset synthetic_faces --attribute age_group
  python -m fer_keras.study subgroups runs/NAME --attribute brightness --attribute sharpness
  python -m fer_keras.study subgroups runs/NAME/export --precision int8 --csv people.csv

files:
  subgroups.md, .csv, .json   accuracy with its 95 % Wilson interval, recalls, gaps and tests
  MODEL_ATTRIBUTE.png         accuracy and recalls of the groups, with intervals
  MODEL_ATTRIBUTE_GROUP.png   confusion matrix of a group

The results also go to the MLflow run that a model came from. A gap that is not significant is not
proof of fairness: see how wide its interval is.
"""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.errors import ConfigError, DataError, did_you_mean
from fer_keras.files import write_text
from fer_keras.opencv import cv2
from fer_keras.studies.base import (
    add_model_arguments,
    describe,
    load_data,
    load_models,
)
from fer_keras.studies.results import file_stem, markdown_table, output_folder, track, write_csv

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

PROXIES = ("brightness", "contrast", "sharpness")
# Kids and adults by DDAMFN on the test split of FER2013Plus, as its study states them: n, right
# answers. Of 3,586 pictures 19 are in neither group.
PUBLISHED = {"kids": (620, 499), "adults": (2947, 2439)}
MAX_GROUPS = 12
_DRAWS = 20_000
_SEED = 0

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    add_model_arguments(parser)
    parser.add_argument(
        "--attribute", action="append", default=[], metavar="NAME",
        help="what makes the groups; may be given several times (default: brightness, sharpness, "
        "and age_group where it is known)",
    )  # fmt: skip
    parser.add_argument("--csv", type=Path, metavar="FILE", help="table of further attributes")
    parser.add_argument(
        "--bins", type=int, default=3, metavar="N", help="groups of an attribute of numbers (3)"
    )
    parser.add_argument(
        "--min-group", type=int, default=20, metavar="N",
        help="pictures that a group needs to be compared (20)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        The tables, as Markdown.

    Raises:
        FerKerasError: A model, the data or the table cannot be used.
    """
    if arguments.bins < 2 or arguments.min_group < 2:
        raise ConfigError(
            "Expected --bins and --min-group of at least 2. Received: "
            f"{arguments.bins} and {arguments.min_group}."
        )
    models = load_models(arguments)
    samples = load_data(arguments, models, max(model.image_shape[0] for model in models))
    table = read_attributes(arguments.csv, samples) if arguments.csv else {}
    names = arguments.attribute or list(table) or _default_attributes(samples)
    groups = {
        name: group_of(attribute_values(name, samples, table), arguments.bins) for name in names
    }
    folder = output_folder(arguments, "subgroups")
    about = describe(models, samples, arguments)
    results = []
    for model in models:
        predicted = model.probabilities(samples.images, samples.class_names).argmax(axis=1)
        results.append(compare_groups(model.name, predicted, samples, groups, arguments.min_group))
        _draw(folder, results[-1], about["studied_on"])
    rows = [row for result in results for row in _flat(result)]
    text = report(about, results)
    record = {**about, "published": _published(), "results": results}
    write_text(folder / "subgroups.md", text + "\n")
    write_csv(folder / "subgroups.csv", rows)
    write_text(folder / "subgroups.json", json.dumps(record, indent=2) + "\n")
    lines = [text, ""]
    for model, result in zip(models, results, strict=True):
        files = sorted(folder.iterdir())
        steps = {0: _figures(result)}
        if not arguments.no_mlflow and track(model, "subgroups", steps, files, about["studied_on"]):
            lines.append(f"added to MLflow run {model.mlflow_run_id}: {model.name}")
    return "\n".join([*lines, f"written to {folder}"])


# ---- attributes and groups


def read_attributes(path: Path, samples: "Samples") -> dict[str, npt.NDArray[np.str_]]:
    """Reads a table of attributes and joins it to the pictures by name or by pixels.

    Args:
        path: A csv file with a header; a column `source` (as in `predictions_SPLIT.csv`) or
            `sha256` says which picture a row is about.
        samples: The pictures.

    Returns:
        Every other column -> `(n,)` text, empty where the table has no row for the picture.

    Raises:
        DataError: The file cannot be read, has no such column or no row for any picture.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The table of attributes cannot be read ({error}): {path}") from error
    columns = [name for name in (rows[0] if rows else {}) if name]
    key = next((name for name in ("sha256", "source") if name in columns), None)
    if key is None or len(columns) < 2:
        raise DataError(
            "Expected a table with a column 'source' or 'sha256' and at least one attribute. "
            f"Received: {', '.join(columns) or 'no rows'}: {path}"
        )
    by_key = {row[key]: row for row in rows}
    found = [by_key.get(value) for value in samples.facts[key].tolist()]
    if not any(found):
        raise DataError(
            f"No row of the table is about a picture of {samples.name} {samples.split}. Expected "
            f"{key} like {samples.facts[key][0]!r}. Received: {rows[0][key]!r}: {path}"
        )
    return {
        name: np.array([(row or {}).get(name) or "" for row in found])
        for name in columns
        if name not in ("sha256", "source")
    }


def attribute_values(
    name: str, samples: "Samples", table: Mapping[str, npt.NDArray[np.str_]]
) -> npt.NDArray[Any]:
    """The values of one attribute.

    Args:
        name: A column of the table, a fact of the data set, or one of `PROXIES`.
        samples: The pictures.
        table: Of `read_attributes`.

    Returns:
        `(n,)` texts or numbers.

    Raises:
        ConfigError: Nobody knows the attribute.
    """
    if name in table:
        return table[name]
    if name in PROXIES:
        return proxy(name, samples.images)
    known = [key for key, values in samples.facts.items() if values.ndim == 1]
    known = [key for key in known if key not in ("source", "sha256")]
    if name not in known:
        known = [*table, *known, *PROXIES]
        raise ConfigError(
            f"Unknown attribute {name!r} of {samples.name}. {did_you_mean(name, known)}"
        )
    return samples.facts[name]


def proxy(name: str, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """A property of pictures that stands in for an annotation.

    Args:
        name: `brightness`, mean grey level; `contrast`, its standard deviation; `sharpness`, the
            variance of the Laplacian relative to that of the grey levels, so that contrast alone
            does not make a picture sharp.
        images: `(n, height, width, 1 or 3)` uint8.

    Returns:
        `(n,)`.
    """
    values = np.empty(len(images))
    for i, image in enumerate(images):
        grey = image.mean(axis=2)
        if name == "brightness":
            values[i] = grey.mean()
        elif name == "contrast":
            values[i] = grey.std()
        else:
            values[i] = cv2.Laplacian(grey, cv2.CV_64F).var() / max(grey.var(), 1.0)
    return values


def group_of(values: npt.NDArray[Any], bins: int) -> dict[str, Bools]:
    """Divides pictures by an attribute.

    Args:
        values: `(n,)` texts, of which empty ones are in no group, or numbers.
        bins: Groups of equal size that more than `bins` different numbers are cut into.

    Returns:
        Name of the group -> `(n,)` who is in it. Numbers are named by their range.

    Raises:
        DataError: More groups than can be read, or only one.
    """
    numbers = _as_numbers(values)
    if numbers is not None and len(np.unique(numbers[np.isfinite(numbers)])) > bins:
        known = np.isfinite(numbers)
        edges = np.quantile(numbers[known], np.linspace(0, 1, bins + 1)[1:-1])
        place = np.searchsorted(edges, numbers, side="right")
        groups = {}
        for k in range(bins):
            inside = known & (place == k)
            if inside.any():
                low, high = numbers[inside].min(), numbers[inside].max()
                groups[f"{k + 1}/{bins}: {low:.3g} to {high:.3g}"] = inside
    else:
        texts = values.astype(str)
        groups = {str(name): texts == name for name in np.unique(texts) if name}
    if not 2 <= len(groups) <= MAX_GROUPS:
        raise DataError(
            f"Expected an attribute with 2 to {MAX_GROUPS} groups. Received: {len(groups)}, "
            f"{', '.join(list(groups)[:4])}."
        )
    return groups


def _as_numbers(values: npt.NDArray[Any]) -> npt.NDArray[np.float64] | None:
    try:
        return np.array([float(value) if str(value) else np.nan for value in values.tolist()])
    except ValueError:
        return None


def _default_attributes(samples: "Samples") -> list[str]:
    known = samples.facts.get("age_group")
    has_age = known is not None and len(set(known.tolist()) - {""}) > 1
    return [*(["age_group"] if has_age else []), "brightness", "sharpness"]


# ---- figures and tests


def compare_groups(
    name: str,
    predicted: Ints,
    samples: "Samples",
    groups: Mapping[str, Mapping[str, Bools]],
    min_group: int,
) -> dict[str, Any]:
    """Everything about one model.

    Args:
        name: Of the model.
        predicted: `(n,)` its answers, indices of the data set's classes.
        samples: The pictures.
        groups: Attribute -> group -> who is in it.
        min_group: Smaller groups are not compared.

    Returns:
        A dict that `json.dumps` takes: `model` and `attributes`, attribute -> `groups` (accuracy,
        balanced accuracy, recalls, confusion matrix) and `gaps` (each group against the others).
        Of two groups only the first is compared. `p_holm` of gaps and of those within classes is
        corrected over all attributes, that of the recalls over all classes too.
    """
    from fer_keras.metrics import accuracy_report

    labels, right = samples.labels, predicted == samples.labels
    everybody = np.zeros(len(labels), np.int64)
    attributes: dict[str, Any] = {}
    for attribute, members in groups.items():
        of_groups = {}
        gaps = []
        known = np.any(list(members.values()), axis=0)
        for group, inside in members.items():
            recalls = {
                class_name: accuracy_report(right[inside & (labels == label)])
                for label, class_name in enumerate(samples.class_names)
            }
            present = [r["accuracy"] for r in recalls.values() if r["n"]]
            of_groups[group] = {
                **accuracy_report(right[inside]),
                "balanced_accuracy": float(np.mean(present)),
                "recalls": recalls,
                "confusion_matrix": _confusion(
                    labels[inside], predicted[inside], len(samples.class_names)
                ),
            }
        for group, inside in list(members.items())[: 1 if len(members) == 2 else None]:
            others = known & ~inside
            if min(inside.sum(), others.sum()) < min_group:
                continue
            gap = _gap(right, inside, others)
            gap |= {"group": group, "others": _others(group, members)}
            gap["p"] = permutation_p(right[known], inside[known], everybody[known])
            gap["p_within_classes"] = permutation_p(right[known], inside[known], labels[known])
            gap["recalls"] = {}
            for label, class_name in enumerate(samples.class_names):
                own = labels == label
                if min((inside & own).sum(), (others & own).sum()) >= min_group:
                    of_class = known & own
                    p = permutation_p(right[of_class], inside[of_class], everybody[of_class])
                    gap["recalls"][class_name] = {**_gap(right, inside & own, others & own), "p": p}
            gaps.append(gap)
        attributes[attribute] = {"groups": of_groups, "gaps": gaps}
    all_gaps = [gap for attribute in attributes.values() for gap in attribute["gaps"]]
    for key in ("p", "p_within_classes"):
        _correct(all_gaps, key)
    _correct([recall for gap in all_gaps for recall in gap["recalls"].values()], "p")
    return {"model": name, "n": len(labels), "attributes": attributes}


def permutation_p(right: Bools, inside: Bools, strata: Ints, seed: int = _SEED) -> float:
    """How often chance alone makes a gap at least as large: a two-sided permutation test.

    Which pictures are in the group is drawn again within each stratum. The number of right answers
    in it is then hypergeometric, so that only numbers have to be drawn. With one stratum this is
    Fisher's exact test on the difference; with the classes as strata it is the exact form of the
    Cochran-Mantel-Haenszel test: groups that only show other emotions have no gap.

    Args:
        right: `(n,)`, whether the answer is right.
        inside: `(n,)`, who is in the group.
        strata: `(n,)`, within which the group is drawn again.
        seed: Of the draws.

    Returns:
        The share of the draws, and of what was seen, that is at least as far from expectation.
    """
    rng = np.random.default_rng(seed)
    seen = 0.0
    drawn = np.zeros(_DRAWS)
    for stratum in np.unique(strata):
        here = strata == stratum
        n, size, hits = int(here.sum()), int(inside[here].sum()), int(right[here].sum())
        expected = size * hits / n
        seen += int(right[here & inside].sum()) - expected
        drawn += rng.hypergeometric(hits, n - hits, size, _DRAWS) - expected
    # A hair less than what was seen, so that equal numbers count in spite of rounding.
    return float((1 + (np.abs(drawn) >= abs(seen) - 1e-9).sum()) / (1 + _DRAWS))


def difference_interval(hits: int, n: int, other_hits: int, other_n: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two proportions (Newcombe 1998, method 10).

    Args:
        hits: Right answers of the first.
        n: Its pictures, at least 1.
        other_hits: Right answers of the second.
        other_n: Its pictures, at least 1.

    Returns:
        Lower and upper bound of first less second, from the two Wilson intervals.
    """
    from fer_keras.metrics import wilson_interval

    first, second = hits / n, other_hits / other_n
    low, high = wilson_interval(hits, n)
    other_low, other_high = wilson_interval(other_hits, other_n)
    return (
        first - second - float(np.hypot(first - low, other_high - second)),
        first - second + float(np.hypot(high - first, second - other_low)),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _correct(tests: Sequence[dict[str, Any]], key: str) -> None:
    for test, corrected in zip(tests, holm([test[key] for test in tests]), strict=True):
        test[f"{key}_holm"] = corrected


def _gap(right: Bools, inside: Bools, others: Bools) -> dict[str, Any]:
    hits, n = int(right[inside].sum()), int(inside.sum())
    other_hits, other_n = int(right[others].sum()), int(others.sum())
    return {
        "n": n,
        "n_others": other_n,
        "gap": hits / n - other_hits / other_n,
        "gap_interval": list(difference_interval(hits, n, other_hits, other_n)),
    }


def _others(group: str, members: Mapping[str, Bools]) -> str:
    rest = [name for name in members if name != group]
    return rest[0] if len(rest) == 1 else "all others"


def _confusion(labels: Ints, predicted: Ints, num_classes: int) -> list[list[int]]:
    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).tolist()


def _published() -> dict[str, Any]:
    """The published gap, and the test that it was not given."""
    (kids_n, kids), (adults_n, adults) = PUBLISHED.values()
    right = np.repeat([True, False, True, False], [kids, kids_n - kids, adults, adults_n - adults])
    inside = np.arange(len(right)) < kids_n
    gap = _gap(right, inside, ~inside)
    return {**gap, "p": permutation_p(right, inside, np.zeros(len(right), np.int64))}


# ---- tables and pictures


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
    published = _published()
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


def _flat(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each attribute, group and class; class `all` is the accuracy."""
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


def _figures(result: Mapping[str, Any]) -> dict[str, float]:
    """For MLflow: accuracy of each group, and the gap of each attribute with its p-value."""
    figures: dict[str, float] = {}
    for attribute, found in result["attributes"].items():
        for group, row in found["groups"].items():
            figures[f"{file_stem(attribute)}_{file_stem(group)}"] = row["accuracy"]
        if found["gaps"]:
            widest = max(found["gaps"], key=lambda gap: abs(gap["gap"]))
            figures[f"{file_stem(attribute)}_gap"] = widest["gap"]
            figures[f"{file_stem(attribute)}_gap_p"] = widest["p_within_classes_holm"]
    return figures


def _draw(folder: Path, result: Mapping[str, Any], studied_on: str) -> None:
    from fer_keras.plots import plot_confusion_matrix, plot_intervals

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
