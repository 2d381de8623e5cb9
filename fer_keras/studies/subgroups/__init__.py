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
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError, DataError, did_you_mean
from fer_keras.common.files import write_text
from fer_keras.common.opencv import cv2
from fer_keras.reporting.tables import read_csv, write_csv
from fer_keras.studies.shared.models import (
    add_model_arguments,
    describe,
    load_data,
    load_models,
    run_of,
)
from fer_keras.studies.shared.output import output_folder, track
from fer_keras.studies.subgroups.gaps import compare_groups, published_gap
from fer_keras.studies.subgroups.report import draw, figures_of, report, rows_of

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

PROXIES = ("brightness", "contrast", "sharpness")
MAX_GROUPS = 12

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
        draw(folder, results[-1], about["studied_on"])
    rows = [row for result in results for row in rows_of(result)]
    text = report(about, results)
    record = {**about, "published": published_gap(), "results": results}
    write_text(folder / "subgroups.md", text + "\n")
    write_csv(folder / "subgroups.csv", rows)
    write_text(folder / "subgroups.json", json.dumps(record, indent=2) + "\n")
    lines = [text, ""]
    for model, result in zip(models, results, strict=True):
        files = sorted(folder.iterdir())
        steps = {0: figures_of(result)}
        if not arguments.no_mlflow and track(model, "subgroups", steps, files, about["studied_on"]):
            lines.append(f"added to MLflow run {run_of(model)}: {model.name}")
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
        rows = read_csv(path)
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
