"""Where a network finds its answer, and whether it needs those places.

Every map that a network allows (fer_keras.studies.shared.maps): CAM, Grad-CAM and Eigen-CAM at its
feature
map, for ddamfn after MFN and after DDAN, and the map of each attention head. Explained is the
answer that the network gives. Then the quarter of the picture where a map is highest is hidden in
its mean grey. A map that shows what the network needs costs more accuracy than the quarter
from another picture's map, and that more than the quarter where the map is lowest.

examples:
  python -m fer_keras.study heatmaps runs/NAME
  python -m fer_keras.study heatmaps runs/NAME --limit 500 --sheet
  python -m fer_keras.study heatmaps runs/NAME/best.keras --dataset ferplus --label-rule majority

files:
  heatmaps.md, .csv, .json   accuracy with each quarter hidden, share of a map on eyes and mouth
  NAME_mean.png              the mean map of each class
  NAME_drawn.png             maps over drawn faces; --sheet adds pictures of the data set

The results also go to the MLflow run that a model came from. Exports have no maps.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.decode import resize
from fer_keras.common.errors import ConfigError
from fer_keras.common.files import write_text
from fer_keras.common.labels import EMOTIONS
from fer_keras.common.metrics import accuracy_report, balanced_accuracy
from fer_keras.data.datasets.synthetic_faces import generate
from fer_keras.data.samples import Samples, one_hot
from fer_keras.loading.classifier import LoadedModel
from fer_keras.loading.keras_files import load_network
from fer_keras.reporting.plots import plot_pictures
from fer_keras.reporting.tables import file_stem, markdown_table, write_csv
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
    from fer_keras.studies.shared.maps import Explainer

HIDDEN_SHARE = 0.25
# Rows of 48 in which aligned faces have their eyes and their mouth, as `study robustness` hides.
EYES, MOUTH = (12, 24), (32, 48)
_BLOCK = 256
_SHOWN_PX = 112
# Seed of the drawn faces of the sheet: people who show what they are asked for.
_DRAWN_FACES = 881

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    add_model_arguments(parser)
    parser.add_argument(
        "--sheet", action="store_true",
        help="also show pictures of the data set, which may not be passed on",
    )  # fmt: skip
    parser.add_argument(
        "--per-class", type=int, default=2, metavar="N", help="pictures of each class shown (2)"
    )


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        A table for each model, as Markdown.

    Raises:
        FerKerasError: A model has no maps, or the data cannot be used.
    """
    from fer_keras.studies.shared.maps import Explainer

    if arguments.per_class < 1:
        raise ConfigError(f"--per-class: expected at least 1. Received: {arguments.per_class}.")
    models = load_models(arguments)
    files = {model.name: _network_file(model) for model in models}
    shapes = {model.image_shape for model in models}
    if len(shapes) > 1:
        raise ConfigError(
            f"Expected models of one picture size. Received: {sorted(shapes)}. Study them apart."
        )
    samples = load_data(arguments, models, models[0].image_shape[0])
    folder = output_folder(arguments, "heatmaps")
    about = describe(models, samples, arguments)
    rows: list[dict[str, Any]] = []
    for model in models:
        explainer = Explainer(load_network(files[model.name])[0])
        found = measure(model, explainer, samples)
        rows += found["rows"]
        stem = file_stem(model.name)
        _draw_means(folder / f"{stem}_mean.png", model, found["means"], about["studied_on"])
        _draw_faces(folder / f"{stem}_drawn.png", model, explainer, _drawn(model, arguments))
        if arguments.sheet:
            chosen = samples.take(_spread(samples, arguments.per_class))
            _draw_faces(folder / f"{stem}_{samples.name}.png", model, explainer, chosen)
    text = report(about, rows)
    write_text(folder / "heatmaps.md", text + "\n")
    write_csv(folder / "heatmaps.csv", rows)
    write_text(folder / "heatmaps.json", json.dumps({**about, "rows": rows}, indent=2) + "\n")
    lines = [text, ""]
    for model in models:
        steps = {0: _figures([row for row in rows if row["model"] == model.name])}
        written = sorted(folder.iterdir())
        if not arguments.no_mlflow and track(
            model, "heatmaps", steps, written, about["studied_on"]
        ):
            lines.append(f"added to MLflow run {run_of(model)}: {model.name}")
    return "\n".join([*lines, f"written to {folder}"])


def _network_file(model: LoadedModel) -> Path:
    if model.is_peer or model.path.suffix == ".tflite":
        raise ConfigError(
            "Expected a run folder or a .keras file: a .tflite file gives no feature maps. "
            f"Received: {model.path}"
        )
    return model.path / "best.keras" if model.path.is_dir() else model.path


