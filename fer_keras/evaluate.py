"""Evaluates a model by an honest protocol: `python -m fer_keras.evaluate RUN|MODEL`.

Labels are joined by name. The test split is read only when it is asked for. Every accuracy stands
with n, the label rule, its 95 % Wilson interval, and the accuracy without the images whose exact
pixels also occur in the training split.
"""

import argparse
import csv
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.errors import ConfigError, DataError, FerKerasError, run_command
from fer_keras.files import atomic_path, write_text
from fer_keras.labels import name_mapping

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples
    from fer_keras.loading import LoadedModel

_EXAMPLES = """examples:
  python -m fer_keras.evaluate runs/word2vec-seed0            the run's own validation split
  python -m fer_keras.evaluate runs/word2vec-seed0 --split test
  python -m fer_keras.evaluate runs/word2vec-seed0 --dataset ferplus --label-rule majority
  python -m fer_keras.evaluate runs/word2vec-seed0/export --precision int8
  python -m fer_keras.evaluate runs/fer2013_vgg19-seed0 --split test --ten-crop 48
  python -m fer_keras.evaluate best.keras --dataset fer2013 --source fer2013.csv --output results

Written to the run folder, or to a folder of its own beside any other model:
  result.json (result_test.json), predictions_SPLIT.csv, confusion_matrix_SPLIT.png,
  reliability_SPLIT.png
"""


def evaluate(
    model: "LoadedModel | str | Path",
    samples: "Samples",
    *,
    train_samples: "Samples | None" = None,
    output_dir: str | Path,
    overwrite: bool = False,
    ten_crop: bool = False,
) -> dict[str, Any]:
    """Evaluates a model on one split and writes the results.

    The figures are those of the network's plain softmax. Where a temperature is known, those of
    the calibrated probabilities stand beside them under `calibrated`: on the validation split of
    the model's own run it is fitted here and kept in `calibration.json`; on any other split the
    one that is kept there is used. A `.tflite` file has its temperature inside and is measured as
    it is.

    Args:
        model: Of `fer_keras.loading.load_model`, or what it takes.
        samples: What to evaluate on, of n images.
        train_samples: The training split; an image of `samples` with exactly the same pixels as
            one of these is flagged as a duplicate. None leaves duplicates unknown.
        output_dir: Receives `result.json` (`result_test.json` for the test split),
            `predictions_<split>.csv`, `confusion_matrix_<split>.png`, `reliability_<split>.png`.
        overwrite: Replace the results of another model, data set or label rule.
        ten_crop: The pictures of `samples` are at least as large as the model's; its logits are
            averaged over ten crops of each (`fer_keras.tta`), and no temperature is used.

    Returns:
        The content of the result file: the figures of `metrics.evaluate_predictions`, what was
        evaluated on what, and `calibrated`.

    Raises:
        DataError: A class of the data set is unknown to the model (both lists are named).
        ModelFileError: The model cannot be read, does not take these images, or gives no logits to
            average.
        ConfigError: The pictures are too small for ten crops, or `output_dir` holds results of
            something else.
    """
    from fer_keras.loading import LoadedModel, load_model
    from fer_keras.metrics import evaluate_predictions, reliability_bins, softmax
    from fer_keras.plots import plot_confusion_matrix, plot_reliability
    from fer_keras.tta import predict_logits

    loaded = model if isinstance(model, LoadedModel) else load_model(model)
    folder = Path(output_dir)
    split = samples.split
    result_path = folder / ("result.json" if split == "validation" else f"result_{split}.json")
    crops_from = samples.images.shape[1] if ten_crop else None
    earlier = _check_earlier(result_path, loaded, samples, crops_from, overwrite)
    mapping, left_out = _columns(loaded, samples)
    duplicates = _duplicates(samples, train_samples)

    logits: npt.NDArray[np.float32] | None = None
    if ten_crop:
        size = loaded.image_shape[0]
        logits = predict_logits(loaded.logits, samples.images, size)[:, mapping]
    elif loaded.has_logits:
        logits = loaded.logits(samples.images)[:, mapping]
    if logits is not None:
        probabilities = softmax(logits)
    else:
        probabilities = _renormalised(loaded.predict(samples.images)[:, mapping])
    figures = evaluate_predictions(
        probabilities, samples.targets, samples.class_names, duplicates=duplicates
    )
    figures |= {
        "dataset": samples.name,
        "split": split,
        "label_rule": samples.label_rule,
        "dataset_fingerprint": samples.fingerprint,
        "dataset_notes": list(samples.notes),
        "model": loaded.path.name,
        "model_kind": loaded.kind,
        "model_sha256": loaded.sha256,
        "model_classes_left_out": list(left_out),
        "ten_crop_from": crops_from,
        "calibrated": None,
    }
    if loaded.input_kind == "clip":
        figures |= frame_figures(loaded, samples, mapping)

    folder.mkdir(parents=True, exist_ok=True)
    note = f"ECE {figures['ece']:.3f}\nn = {figures['n']:,}"
    if logits is not None and not ten_crop:
        figures["calibrated"] = calibrated = _calibrated(loaded, logits, samples, left_out, folder)
        if calibrated:
            note += f"\nwith temperature {calibrated['temperature']:.2f}: {calibrated['ece']:.3f}"
    title = (
        f"{samples.name} {split} ({samples.label_rule}): {figures['accuracy']:.1%} of "
        f"{figures['n']:,}, balanced {figures['balanced_accuracy']:.1%}"
    )
    _write_predictions(folder / f"predictions_{split}.csv", samples, probabilities, duplicates)
    plot_confusion_matrix(
        figures["confusion_matrix"],
        samples.class_names,
        folder / f"confusion_matrix_{split}.png",
        title=title,
    )
    correct = probabilities.argmax(axis=1) == samples.labels
    plot_reliability(
        reliability_bins(probabilities.max(axis=1), correct),
        folder / f"reliability_{split}.png",
        title=title,
        note=note,
    )
    # What else the training wrote about the same model stays in the file.
    write_text(result_path, json.dumps({**earlier, **figures}, indent=2) + "\n")
    return figures


