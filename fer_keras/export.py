"""Exports a run for use without Keras: `python -m fer_keras.export RUN`.

From `best.keras` a graph is built that goes from raw pixels to probabilities: network, one
temperature fitted on the validation split, softmax. It is written as SavedModel and as TFLite in
four precisions, and each file is compared with Keras on validation images. Unless all agree,
nothing is published. The manifest also gets the thresholds from which on an answer is sure and a
label is meant (`fer_keras.decision`). All work happens in a temporary folder that takes the place
of the old export at the end.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras import conversion
from fer_keras.card import render_card, training_facts
from fer_keras.clip_export import PRECISIONS as CLIP_PRECISIONS
from fer_keras.clip_export import build_clip_files, encoder_file, head_file
from fer_keras.decision import (
    FittedDecision,
    coverage_problem,
    decision_report,
    fit_decision,
    risk_coverage,
)
from fer_keras.errors import DataError, ExportError, run_command
from fer_keras.export_folder import check_target, file_table, publish
from fer_keras.files import atomic_path, write_text
from fer_keras.parity import Parity, compare

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

_EXAMPLES = """examples:
  python -m fer_keras.export runs/word2vec-seed0                 -> runs/word2vec-seed0/export
  python -m fer_keras.export runs/word2vec-seed0 --output saved_models/word2vec
  python -m fer_keras.export runs/word2vec-seed0 --no-int8
  python -m fer_keras.export runs/word2vec-seed0 --reject-accuracy 0.9