def measure(model: LoadedModel, explainer: "Explainer", samples: "Samples") -> dict[str, Any]:
    """Makes the maps of all pictures, and lets the model answer with parts of them hidden.

    Args:
        model: What is asked.
        explainer: Of the same network.
        samples: Square pictures of the model's size.

    Returns:
        `rows`, a flat row for each map; `means`, map -> class -> `(h, w)`, the mean map of the
        pictures of that class.
    """
    from tqdm import tqdm

    right: dict[str, list[npt.NDArray[np.bool_]]] = {}
    shares: dict[str, list[npt.NDArray[np.float64]]] = {}
    sums: dict[str, list[npt.NDArray[np.float64]]] = {}
    clean = []
    bar = tqdm(total=len(samples), unit="face", desc=model.name, disable=not sys.stderr.isatty())
    with bar:
        for start in range(0, len(samples), _BLOCK):
            images = np.asarray(samples.images[start : start + _BLOCK])
            labels = samples.labels[start : start + _BLOCK]
            answers = model.predict(model.as_input(images)).argmax(axis=1)
            clean.append(_right(model, samples, images, labels))
            for name, maps in explainer.maps(images, answers).items():
                large = _large(maps, images)
                for what, mask in _quarters(large).items():
                    hidden = hide(images, mask)
                    key = f"{name}/{what}"
                    right.setdefault(key, []).append(_right(model, samples, hidden, labels))
                shares.setdefault(name, []).append(_band_shares(large))
                of_class = sums.setdefault(
                    name, [np.zeros(maps.shape[1:]) for _ in samples.class_names]
                )
                for label in np.unique(labels):
                    of_class[label] += maps[labels == label].sum(axis=0)
            bar.update(len(images))
    counts = np.bincount(samples.labels, minlength=len(samples.class_names))
    base = np.concatenate(clean)
    rows = []
    for name in sums:
        eyes, mouth = np.concatenate(shares[name]).mean(axis=0).tolist()
        row: dict[str, Any] = {"model": model.name, "map": name, "n": len(base)}
        row["accuracy"] = float(base.mean())
        row["balanced_accuracy"] = balanced_accuracy(base, samples.labels)
        for what in ("highest", "other", "lowest"):
            outcome = np.concatenate(right[f"{name}/{what}"])
            figures = accuracy_report(outcome)
            row[f"accuracy_{what}"] = figures["accuracy"]
            row[f"{what}_low"], row[f"{what}_high"] = figures["accuracy_interval"]
            row[f"balanced_{what}"] = balanced_accuracy(outcome, samples.labels)
        # Paired: the pictures are the same.
        difference = np.concatenate(right[f"{name}/other"]).astype(float) - np.concatenate(
            right[f"{name}/highest"]
        )
        row["needed"] = float(difference.mean())
        row["needed_margin"] = float(1.96 * difference.std() / len(difference) ** 0.5)
        rows.append({**row, "eyes": eyes, "mouth": mouth})
    means = {
        name: {
            class_name: of_class[label] / counts[label]
            for label, class_name in enumerate(samples.class_names)
            if counts[label]
        }
        for name, of_class in sums.items()
    }
    return {"rows": rows, "means": means}


def hide(images: Images, mask: npt.NDArray[np.bool_]) -> Images:
    """Pictures with some places in the mean of each picture.

    Args:
        images: `(n, height, width, channels)` uint8.
        mask: `(n, height, width)`, what is hidden.

    Returns:
        As `images`.
    """
    mean = np.rint(images.mean(axis=(1, 2), keepdims=True)).astype(np.uint8)
    return np.where(mask[..., np.newaxis], mean, images)


