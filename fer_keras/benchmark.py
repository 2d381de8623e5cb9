"""How fast models are on this machine: `python -m fer_keras.benchmark MODEL [MODEL ...]`.

Milliseconds per face for one thread and more, load time, peak memory, and where the time of a
picture goes. Every model runs in a process of its own; they take turns, so that whatever else the
machine does hits all alike.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.arguments import milliseconds
from fer_keras.common.errors import run_command
from fer_keras.common.files import write_text
from fer_keras.runtime.timing.machine import describe_machine, machine_state, summary
from fer_keras.runtime.timing.tables import (
    batch_table,
    speed_table,
    stage_table,
    state_line,
    summarise,
)

_PRECISIONS = ("float32", "float16", "dynamic", "int8")
_EXAMPLES = """\
examples:
  python -m fer_keras.benchmark                              the shipped model
  python -m fer_keras.benchmark runs/NAME/export             all its precisions
  python -m fer_keras.benchmark runs/A/export runs/B/export --precision int8 --output bench.json
  python -m fer_keras.benchmark runs/NAME/export other.tflite --threads 1
  python -m fer_keras.benchmark --budget 33ms                 what fits into 30 pictures a second
  python -m fer_keras.benchmark runs/NAME/export --picture photo.jpg --detector haar

what is measured:
  ms per face   setting the input of one face, running, getting the output: the fastest
                run, half of the runs (p50) and nearly all (p95) take at most this
  x first       p50 divided by that of the first model, the median over the rounds
  load          reading, verifying and preparing the file, once, in a fresh process
  ready         from the start of Python to the first answer
  memory        most memory held by a process with NumPy, OpenCV, LiteRT and the model in it, and
                by one that finds faces too (Linux only)
  stages        decode (the picture file), detect (all its faces), align and classify (one face)

  A .tflite file without manifest.json beside it is another project's: it is timed
  on random input of its own shape, and has no stages. Read ratios rather than milliseconds
  where the machine is busy.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None takes the command line's.

    Returns:
        Exit code 0.

    Raises:
        FerKerasError: A model, the picture or an argument cannot be used.
    """
    arguments = _parser().parse_args(argv)
    output: Path | None = arguments.output
    from fer_keras.runtime.timing.budget import (
        budget_rows,
        budget_text,
        detector_ms,
        shipped_models,
    )
    from fer_keras.runtime.timing.turns import ROUNDS, find_choices, measure

    machine = describe_machine()
    threads = arguments.threads or _thread_counts(machine["usable_cores"])
    budget_ms: float | None = arguments.budget
    models = arguments.models
    if budget_ms is not None and not models:
        models = shipped_models()
    choices = find_choices(models, arguments.precision)
    before = machine_state()
    timings = measure(
        choices,
        threads=threads,
        calls=arguments.runs,
        detector=arguments.detector,
        picture=arguments.picture,
        batches=sorted({batch for batch in arguments.batches if batch > 1}),
    )
    report: dict[str, Any] = {
        "format": 1,
        "machine": machine,
        "before": before,
        "after": machine_state(),
        "settings": {
            "rounds": ROUNDS,
            "runs": arguments.runs,
            "detector": arguments.detector,
            "picture": str(arguments.picture or "drawn scene, 640 x 480, JPEG"),
        },
        "models": summarise(choices, timings),
    }
    print(summary(machine))
    print(state_line(report["before"], report["after"]))
    print(f"\n{speed_table(report['models'])}\n")
    print(f"{batch_table(report['models'])}{stage_table(report['models'])}")
    if budget_ms is not None:
        detectors = detector_ms(arguments.picture, threads[0])
        rows = budget_rows(report["models"], detectors, budget_ms)
        report["budget"] = {"ms": budget_ms, "detectors_ms": detectors, "fits": rows}
        print(f"\n{budget_text(rows, budget_ms)}")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, json.dumps(report, indent=2) + "\n")
    return 0


def _thread_counts(cores: int) -> list[int]:
    """1, 2, 4 ... and all the cores."""
    counts = [1]
    while counts[-1] * 2 <= cores:
        counts.append(counts[-1] * 2)
    return counts if counts[-1] == cores else [*counts, cores]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.benchmark",
        description="Measure how fast models are on this machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "models", nargs="*", type=Path, metavar="MODEL", help="export folder or .tflite file"
    )
    parser.add_argument(
        "--threads",
        type=_positive,
        nargs="+",
        metavar="N",
        help="thread counts; stages use the first (default: 1, 2, 4 ... up to the cores)",
    )
    parser.add_argument(
        "--precision", choices=_PRECISIONS, help="which file of the folders (default: all)"
    )
    parser.add_argument(
        "--runs", type=_positive, default=200, metavar="N", help="of each model (default: 200)"
    )
    parser.add_argument(
        "--batches",
        type=_positive,
        nargs="+",
        default=[1, 8, 32],
        metavar="N",
        help="faces of a run; a TFLite file of an export takes one at a time (default: 1 8 32)",
    )
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="for the stages (default: a drawn scene)"
    )
    parser.add_argument(
        "--detector",
        default="mtcnn",
        metavar="NAME",
        help="for the stages: mtcnn (default), haar, yunet, blazeface, none",
    )
    parser.add_argument(
        "--budget",
        type=milliseconds,
        metavar="MS",
        help="say which model and detector read a picture in so many milliseconds, such as 33ms; "
        "without MODEL, of all shipped ones",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write a JSON report too")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, received {text!r}")
    return int(text)


if __name__ == "__main__":
    run_command(main)