A run trained on JAX or PyTorch is exported in the same way: the export itself runs on TensorFlow.
"""

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
            takes twice the time and brings some accuracy (`fer_keras.tta.mirror_average`).
        reject_accuracy: Accuracy at which the answers that are not "unsure" aim, above 0 and at
            most 1 (`fer_keras.decision`).

    Returns:
        The content of `manifest.json`.

    Raises:
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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    from fer_keras.file_checks import read_json

    if keras.backend.backend() != "tensorflow":
        _export_on_tensorflow(
            folder, target, calibration_images, parity_images, int8, mirror, reject_accuracy
        )
        return read_json(target / "manifest.json")

    from fer_keras.config import load_experiment
    from fer_keras.data import describe
    from fer_keras.data.splits import load_splits
    from fer_keras.loading import from_network, load_network
    from fer_keras.tta import mirror_average

    network, sha256 = load_network(folder / "best.keras")
    network = conversion.in_float32(network)
    is_clip = "frame_mask" in network.output
    if mirror and is_clip:
        raise ExportError("--mirror: expected a network of pictures. Received one of clips.")
    if mirror:
        network = mirror_average(network)
    model = from_network(network, path=folder / "best.keras", sha256=sha256)
    experiment = load_experiment(str(folder / "experiment.json"))
    result_path = folder / "result.json"
    result = read_json(result_path) if result_path.exists() else {}
    if result.get("model_sha256") != sha256:
        result = {"model_sha256": sha256}
    _, validation, train = load_splits(experiment.dataset, experiment.seed)
    if validation.class_names != model.class_names:
        raise DataError(
            f"The network names {', '.join(model.class_names)}, the data set "
            f"{', '.join(validation.class_names)}: {folder / 'best.keras'}"
        )
    figures, probabilities = _validation_figures(model, validation, train)
    fitted = fit_decision(probabilities, validation, accuracy_target=reject_accuracy)
    held_out = validation.take(_spread(len(validation), parity_images))
    calibration = train.images[_random_rows(len(train), 0 if is_clip else calibration_images)]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise ExportError(f"Cannot write ({error.strerror}): {target.parent}") from error
    try:
        temperature = figures["temperature"]
        if is_clip:
            names = model.class_names
            parity = build_clip_files(network, temperature, names, building, held_out)
            parity["machine"] = _machine()
            file_names = {name: encoder_file(name) for name in CLIP_PRECISIONS}
        else:
            deploy = conversion.deploy_graph(network, temperature)
            parity = _build_files(deploy, building, held_out, calibration, int8)
            file_names = _PRECISION_FILES
        decision = _decision(fitted, probabilities, validation, building)
        manifest = {
            "format": 1,
            "name": experiment.name,
            "class_names": list(model.class_names),
            "image_size": list(model.image_shape[:2]),
            "channels": model.image_shape[2],
            "input_kind": model.input_kind,
            "input": "raw pixels 0..255",
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
            **({"head_files": {name: head_file(name) for name in file_names}} if is_clip else {}),
            **({"decision": decision} if decision else {}),
            "files": {},
            "dataset": validation.name,
            "label_rule": train.label_rule,
            "training": training_facts(experiment, describe(train.name), result),
            "parity": parity,
            "validation": figures,
        }
        if "uncertainty" in network.output:
            manifest["uncertainty_file"] = conversion.write_uncertainty_file(
                network, deploy, building, held_out.images[:50]
            )
        write_text(building / "labels.txt", "\n".join(model.class_names) + "\n")
        write_text(building / "card.md", render_card(manifest))
        manifest["files"] = file_table(building)
        write_text(building / "manifest.json", json.dumps(manifest, indent=2) + "\n")
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


def report(manifest: Mapping[str, Any]) -> str:
    """A table of sizes, times and parity figures.

    Args:
        manifest: Of `export_run`.

    Returns:
        Some ten lines.
    """
    validation, parity = manifest["validation"], manifest["parity"]
    low, high = validation["accuracy_interval"]
    lines = [
        f"{manifest['name']}: {len(manifest['class_names'])} classes, "
        f"{manifest['image_size'][0]} x {manifest['image_size'][1]} x {manifest['channels']}",
        f"validation accuracy {validation['accuracy']:.4f} [{low:.4f}, {high:.4f}], n "
        f"{validation['n']:,}, label rule {validation['label_rule']}",
        f"temperature {manifest['temperature']:.3f}, fitted on the validation split: ECE "
        f"{validation['ece']:.4f} -> {validation['calibrated']['ece']:.4f}, NLL "
        f"{validation['nll']:.4f} -> {validation['calibrated']['nll']:.4f}",
        "",
        "model              KiB  ms/face  max difference  same arg max  accuracy     ECE",
    ]
    for name, row in parity["models"].items():
        time_ms = f"{row['ms_per_face']:7.2f}" if row.get("ms_per_face") else "      -"
        lines.append(
            f"{name:<12}  {row['bytes'] / 1024:>8,.0f}  {time_ms}  {row['max_difference']:>14.1e}"
            f"  {row['same_arg_max']:>12.2%}    {row['accuracy']:.4f}  {row['ece']:.4f}"
        )
    lines.append(
        f"on {parity['n']:,} validation images (Keras: {parity['keras_accuracy']:.4f}); ms: median "
        f"of {parity['timing_runs']} single pictures, one thread, {parity['machine']}"
    )
    for name, row in parity["models"].items():
        if row.get("float_operators"):
            what = "operators" if name == "int8" else "layers' weights"
            lines.append(
                f"{name} keeps {row['float_operators']} of {row['operators']} {what} in float32"
            )
    lines += ["", *decision_report(manifest.get("decision"))]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.export",
        description="Export a run to SavedModel and TFLite, checked against Keras.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="run folder with best.keras and experiment.json")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: RUN/export")
    parser.add_argument(
        "--calibration-images", type=int, default=512, metavar="N", help="for int8; default: 512"
    )
    parser.add_argument(
        "--parity-images", type=int, default=1000, metavar="N", help="default: 1000"
    )
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="average over each picture and its mirror image: twice the time, some accuracy",
    )
    parser.add_argument("--no-int8", action="store_true", help="leave the int8 file out")
    parser.add_argument(
        "--reject-accuracy",
        type=float,
        default=0.95,
        metavar="SHARE",
        help="accuracy at which the answers that are not unsure aim; at most half of the answers "
        "become unsure (default: 0.95)",
    )
    arguments = parser.parse_args(argv)
    target = arguments.output or arguments.run / "export"
    manifest = export_run(
        arguments.run,
        target,
        calibration_images=arguments.calibration_images,
        parity_images=arguments.parity_images,
        int8=not arguments.no_int8,
        mirror=arguments.mirror,
        reject_accuracy=arguments.reject_accuracy,
    )
    print(report(manifest))
    print(f"\nwritten to {target}")
    return 0


def _export_on_tensorflow(
    run_dir: Path,
    target: Path,
    calibration_images: int,
    parity_images: int,
    int8: bool,
    mirror: bool,
    reject_accuracy: float,
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
    from fer_keras.metrics import (
        evaluate_predictions,
        expected_calibration_error,
        fit_temperature,
        negative_log_likelihood,
        softmax,
    )

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
) -> dict[str, Any] | None:
    """The thresholds with what they bring, also in the int8 file; draws the curve."""
    from fer_keras.plots import plot_risk_coverage

    if fitted is None:
        return None
    keras = probabilities[fitted.held_out]
    curves: dict[str, npt.NDArray[Any]] = {"Keras": keras}
    block = fitted.block(keras)
    int8 = folder / _PRECISION_FILES["int8"]
    if int8.is_file():
        images = validation.images[fitted.held_out]
        curves["int8"] = conversion.tflite_probabilities(int8.read_bytes(), images)
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
    deploy: Any, folder: Path, held_out: "Samples", calibration: npt.NDArray[np.uint8], int8: bool
) -> dict[str, Any]:
    """Writes every file, compares each with Keras; returns the parity record or raises."""
    images, labels = np.asarray(held_out.images), held_out.labels
    reference = deploy.predict(images.astype(np.float32), batch_size=64, verbose=0)
    models: dict[str, dict[str, Any]] = {}
    problems: list[str] = []

    def note(precision: str, parity: Parity, size: int, **more: Any) -> None:
        models[precision] = {
            "bytes": size,
            "max_difference": parity.max_difference,
            "same_arg_max": parity.same_arg_max,
            "accuracy": parity.accuracy,
            "ece": parity.ece,
            **more,
        }
        problem = parity.problem(precision)
        if problem:
            problems.append(problem)

    saved_model = folder / "saved_model"
    conversion.quietly(lambda: conversion.write_saved_model(deploy, saved_model))
    probabilities = conversion.saved_model_probabilities(saved_model, images)
    size = sum(path.stat().st_size for path in saved_model.rglob("*") if path.is_file())
    note("saved_model", compare(probabilities, reference, labels), size)

    def passes(precision: str) -> Callable[[bytes], bool]:
        def passed(data: bytes) -> bool:
            answers = conversion.tflite_probabilities(data, images)
            return compare(answers, reference, labels).problem(precision) is None

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
        parity = compare(conversion.tflite_probabilities(data, images), reference, labels)
        # A file that is refused need not be timed.
        ms = None if parity.problem(precision) else conversion.ms_per_face(data, images)
        note(precision, parity, len(data), ms_per_face=ms, **facts)
        (folder / _PRECISION_FILES[precision]).write_bytes(data)
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
        "machine": _machine(),
        "models": models,
    }


def _spread(total: int, wanted: int) -> npt.NDArray[np.int64]:
    """Indices spread evenly: the first rows of a source are often all of one class."""
    return np.linspace(0, total - 1, min(total, wanted)).round().astype(np.int64)


def _random_rows(total: int, wanted: int) -> npt.NDArray[np.int64]:
    """Sorted random rows, the same in every export."""
    chosen = np.random.default_rng(0).permutation(total)[: min(total, wanted)]
    return np.sort(chosen)


def _machine() -> str:
    """The processor, by what the system calls it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return f"{line.split(':', 1)[1].strip()} ({platform.machine()})"
    except OSError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    run_command(main)
