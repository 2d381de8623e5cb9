"""Exports a run: SavedModel and TFLite, each compared with Keras before anything is published."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import DataError, ExportError
from fer_keras.common.files import atomic_path, read_json, write_text
from fer_keras.common.metrics import (
    affect_agreement,
    evaluate_predictions,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    softmax,
)
from fer_keras.common.progress import progress
from fer_keras.common.risk_coverage import risk_coverage
from fer_keras.config import load_experiment
from fer_keras.conversion import tflite as conversion
from fer_keras.conversion.clips import PRECISIONS as CLIP_PRECISIONS
from fer_keras.conversion.clips import build_clip_files, encoder_file, head_file
from fer_keras.conversion.engine_files import (
    ENGINE_FILES,
    check_formats,
    engine_answers,
    engine_file_bytes,
    engine_ms_per_face,
    open_written,
    write_engine_file,
)
from fer_keras.conversion.folder import check_target, file_table, publish
from fer_keras.conversion.parity import Parity, compare
from fer_keras.data import splits
from fer_keras.data.load import describe
from fer_keras.data.pipeline import balanced_class_weights, training_prior
from fer_keras.evaluation.default_prior import DefaultPrior, choose_prior, decision_block
from fer_keras.evaluation.thresholds import FittedDecision, coverage_problem, fit_decision
from fer_keras.evaluation.tta import mirror_average
from fer_keras.loading.classifier import from_network
from fer_keras.loading.keras_files import load_network
from fer_keras.reporting.card import render_card, training_facts
from fer_keras.reporting.hub_card import render_hub_card
from fer_keras.reporting.plots import plot_risk_coverage
from fer_keras.runtime.export_files import OUTPUTS
from fer_keras.runtime.pictures import picture_rule_of
from fer_keras.runtime.timing.machine import machine_name

if TYPE_CHECKING:
    from fer_keras.config import Experiment
    from fer_keras.data.samples import Samples
    from fer_keras.loading.classifier import LoadedModel


_PRECISION_FILES = {
    "float32": "model_float32.tflite",
    "float16": "model_float16.tflite",
    "dynamic": "model_dynamic.tflite",
    "int8": "model_int8.tflite",
}


_RISK_COVERAGE = "risk_coverage.png"


def export_run(
    run_dir: str | Path,
    output_dir: str | Path | None = None,
    *,
    calibration_images: int = 512,
    parity_images: int = 1000,
    int8: bool = True,
    mirror: bool = False,
    reject_accuracy: float = 0.95,
    formats: Sequence[str] = (),
) -> dict[str, Any]:
    """Exports the best network of a run.

    Args:
        run_dir: A run folder with `best.keras` and `experiment.json`.
        output_dir: The export folder; `run_dir/export` by default. An earlier export there is
            replaced after everything has succeeded.
        calibration_images: Training images by which the ranges of the int8 file are found.
        parity_images: Validation images for the comparison with Keras, spread over the split.
        int8: Whether to make the int8 file.
        mirror: Whether the files average the logits of a picture and of its mirror image, which
            takes twice the time and brings some accuracy
            (`fer_keras.evaluation.tta.mirror_average`).
        reject_accuracy: Accuracy at which the answers that are not "unsure" aim, above 0 and at
            most 1 (`fer_keras.evaluation.thresholds`).
        formats: "onnx" and "openvino", beside SavedModel and TFLite.

    Returns:
        The content of `manifest.json`.

    Raises:
        ConfigError: A format is unknown, or what writes and runs it is not installed.
        ExportError: A file differs from Keras by more than is allowed (nothing is published), a
            conversion failed, or the folder holds something else.
        ModelFileError: `best.keras` is missing or refused.
        DataError: The data set of the run is missing.
    """
    folder = Path(run_dir)
    target = Path(output_dir) if output_dir is not None else folder / "export"
    check_target(target)
    if calibration_images < 1 or parity_images < 1:
        raise ExportError(
            "Expected at least 1 calibration image and 1 parity image. Received: "
            f"{calibration_images} and {parity_images}"
        )
    check_formats(formats)

    if keras.backend.backend() != "tensorflow":
        _export_on_tensorflow(
            folder, target, calibration_images, parity_images, int8, mirror, reject_accuracy,
            formats,
        )  # fmt: skip
        return read_json(target / "manifest.json")

    network, sha256 = _network_of(folder, mirror, formats)
    is_clip = "frame_mask" in network.output
    model = from_network(network, path=folder / "best.keras", sha256=sha256)
    experiment = load_experiment(str(folder / "experiment.json"))
    result = _result_of(folder, sha256)
    fed, validation, train = splits.load_splits(experiment.dataset, experiment.seed)
    if validation.class_names != model.class_names:
        raise DataError(
            f"The network names {', '.join(model.class_names)}, the data set "
            f"{', '.join(validation.class_names)}: {folder / 'best.keras'}"
        )
    figures, probabilities = _validation_figures(model, validation, train)
    prior = choose_prior(
        probabilities, validation, _class_prior(experiment, fed), measured_by="Keras"
    )
    with progress("fitting thresholds"):
        adjusted = prior.adjust(probabilities)
        fitted = fit_decision(adjusted, validation, accuracy_target=reject_accuracy)
    held_out = validation.take(_spread(len(validation), parity_images))
    calibration = train.images[_random_rows(len(train), 0 if is_clip else calibration_images)]
    building = _folder_beside(target)
    try:
        temperature = figures["temperature"]
        if is_clip:
            names = model.class_names
            parity = build_clip_files(network, temperature, names, building, held_out)
            parity["machine"] = machine_name()
            file_names = {name: encoder_file(name) for name in CLIP_PRECISIONS}
        else:
            deploy = conversion.deploy_graph(network, temperature)
            parity = _build_files(deploy, building, held_out, calibration, int8, formats)
            file_names = _PRECISION_FILES
        decision = _decision(fitted, probabilities, validation, building, prior)
        manifest = _manifest(
            experiment, model, figures, file_names, mirror, decision, prior, (validation, train),
            result, parity,
        )  # fmt: skip
        if not is_clip and isinstance(deploy.output, dict):
            manifest["outputs"] = list(OUTPUTS)
        if "uncertainty" in network.output:
            manifest["uncertainty_file"] = conversion.write_uncertainty_file(
                network, deploy, building, held_out.images[:50]
            )
        _write_words(manifest, model.class_names, building)
        publish(building, target)
        for name in ("card.md", _RISK_COVERAGE):
            if (target / name).is_file():
                with atomic_path(folder / name) as temporary:
                    shutil.copyfile(target / name, temporary)
    except OSError as error:
        raise ExportError(
            f"The export could not be written ({error.strerror or error}). What was there before "
            f"is unchanged: {target}"
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return manifest


def _network_of(folder: Path, mirror: bool, formats: Sequence[str]) -> tuple[Any, str]:
    """The network that is converted, and the digest of its file."""
    network, sha256 = load_network(folder / "best.keras")
    network = conversion.in_float32(network)
    is_clip = "frame_mask" in network.output
    if mirror and is_clip:
        raise ExportError("--mirror: expected a network of pictures. Received one of clips.")
    if formats and is_clip:
        raise ExportError(
            "--formats: expected a network of pictures. Received one of clips, which is exported "
            "to TFLite alone."
        )
    return mirror_average(network) if mirror else network, sha256


def _write_words(manifest: dict[str, Any], class_names: Sequence[str], folder: Path) -> None:
    """Writes labels, cards and the manifest, which gets the table of all files."""
    write_text(folder / "labels.txt", "\n".join(class_names) + "\n")
    card = render_card(manifest)
    write_text(folder / "card.md", card)
    write_text(folder / "README.md", render_hub_card(manifest, card))
    manifest["files"] = file_table(folder)
    write_text(folder / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def _result_of(folder: Path, sha256: str) -> dict[str, Any]:
    """What the run says of this very network."""
    path = folder / "result.json"
    result = read_json(path) if path.exists() else {}
    return result if result.get("model_sha256") == sha256 else {"model_sha256": sha256}


def _folder_beside(target: Path) -> Path:
    """A new folder that can take the place of the target by a rename."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise ExportError(f"Cannot write ({error.strerror}): {target.parent}") from error