def frame_figures(
    model: "LoadedModel", samples: "Samples", mapping: Sequence[int]
) -> dict[str, Any]:
    """How often the frames' own scores name the class of their clip.

    Args:
        model: Of clips.
        samples: n clips.
        mapping: The model's column of every class of `samples`.

    Returns:
        `frame_accuracy`, the share of the `num_frames` real frames that do, and
        `accuracy_by_frame`, the share by the frame's place in the clip (None where all are
        padding): with a network that reads forwards, how soon it knows.
    """
    from fer_keras.data.clips import real_frames

    images: Any = samples.images
    block = 256  # Clips that are gathered at once.
    right, real = [], []
    for start in range(0, len(samples), block):
        clips = images[start : start + block]
        named = model.frame_scores(clips)[:, :, mapping].argmax(axis=2)
        right.append(named == samples.labels[start : start + block, np.newaxis])
        real.append(real_frames(clips))
    is_right, is_real = np.concatenate(right), np.concatenate(real)
    counts = is_real.sum(axis=0)
    hits = (is_right & is_real).sum(axis=0)
    return {
        "frame_accuracy": float(hits.sum() / counts.sum()),
        "num_frames": int(counts.sum()),
        "accuracy_by_frame": [
            float(hit / count) if count else None for hit, count in zip(hits, counts, strict=True)
        ],
    }


