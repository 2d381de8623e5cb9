"""The figures of a model on one split, by an honest protocol.

Labels are joined by name. Every accuracy stands with n, the label rule, its 95 % Wilson interval,
and the accuracy without the images whose exact pixels also occur in the training split.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError, DataError, FerKerasError, did_you_mean
from fer_keras.common.files import atomic_path, read_json, write_text
from fer_keras.common.labels import name_mapping
from fer_keras.common.metrics import (
    brier_score,
    evaluate_predictions,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_bins,
    softmax,
)
from fer_keras.common.prior import (
    PriorChoice,
    prior_weights,
    read_class_prior,
    read_default_prior,
    reweighted,
)
from fer_keras.data.clips import real_frames
from fer_keras.evaluation.estimate_prior import estimate_prior
from fer_keras.evaluation.tta import predict_logits
from fer_keras.loading.classifier import LoadedModel
from fer_keras.loading.load import load_model
from fer_keras.reporting.plots import plot_confusion_matrix, plot_reliability

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples
    from fer_keras.loading.classifier import LoadedModel


def evaluate(
    model: "LoadedModel | str | Path",
    samples: "Samples",
    *,
    train_samples: "Samples | None" = None,
    output_dir: str | Path,
    overwrite: bool = False,
    ten_crop: bool = False,
    prior: PriorChoice | None = None,
    estimate: bool = False,
) -> dict[str, Any]:
    """Evaluates a model on one split and writes the results.

    The figures are those of the network's plain softmax. Where a temperature is known, those of
    the calibrated probabilities stand beside them under `calibrated`: on the validation split of
    the model's own run it is fitted here and kept in `calibration.json`; on any other split the
    one that is kept there is used. A `.tflite` file has its temperature inside and is measured as
    it is.

    Args:
        model: Of `fer_keras.loading.load.load_model`, or what it takes.
        samples: What to evaluate on, of n images.
        train_samples: The training split; an image of `samples` with exactly the same pixels as
            one of these is flagged as a duplicate. None leaves duplicates unknown.
        output_dir: Receives `result.json` (`result_test.json` for the test split),
            `predictions_<split>.csv`, `confusion_matrix_<split>.png`, `reliability_<split>.png`.
        overwrite: Replace the results of another model, data set or label rule.
        ten_crop: The pictures of `samples` are at least as large as the model's; its logits are
            averaged over ten crops of each (`fer_keras.evaluation.tta`), and no temperature is
            used.
        prior: The class prior to answer by (`fer_keras.common.prior`); None takes that of the
            model's manifest (`default_prior`), and leaves the answers as they are where it has
            none. With one, the figures are those of the calibrated probabilities where a
            temperature is known, adjusted; none is fitted.
        estimate: Also estimate how frequent the classes are among these images without their
            labels (`fer_keras.evaluation.estimate_prior`).

    Returns:
        The content of the result file: the figures of `metrics.evaluate_predictions`, what was
        evaluated on what, and `calibrated`.

    Raises:
        DataError: A class of the data set is unknown to the model (both lists are named).
        ModelFileError: The model cannot be read, does not take these images, or gives no logits to
            average.
        ConfigError: The pictures are too small for ten crops, `output_dir` holds results of
            something else, or the prior needs that of the training, which is not known.
    """
    loaded = model if isinstance(model, LoadedModel) else load_model(model)
    folder = Path(output_dir)
    split = samples.split
    result_path = folder / ("result.json" if split == "validation" else f"result_{split}.json")
    crops_from = samples.images.shape[1] if ten_crop else None
    prior = default_prior(loaded) if prior is None else prior
    earlier = _check_earlier(result_path, loaded, samples, crops_from, str(prior), overwrite)
    mapping, left_out = _columns(loaded, samples)
    weights = None if prior.is_training else _weights(loaded, prior)[mapping]
    if weights is not None and not weights.any():
        raise ConfigError(f"prior {prior}: all classes of {samples.name} have the share 0")
    duplicates = _duplicates(samples, train_samples)
    training_prior = _training_prior(loaded, samples.class_names) if estimate else None

    logits: npt.NDArray[np.float32] | None = None
    if ten_crop:
        size = loaded.image_shape[0]
        logits = predict_logits(loaded.logits, samples.images, size)[:, mapping]
    elif loaded.has_logits:
        logits = loaded.logits(samples.images)[:, mapping]
    if logits is not None:
        is_calibrated = weights is not None and not ten_crop
        probabilities = softmax(logits, loaded.temperature if is_calibrated else 1.0)
        plain = softmax(logits, loaded.temperature)
    else:
        probabilities = plain = _renormalised(loaded.predict(samples.images)[:, mapping])
    if weights is not None:
        probabilities = reweighted(probabilities, weights)
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
        "prior": str(prior),
        "calibrated": None,
    }
    if training_prior is not None:
        figures["estimated_prior"] = estimate_prior(plain, training_prior)
    if loaded.input_kind == "clip":
        figures |= frame_figures(loaded, samples, mapping)

    folder.mkdir(parents=True, exist_ok=True)
    note = f"ECE {figures['ece']:.3f}\nn = {figures['n']:,}"
    if logits is not None and not ten_crop and weights is None:
        figures["calibrated"] = calibrated = _calibrated(loaded, logits, samples, left_out, folder)
        if calibrated:
            note += f"\nwith temperature {calibrated['temperature']:.2f}: {calibrated['ece']:.3f}"
    _write_predictions(folder / f"predictions_{split}.csv", samples, probabilities, duplicates)
    _draw(folder, samples, probabilities, figures, note)
    # What else the training wrote about the same model stays in the file.
    write_text(result_path, json.dumps({**earlier, **figures}, indent=2) + "\n")
    return figures


def default_prior(model: "LoadedModel") -> PriorChoice:
    """The prior that a model answers by where none is asked for.

    Args:
        model: Of an export, or any other, which has none.

    Raises:
        ModelFileError: `default_prior` in its manifest cannot be read.
    """
    return read_default_prior(model.manifest, model.path)


def _draw(
    folder: Path,
    samples: "Samples",
    probabilities: npt.NDArray[np.float64],
    figures: Mapping[str, Any],
    note: str,
) -> None:
    """Confusion matrix and reliability diagram."""
    title = (
        f"{samples.name} {samples.split} ({samples.label_rule}): {figures['accuracy']:.1%} of "
        f"{figures['n']:,}, balanced {figures['balanced_accuracy']:.1%}"
    )
    plot_confusion_matrix(
        figures["confusion_matrix"],
        samples.class_names,
        folder / f"confusion_matrix_{samples.split}.png",
        title=title,
    )
    correct = probabilities.argmax(axis=1) == samples.labels
    plot_reliability(
        reliability_bins(probabilities.max(axis=1), correct),
        folder / f"reliability_{samples.split}.png",
        title=title,
        note=note,
    )


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


def _check_earlier(
    path: Path,
    model: "LoadedModel",
    samples: "Samples",
    crops_from: int | None,
    prior: str,
    overwrite: bool,
) -> dict[str, Any]:
    """What is kept of an earlier result of the same model; refuses those of anything else."""
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
    their_prior = earlier.get("prior", "training")
    names = list(samples.class_names)
    same_data = theirs == (samples.name, samples.label_rule, crops_from)
    same_data = same_data and earlier.get("class_names", names) == names
    if (same_model or own) and same_data and their_prior == prior:
        return earlier if same_model else {}
    if overwrite:
        return {}
    raise ConfigError(
        f"The folder holds results of {earlier.get('model')} on {theirs[0]} ({theirs[1]}"
        f"{_crops(theirs[2])}, prior {their_prior}), not of {model.path.name} on {samples.name} "
        f"({samples.label_rule}{_crops(crops_from)}, prior {prior}). Choose another --output, or "
        f"add --overwrite: {path}"
    )


def keep_labels(samples: "Samples", labels: Sequence[str]) -> "Samples":
    """The samples of some of the classes, as a data set that has no others.

    Args:
        samples: Of any classes.
        labels: At least two of their classes.

    Returns:
        The samples whose label is kept; what their votes say of other classes is left out. A model
        then answers with one of these labels.

    Raises:
        ConfigError: An unknown label, or fewer than two.
        DataError: No sample has one of the labels.
    """
    names = samples.class_names
    for label in labels:
        if label not in names:
            raise ConfigError(f"--labels: unknown label {label!r}. {did_you_mean(label, names)}")
    kept = [i for i, name in enumerate(names) if name in labels]
    if len(kept) < 2:
        raise ConfigError(f"--labels: expected at least two. Received: {', '.join(labels)}")
    chosen = np.flatnonzero(np.isin(samples.labels, kept))
    if not len(chosen):
        raise DataError(
            f"{samples.name} {samples.split}: expected pictures of {', '.join(labels)}. Received "
            "none."
        )
    part = samples.take(chosen)
    targets = part.targets[:, kept]
    note = (
        f"only {', '.join(names[i] for i in kept)}: {len(chosen):,} of {len(samples):,} pictures, "
        "and answers with one of these labels alone"
    )
    return replace(
        part,
        class_names=tuple(names[i] for i in kept),
        targets=targets / targets.sum(axis=1, keepdims=True),
        notes=(*part.notes, note),
        fingerprint="",
    )


def _weights(model: "LoadedModel", prior: PriorChoice) -> npt.NDArray[np.float64]:
    """The factor of each of the model's classes."""
    known, where = class_prior_of(model)
    try:
        return prior_weights(model.class_names, known, prior)
    except ConfigError as error:
        raise ConfigError(f"{error}: {where}") from error


def _training_prior(model: "LoadedModel", class_names: Sequence[str]) -> dict[str, float]:
    """The shares in training of the classes of a data set, which may be some of the model's."""
    known, where = class_prior_of(model)
    if known is None:
        raise ConfigError(
            "--estimate-prior: the model's files do not say how frequent each class was in "
            f"training (class_prior in manifest.json or result.json): {where}"
        )
    shares = dict(zip(model.class_names, known, strict=True))
    return {name: shares[name] for name in class_names}


def class_prior_of(model: "LoadedModel") -> tuple[tuple[float, ...] | None, Path]:
    """The share of each of a model's classes in training.

    Args:
        model: Of an export or a run, or any other, of which nobody knows it.

    Returns:
        One share a class, None where it is not known; and the file that says it or should.

    Raises:
        ModelFileError: The file does not have one share for every class.
    """
    record, where = model.manifest, model.path
    result = (where if where.is_dir() else where.parent) / "result.json"
    if "class_prior" not in record and result.is_file():
        found = read_json(result)
        # A folder may hold results of another model.
        if found.get("model_sha256") == model.sha256:
            record, where = found, result
    return read_class_prior(record, model.class_names, where), where


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