def _manifest(
    experiment: "Experiment",
    model: "LoadedModel",
    figures: Mapping[str, Any],
    file_names: Mapping[str, str],
    mirror: bool,
    decision: Mapping[str, Any] | None,
    prior: DefaultPrior,
    splits: "tuple[Samples, Samples]",
    result: Mapping[str, Any],
    parity: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of `manifest.json` but for the table of files."""
    validation, train = splits
    is_clip = model.input_kind == "clip"
    engine_files = {name: file for name, file in ENGINE_FILES.items() if name in parity["models"]}
    return {
        "format": 1,
        "name": experiment.name,
        "class_names": list(model.class_names),
        "image_size": list(model.image_shape[:2]),
        "channels": model.image_shape[2],
        "input_kind": model.input_kind,
        "input": "raw pixels 0..255",
        "pictures": picture_rule_of(train.images, experiment.dataset.enlarge).record(),
        **({"neutral": experiment.dataset.neutral} if model.input_kind == "pair" else {}),
        **({"clip_frames": model.num_pictures} if is_clip else {}),
        "temperature": figures["temperature"],
        "output": "probabilities",
        "mirror_average": mirror,
        "precision_files": {
            precision: name
            for precision, name in file_names.items()
            if precision in parity["models"]
        },
        # What the encoder of a frame, in `precision_files`, makes of the last frames is read by
        # a second file.
        **({"engine_files": engine_files} if engine_files else {}),
        **({"head_files": {name: head_file(name) for name in file_names}} if is_clip else {}),
        **({"decision": decision} if decision else {}),
        "files": {},
        "dataset": validation.name,
        "label_rule": train.label_rule,
        "class_prior": dict(prior.class_prior),
        "default_prior": str(prior.choice),
        "prior_figures": dict(prior.figures),
        "training": training_facts(experiment, describe(experiment.dataset.name), result),
        "parity": parity,
        "validation": figures,
    }


def _class_prior(experiment: "Experiment", fed: "Samples") -> dict[str, float]:
    """The share of each class among the training targets."""
    training = experiment.training
    weights = balanced_class_weights(fed) if training.class_weights == "balanced" else None
    return training_prior(
        fed,
        class_weights=weights,
        sampling=training.sampling,
        prior_tau=experiment.method.options.get("prior_tau", 0.0),
    )


def _export_on_tensorflow(
    run_dir: Path,
    target: Path,
    calibration_images: int,
    parity_images: int,
    int8: bool,
    mirror: bool,
    reject_accuracy: float,
    formats: Sequence[str],
) -> None:
    """Does the export in a process of its own, because a process has one Keras backend."""
    command = [
        sys.executable, "-m", "fer_keras.export", str(run_dir), "--output", str(target),
        "--calibration-images", str(calibration_images), "--parity-images", str(parity_images),
        "--reject-accuracy", str(reject_accuracy),
    ]  # fmt: skip
    if not int8:
        command.append("--no-int8")
    if mirror:
        command.append("--mirror")
    if formats:
        command += ["--formats", *formats]
    done = subprocess.run(
        command,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = next((s for s in reversed(lines) if s.startswith("error: ")), "")
        raise ExportError(
            reason.removeprefix("error: ")
            or f"The TensorFlow process failed ({lines[-1] if lines else done.returncode})"
        )


def _validation_figures(
    model: Any, validation: "Samples", train: "Samples"
) -> tuple[dict[str, Any], npt.NDArray[np.float64]]:
    """The figures of the model card, and the calibrated probabilities `(n, classes)`."""
    logits = model.logits(validation.images)
    temperature = fit_temperature(logits, validation.targets)
    duplicates = np.isin(validation.facts["sha256"], train.facts["sha256"])
    figures = evaluate_predictions(
        softmax(logits), validation.targets, validation.class_names, duplicates=duplicates
    )
    figures.pop("reliability")
    p = softmax(logits, temperature)
    correct = p.argmax(axis=1) == validation.labels
    figures |= {
        "split": validation.split,
        "label_rule": validation.label_rule,
        "dataset_fingerprint": validation.fingerprint,
        "temperature": temperature,
        "temperature_fitted_on": "this validation split",
        "calibrated": {
            "nll": negative_log_likelihood(p, validation.targets),
            "ece": expected_calibration_error(p.max(axis=1), correct),
        },
    }
    return figures, p


def _decision(
    fitted: FittedDecision | None,
    probabilities: npt.NDArray[np.float64],
    validation: "Samples",
    folder: Path,
    prior: DefaultPrior,
) -> dict[str, Any] | None:
    """The thresholds with what they bring, also in the int8 file; draws the curve."""
    if fitted is None:
        return None
    curves: dict[str, npt.NDArray[Any]] = {"Keras": prior.adjust(probabilities[fitted.held_out])}
    block = decision_block(fitted, probabilities, validation, prior)
    int8 = folder / _PRECISION_FILES["int8"]
    if int8.is_file():
        images = validation.images[fitted.held_out]
        curves["int8"] = prior.adjust(conversion.tflite_probabilities(int8.read_bytes(), images))
        block["measured"]["int8"] = fitted.measure(curves["int8"])
        problem = coverage_problem(block, "int8")
        if problem:
            raise ExportError(f"Not published: {problem}. Leave it out with --no-int8")
    plot_risk_coverage(
        {name: risk_coverage(p, fitted.labels)[:2] for name, p in curves.items()},
        folder / _RISK_COVERAGE,
        chosen=(block["reject_coverage"], block["reject_accuracy"]),
        target=fitted.accuracy_target,
        title=f"Errors among the answers that are kept, n = {block['n_measured']:,} ("
        f"{validation.name} {validation.split})",
    )
    return block


def _build_files(
    deploy: Any,
    folder: Path,
    held_out: "Samples",
    calibration: npt.NDArray[np.uint8],
    int8: bool,
    formats: Sequence[str],
) -> dict[str, Any]:
    """Writes every file, compares each with Keras; returns the parity record or raises."""
    images, labels = np.asarray(held_out.images), held_out.labels
    answers = deploy.predict(images.astype(np.float32), batch_size=64, verbose=0)
    by_name = answers if isinstance(answers, dict) else {OUTPUTS[0]: answers}
    reference, affect = by_name[OUTPUTS[0]], by_name.get(OUTPUTS[1])
    models: dict[str, dict[str, Any]] = {}
    problems: list[str] = []

    def compared(found: Sequence[npt.NDArray[np.float32]]) -> Parity:
        pair = None if affect is None else (found[1], affect)
        return compare(found[0], reference, labels, pair)

    def note(precision: str, parity: Parity, size: int, **more: Any) -> None:
        models[precision] = {
            "bytes": size,
            "max_difference": parity.max_difference,
            "same_arg_max": parity.same_arg_max,
            "accuracy": parity.accuracy,
            "ece": parity.ece,
            **({"affect_difference": parity.affect_difference} if parity.affect_difference else {}),
            **more,
        }
        problem = parity.problem(precision)
        if problem:
            problems.append(problem)

    saved_model = folder / "saved_model"
    with progress("writing the SavedModel"):
        conversion.quietly(lambda: conversion.write_saved_model(deploy, saved_model))
    saved_answers = conversion.saved_model_answers(saved_model, images)
    size = sum(path.stat().st_size for path in saved_model.rglob("*") if path.is_file())
    note("saved_model", compared(saved_answers), size)

    def passes(precision: str) -> Callable[[bytes], bool]:
        def passed(data: bytes) -> bool:
            answers = conversion.tflite_answers(data, images)
            return compared(answers).problem(precision) is None

        return passed

    frozen = conversion.frozen_function(deploy)
    float32 = conversion.convert(frozen, "float32")
    contents: dict[str, tuple[bytes, dict[str, int]]] = {
        "float32": (float32, {}),
        "float16": conversion.convert_float16(float32, passes("float16")),
        "dynamic": (conversion.convert(frozen, "dynamic"), {}),
    }
    if int8:
        contents["int8"] = conversion.convert_int8(frozen, calibration, passes("int8"))
    for precision, (data, facts) in contents.items():
        if affect is not None:
            data = conversion.with_output_names(data)
        parity = compared(conversion.tflite_answers(data, images))
        # A file that is refused need not be timed.
        ms = None if parity.problem(precision) else conversion.ms_per_face(data, images)
        note(precision, parity, len(data), ms_per_face=ms, **facts)
        (folder / _PRECISION_FILES[precision]).write_bytes(data)
    for name in formats:
        facts = write_engine_file(deploy, folder, name)
        engine = open_written(folder, name)
        parity = compared(engine_answers(engine, images))
        ms = None if parity.problem(name) else engine_ms_per_face(engine, images)
        note(name, parity, engine_file_bytes(folder, name), ms_per_face=ms, **facts)
    if problems:
        if all(problem.startswith("int8") for problem in problems):
            problems[-1] += ". Leave it out with --no-int8"
        raise ExportError(
            f"Not published: on {len(images)} validation images {len(problems)} of {len(models)} "
            f"files differ from Keras by more than is allowed. {'. '.join(problems)}."
        )
    return {
        "n": len(images),
        "split": held_out.split,
        "keras_accuracy": float((reference.argmax(axis=1) == labels).mean()),
        "timing_runs": conversion.TIMING_RUNS,
        "machine": machine_name(),
        "models": models,
        **({} if affect is None else {"valence_arousal": _affect_figures(affect, held_out)}),
    }


def _affect_figures(affect: npt.NDArray[np.float32], held_out: "Samples") -> dict[str, float]:
    """How near Keras is to the ratings, where the data set has them."""
    nothing = np.full(len(held_out), np.nan)
    rated = [held_out.facts.get(name, nothing) for name in ("valence", "arousal")]
    return affect_agreement(affect, np.stack(rated, axis=1))


def _spread(total: int, wanted: int) -> npt.NDArray[np.int64]:
    """Indices spread evenly: the first rows of a source are often all of one class."""
    return np.linspace(0, total - 1, min(total, wanted)).round().astype(np.int64)


def _random_rows(total: int, wanted: int) -> npt.NDArray[np.int64]:
    """Sorted random rows, the same in every export."""
    chosen = np.random.default_rng(0).permutation(total)[: min(total, wanted)]
    return np.sort(chosen)