def report(figures: dict[str, Any]) -> str:
    """A compact text of the result of `evaluate`.

    Args:
        figures: The result.

    Returns:
        Some 20 lines.
    """
    low, high = figures["accuracy_interval"]
    crops_from = figures["ten_crop_from"]
    lines = [
        f"{figures['model']} on {figures['dataset']}, {figures['split']} split, label rule "
        f"{figures['label_rule']}, n {figures['n']:,}",
        *([f"ten crops of pictures of {crops_from} pixels, logits averaged"] if crops_from else []),
        f"accuracy            {figures['accuracy']:.4f}  [{low:.4f}, {high:.4f}] (95 % Wilson)",
    ]
    if "frame_accuracy" in figures:
        by_frame = " ".join(
            "-" if share is None else f"{share:.2f}" for share in figures["accuracy_by_frame"]
        )
        lines += [
            f"single frames       {figures['frame_accuracy']:.4f}  of {figures['num_frames']:,} "
            "frames name the class of their clip",
            f"  by place          {by_frame}",
        ]
    without = figures["without_duplicates"]
    if without is None:
        lines.append("without duplicates  unknown: the training split was not given")
    elif without["accuracy"] is None:
        lines.append("without duplicates  every image also occurs in the training split")
    else:
        low, high = without["accuracy_interval"]
        lines.append(
            f"without duplicates  {without['accuracy']:.4f}  [{low:.4f}, {high:.4f}] n "
            f"{without['n']:,} ({without['num_duplicates']} also occur in the training split)"
        )
    lines += [
        f"balanced accuracy   {figures['balanced_accuracy']:.4f}   macro F1 "
        f"{figures['macro_f1']:.4f}",
        f"NLL                 {figures['nll']:.4f}   ECE {figures['ece']:.4f} "
        f"({figures['ece_bins']} bins)   Brier {figures['brier']:.4f}",
    ]
    calibrated = figures["calibrated"]
    if calibrated:
        lines.append(
            f"  calibrated        {calibrated['nll']:.4f}   ECE {calibrated['ece']:.4f}"
            f"             Brier {calibrated['brier']:.4f}   (temperature "
            f"{calibrated['temperature']:.3f}, fitted on {calibrated['fitted_on']})"
        )
    lines.append("")
    width = max(len(name) for name in figures["class_names"])
    lines.append(f"{'class':<{width}}  images  recall  precision      F1")
    for name, row in figures["per_class"].items():
        recall, precision, f1 = (
            "     -" if row[key] is None else f"{row[key]:6.3f}"
            for key in ("recall", "precision", "f1")
        )
        lines.append(f"{name:<{width}}  {row['support']:>6}  {recall}     {precision}  {f1}")
    if figures["classes_without_images"]:
        lines.append(f"no images of: {', '.join(figures['classes_without_images'])}")
    if figures["model_classes_left_out"]:
        lines.append(
            f"the model also knows {', '.join(figures['model_classes_left_out'])}: left out, the "
            "rest renormalised"
        )
    lines += [f"note: {note}" for note in figures["dataset_notes"]]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.evaluate",
        description="Accuracy with its interval, per-class scores, calibration and predictions.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="run folder, .keras, .tflite or export folder")
    parser.add_argument("--dataset", help="default: that of the run or of the export's manifest")
    parser.add_argument(
        "--split", choices=("validation", "test"), default="validation", help="default: validation"
    )
    parser.add_argument("--label-rule", help="how votes become labels; default: that of the run")
    parser.add_argument("--source", type=Path, help="file or folder of the data set")
    parser.add_argument(
        "--neutral",
        choices=("auto", "same_subject", "random_neutral", "mean_neutral"),
        help="which neutral face a model of pairs gets; default: as in its training",
    )
    parser.add_argument(
        "--precision", help="float32 (default), float16, dynamic, int8: of an export"
    )
    parser.add_argument(
        "--ten-crop",
        type=int,
        metavar="SIDE",
        help="load the pictures in this size and average the logits over ten crops of the model's "
        "size; no .tflite",
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of a .tflite model")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the results go")
    parser.add_argument("--overwrite", action="store_true", help="replace results of another model")
    arguments = parser.parse_args(argv)

    # Before the first import of Keras and TensorFlow, which read these once.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from fer_keras.loading import load_model

    path: Path = arguments.model
    model = load_model(path, precision=arguments.precision or "float32", threads=arguments.threads)
    received = {"image": "single pictures", "pair": "pairs", "clip": "clips"}[model.input_kind]
    if model.input_kind != "image" and arguments.ten_crop is not None:
        raise ConfigError(
            f"--ten-crop: expected a model of single pictures. Received one of {received}."
        )
    if model.input_kind != "pair" and arguments.neutral:
        raise ConfigError(f"--neutral: expected a model of pairs. Received one of {received}.")
    if arguments.ten_crop is not None and arguments.ten_crop < max(model.image_shape[:2]):
        raise ConfigError(
            "--ten-crop: expected pictures of at least the model's size, "
            f"{max(model.image_shape[:2])} pixels. Received: {arguments.ten_crop}."
        )
    samples, train = _requested_samples(arguments, model)
    is_run = (path / "experiment.json").is_file()
    folder = arguments.output or _default_output(path, model, samples, is_run)
    if arguments.ten_crop and not arguments.output:
        folder = folder / f"ten_crop_{arguments.ten_crop}"
    figures = evaluate(
        model,
        samples,
        train_samples=train,
        output_dir=folder,
        overwrite=arguments.overwrite,
        ten_crop=bool(arguments.ten_crop),
    )
    print(report(figures))
    print(f"\nwritten to {folder}")
    return 0