def _right(
    model: LoadedModel, samples: "Samples", images: Images, labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    return model.probabilities(images, samples.class_names).argmax(axis=1) == labels


def _large(maps: Floats, images: Images) -> Floats:
    from fer_keras.studies.shared.maps import enlarged

    return enlarged(maps, (images.shape[1], images.shape[2]))


def _quarters(maps: Floats) -> dict[str, npt.NDArray[np.bool_]]:
    """Masks of a quarter of each picture: where its map is highest, another's is, it is lowest."""
    n = len(maps)
    # Stable, so that ties of a flat map are broken in one way only.
    ranks = maps.reshape(n, -1).argsort(axis=1, kind="stable").argsort(axis=1).reshape(maps.shape)
    size = maps[0].size
    highest = ranks >= size - round(HIDDEN_SHARE * size)
    lowest = ranks < round(HIDDEN_SHARE * size)
    return {"highest": highest, "other": np.roll(highest, 1, axis=0), "lowest": lowest}


def _band_shares(maps: Floats) -> npt.NDArray[np.float64]:
    """`(n, 2)`: which share of each map lies on the rows of the eyes, of the mouth."""
    rows = maps.sum(axis=2, dtype=np.float64)
    total = np.maximum(rows.sum(axis=1), 1e-9)
    side = rows.shape[1]
    bands = [(round(a * side / 48), round(b * side / 48)) for a, b in (EYES, MOUTH)]
    return np.stack([rows[:, a:b].sum(axis=1) / total for a, b in bands], axis=1)


def report(about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """All of it as Markdown.

    Args:
        about: What was studied on what, of `base.describe`.
        rows: Of `measure`, of all models.

    Returns:
        Text without a last newline.
    """
    eyes, mouth = ((b - a) / 48 for a, b in (EYES, MOUTH))
    lines = [
        "# Heatmaps",
        "",
        f"{about['studied_on']}, commit {about['git_commit']}. Accuracy and balanced accuracy "
        f"where {HIDDEN_SHARE:.0%} of the picture are hidden: where its map is highest, where that "
        "of another picture is, where its own is lowest. Needed: what its highest quarter costs "
        "more accuracy than another picture's, ± half a 95 % interval. A flat map has "
        f"{eyes:.0%} on the rows of the eyes and {mouth:.0%} on those of the mouth.",
    ]
    header = ["Map", "Highest hidden", "Another's", "Lowest", "Needed", "On eyes", "On mouth"]
    for model in about["models"]:
        own = [row for row in rows if row["model"] == model["name"]]
        table = [
            [
                row["map"],
                *(
                    f"{row[f'accuracy_{what}']:.4f}, {row[f'balanced_{what}']:.4f}"
                    for what in ("highest", "other", "lowest")
                ),
                f"{row['needed']:+.4f} ± {row['needed_margin']:.4f}",
                f"{row['eyes']:.0%}",
                f"{row['mouth']:.0%}",
            ]
            for row in own
        ]
        accuracy = (
            f"With nothing hidden accuracy {own[0]['accuracy']:.4f}, balanced "
            f"{own[0]['balanced_accuracy']:.4f}."
        )
        lines += ["", f"## {model['name']}", "", accuracy, "", markdown_table(header, table)]
    return "\n".join(lines)


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """For MLflow: what each map is needed for, and the accuracy without its highest quarter."""
    figures: dict[str, float] = {}
    for row in rows:
        key = file_stem(row["map"])
        figures[f"{key}_needed"] = row["needed"]
        figures[f"{key}_accuracy_highest"] = row["accuracy_highest"]
    return figures


def _spread(samples: "Samples", per_class: int) -> npt.NDArray[np.int64]:
    """Rows of some pictures of each class, evenly over the split."""
    chosen = []
    for label in range(len(samples.class_names)):
        rows = np.flatnonzero(samples.labels == label)
        places = np.linspace(0, len(rows) - 1, min(per_class, len(rows))).astype(np.int64)
        chosen += rows[places].tolist()
    return np.array(chosen, np.int64)


def _drawn(model: LoadedModel, arguments: argparse.Namespace) -> "Samples":
    """Drawn faces of the model's size, some of each emotion, at full strength."""
    wanted: dict[str, list[Any]] = {emotion: [] for emotion in EMOTIONS}
    side, channels = model.image_shape[0], model.image_shape[2]
    for face in generate(200 * len(EMOTIONS), seed=_DRAWN_FACES, size=side, channels=channels):
        clear = face.intensity > 0.8 or face.emotion == "neutral"
        if clear and len(wanted[face.emotion]) < arguments.per_class:
            wanted[face.emotion].append(face)
        if min(len(faces) for faces in wanted.values()) == arguments.per_class:
            break
    faces = [face for of_emotion in wanted.values() for face in of_emotion]
    return Samples(
        "drawn faces",
        "validation",
        EMOTIONS,
        "hard",
        np.stack([face.image for face in faces]),
        one_hot(np.array([face.label for face in faces]), len(EMOTIONS)),
        {
            "sha256": np.array([face.sha256 for face in faces]),
            "source": np.array([face.source for face in faces]),
            "subject": np.array([face.subject for face in faces]),
        },
    )


def _draw_faces(path: Path, model: LoadedModel, explainer: "Explainer", samples: "Samples") -> None:
    """Draws a row for each picture: the picture, then each map over it."""
    from fer_keras.studies.shared.maps import enlarged, overlay

    images = np.asarray(samples.images)
    probabilities = model.predict(model.as_input(images))
    answers = probabilities.argmax(axis=1)
    found = explainer.maps(images, answers)
    size = (_SHOWN_PX, _SHOWN_PX)
    large = {name: enlarged(maps, size) for name, maps in found.items()}
    rows = []
    for i, image in enumerate(images):
        shown = resize(image, size)
        answer = f"{model.class_names[answers[i]]} {probabilities[i, answers[i]]:.0%}"
        pictures = [shown, *(overlay(shown, maps[i]) for maps in large.values())]
        rows.append((samples.class_names[samples.labels[i]], pictures, [answer, *large]))
    plot_pictures(rows, path, title=f"What speaks for the answer of {model.name}: {samples.name}")


def _draw_means(
    path: Path,
    model: LoadedModel,
    means: Mapping[str, Mapping[str, npt.NDArray[np.float64]]],
    studied_on: str,
) -> None:
    """Draws the mean map of each class; no picture can be seen in it."""
    from fer_keras.studies.shared.maps import enlarged, overlay

    classes = list(next(iter(means.values())))
    size = (_SHOWN_PX, _SHOWN_PX)
    blank = np.zeros((*size, 1), np.uint8)
    rows = []
    for class_name in classes:
        maps = np.stack([of_class[class_name] for of_class in means.values()])
        pictures = [overlay(blank, m, 1.0) for m in enlarged(maps.astype(np.float32), size)]
        rows.append((class_name, pictures, list(means)))
    plot_pictures(rows, path, title=f"Mean maps of {model.name}, {studied_on}")