def run_samples(
    run_dir: str | Path, split: str, image_size: int | None = None
) -> "tuple[Samples, Samples]":
    """The data of a run as it was trained: a held-out split, and the training split.

    Args:
        run_dir: A folder with `experiment.json`.
        split: `"validation"` or `"test"`.
        image_size: Side of the pictures in pixels in place of that of the training.

    Returns:
        The samples of the split, with the evaluation label rule of the experiment, and the
        training samples that the run saw or could have seen.

    Raises:
        ConfigError: `experiment.json` is missing or malformed.
        DataError: The data set or the split is missing.
    """
    from fer_keras.config import load_experiment
    from fer_keras.data.splits import load_splits, load_test

    experiment = load_experiment(str(Path(run_dir) / "experiment.json"))
    config = experiment.dataset
    if image_size:
        config = dataclasses.replace(config, image_size=image_size)
    # The validation split may have been cut from the training split.
    _, validation, whole = load_splits(config, experiment.seed)
    if split == "validation":
        return validation, whole
    return load_test(config, experiment.seed), whole


def _requested_samples(
    arguments: argparse.Namespace, model: "LoadedModel"
) -> "tuple[Samples, Samples | None]":
    from fer_keras.data import load_samples

    path: Path = arguments.model
    if (path / "experiment.json").is_file() and not (
        arguments.dataset or arguments.label_rule or arguments.source or arguments.neutral
    ):
        return run_samples(path, arguments.split, arguments.ten_crop)
    name, rule, source = arguments.dataset, arguments.label_rule, arguments.source
    if not name:
        name, rule, source = _known_dataset(path, model, rule, source)
    height, width, channels = model.image_shape
    common: dict[str, Any] = {
        "image_size": arguments.ten_crop or (height if height == width else (height, width)),
        "channels": channels,
        "source": source,
    }
    samples = load_samples(name, arguments.split, label_rule=rule, **common)
    try:
        train = load_samples(name, "train", **common)
    except DataError as error:
        # A data set may have only the split that is asked for; the report then says so.
        print(f"note: duplicates of training images are not counted: {error}")
        train = None
    if model.input_kind == "pair":
        policy = arguments.neutral or model.manifest.get("neutral", "auto")
        samples = _paired(samples, train, policy)
    if model.input_kind == "clip":
        from fer_keras.config import DatasetConfig
        from fer_keras.data.clips import with_clips

        config = DatasetConfig(name=name, clip_frames=model.num_pictures)
        samples = with_clips(samples, config)
        train = train and with_clips(train, config)
    return samples, train


def _paired(samples: "Samples", train: "Samples | None", policy: Any) -> "Samples":
    from fer_keras.config import DatasetConfig
    from fer_keras.data.pairs import with_neutral

    if train is None and policy != "same_subject":
        raise DataError(
            f"{samples.name}: neutral faces of train are needed, which is not there. "
            "Mend: --neutral same_subject"
        )
    config = DatasetConfig(name=samples.name, neutral=policy)
    return with_neutral(samples, samples if train is None else train, config)


def _known_dataset(
    path: Path, model: "LoadedModel", rule: str | None, source: Path | None
) -> tuple[str, str | None, Any]:
    if (path / "experiment.json").is_file():
        from fer_keras.config import load_experiment

        config = load_experiment(str(path / "experiment.json")).dataset
        return config.name, rule or config.eval_label_rule or None, source or config.source or None
    name = model.manifest.get("dataset")
    if not isinstance(name, str):
        raise ConfigError(f"Expected --dataset NAME: the model does not say its own: {path}")
    return name, rule, source


def _default_output(path: Path, model: "LoadedModel", samples: "Samples", is_run: bool) -> Path:
    """The run folder for the run's own data, otherwise a folder that says what it is."""
    if is_run:
        from fer_keras.config import load_experiment

        config = load_experiment(str(path / "experiment.json")).dataset
        rule = config.eval_label_rule or samples.label_rule
        if (samples.name, samples.label_rule) == (config.name, rule):
            return path
        return path / f"evaluation_{samples.name}_{samples.label_rule}"
    file = model.path
    # An export folder is replaced as a whole by the next export: results stay outside it.
    exported = file.with_name("manifest.json").is_file()
    parent = file.parent.parent if exported else file.parent
    stem = f"{file.parent.name}_{file.stem}" if exported else file.stem
    return parent / f"evaluation_{stem}_{samples.name}"


def _check_earlier(
    path: Path,
    model: "LoadedModel",
    samples: "Samples",
    crops_from: int | None,
    overwrite: bool,
) -> dict[str, Any]:
    """What is kept of an earlier result of the same model; refuses those of anything else."""
    from fer_keras.file_checks import read_json

    if not path.exists():
        return {}
    try:
        earlier = read_json(path)
    except FerKerasError:
        if overwrite:
            return {}
        raise
    # A run's own best.keras may have changed since: the run was trained on.
    own = path.parent.resolve() in (model.path.resolve(), model.path.resolve().parent)
    same_model = bool(model.sha256) and earlier.get("model_sha256") == model.sha256
    theirs = (earlier.get("dataset"), earlier.get("label_rule"), earlier.get("ten_crop_from"))
    if (same_model or own) and theirs == (samples.name, samples.label_rule, crops_from):
        return earlier if same_model else {}
    if overwrite:
        return {}
    raise ConfigError(
        f"The folder holds results of {earlier.get('model')} on {theirs[0]} ({theirs[1]}"
        f"{_crops(theirs[2])}), not of {model.path.name} on {samples.name} ({samples.label_rule}"
        f"{_crops(crops_from)}). Choose another --output, or "
        f"add --overwrite: {path}"
    )


def _crops(crops_from: int | None) -> str:
    return f", ten crops from {crops_from} pixels" if crops_from else ""


def _columns(model: "LoadedModel", samples: "Samples") -> tuple[list[int], tuple[str, ...]]:
    """The model's column of every class of the data set, and the model's other classes."""
    if model.class_names == samples.class_names:
        return list(range(len(model.class_names))), ()
    mapping = name_mapping(model.class_names, samples.class_names)
    used = set(mapping)
    return list(mapping), tuple(n for i, n in enumerate(model.class_names) if i not in used)


def _renormalised(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    p = np.maximum(probabilities.astype(np.float64), 0.0)
    total = p.sum(axis=1, keepdims=True)
    # Int8 probabilities can all be rounded to zero among the classes that are left.
    return np.where(total > 0, p / np.where(total > 0, total, 1.0), 1.0 / p.shape[1])


def _duplicates(
    samples: "Samples", train_samples: "Samples | None"
) -> npt.NDArray[np.bool_] | None:
    if train_samples is None:
        return None
    return np.isin(samples.facts["sha256"], train_samples.facts["sha256"])


def _calibrated(
    model: "LoadedModel",
    logits: npt.NDArray[np.float32],
    samples: "Samples",
    left_out: tuple[str, ...],
    folder: Path,
) -> dict[str, Any] | None:
    from fer_keras.metrics import (
        brier_score,
        expected_calibration_error,
        fit_temperature,
        negative_log_likelihood,
        softmax,
    )

    own = folder.resolve() in (model.path.resolve(), model.path.resolve().parent)
    fitted_on = "the validation split of its run"
    if samples.split == "validation" and own and not left_out and model.sha256:
        temperature = fit_temperature(logits, samples.targets)
        record = {
            "temperature": temperature,
            "fitted_on": f"{samples.name} validation ({samples.label_rule}), n {len(samples)}",
            "model_sha256": model.sha256,
        }
        write_text(folder / "calibration.json", json.dumps(record, indent=2) + "\n")
        fitted_on = "these images"
    elif model.temperature != 1.0:
        temperature = model.temperature
    else:
        return None
    p = softmax(logits, temperature)
    return {
        "temperature": temperature,
        "fitted_on": fitted_on,
        "nll": negative_log_likelihood(p, samples.targets),
        "ece": expected_calibration_error(p.max(axis=1), p.argmax(axis=1) == samples.labels),
        "brier": brier_score(p, samples.targets),
        "mean_confidence": float(p.max(axis=1).mean()),
    }


def _write_predictions(
    path: Path,
    samples: "Samples",
    probabilities: npt.NDArray[np.float64],
    duplicates: npt.NDArray[np.bool_] | None,
) -> None:
    names = samples.class_names
    facts = samples.facts
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["index", "source", "sha256", "true", "predicted"]
            + [f"p_{name}" for name in names]
            + ["duplicate", "subject"]
        )
        predicted = probabilities.argmax(axis=1)
        for i, true in enumerate(samples.labels):
            writer.writerow(
                [i, facts["source"][i], facts["sha256"][i], names[true], names[predicted[i]]]
                + [f"{p:.6f}" for p in probabilities[i]]
                + ["" if duplicates is None else int(duplicates[i]), facts["subject"][i]]
            )


if __name__ == "__main__":
    run_command(main)
