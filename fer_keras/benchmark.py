"""How fast models are on this machine: `python -m fer_keras.benchmark MODEL [MODEL ...]`.

Milliseconds per face for one thread and more, load time, peak memory, and where the time of a
picture goes. Every model runs in a process of its own; they take turns, so that whatever else the
machine does hits all alike.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_keras.errors import ConfigError, run_command
from fer_keras.files import write_text

if TYPE_CHECKING:
    from fer_keras.runtime.turns import Choice, Timings

_PRECISIONS = ("float32", "float16", "dynamic", "int8")
_EXAMPLES = """\
examples:
  python -m fer_keras.benchmark                              the shipped model
  python -m fer_keras.benchmark runs/NAME/export             all its precisions
  python -m fer_keras.benchmark runs/A/export runs/B/export --precision int8 --output bench.json
  python -m fer_keras.benchmark runs/NAME/export other.tflite --threads 1
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

  A .tflite file without manifest.json and labels.txt beside it is another project's: it is timed
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
    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"--output: the folder does not exist. Create it first: {output.parent}")
    from fer_keras.runtime.machine import describe_machine, machine_state, summary
    from fer_keras.runtime.turns import ROUNDS, find_choices, measure

    machine = describe_machine()
    threads = arguments.threads or _thread_counts(machine["usable_cores"] or 1)
    choices = find_choices(arguments.models, arguments.precision)
    before = machine_state()
    timings = measure(
        choices,
        threads=threads,
        calls=arguments.runs,
        detector=arguments.detector,
        picture=arguments.picture,
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
    print(f"\n{speed_table(report['models'])}\n\n{stage_table(report['models'])}")
    if output is not None:
        write_text(output, json.dumps(report, indent=2) + "\n")
    return 0


def summarise(choices: Sequence["Choice"], timings: Sequence["Timings"]) -> list[dict[str, Any]]:
    """The report's entry of each model.

    Args:
        choices: Of `find_choices`.
        timings: Of `measure`.

    Returns:
        `name`, `path`, `precision`, the facts of `Timings`, `threads` (count -> `p50_ms`, `p95_ms`,
        `min_ms`, `n`, `x_first`), `stages` (stage -> the same without `x_first`) and
        `full_peak_mib`. JSON-ready.
    """
    import numpy as np

    def percentiles(taken: Sequence[float]) -> dict[str, Any]:
        low, p50, p95 = (round(float(value), 4) for value in np.percentile(taken, [0, 50, 95]))
        return {"p50_ms": p50, "p95_ms": p95, "min_ms": low, "n": len(taken)}

    entries = []
    for choice, timing in zip(choices, timings, strict=True):
        threads = {}
        for count, rounds in timing.by_threads.items():
            # Round by round, because the two models of a ratio then met the same machine.
            ratios = [
                float(np.median(mine) / np.median(firsts))
                for mine, firsts in zip(rounds, timings[0].by_threads[count], strict=True)
            ]
            threads[str(count)] = {
                **percentiles([ms for taken in rounds for ms in taken]),
                "x_first": round(float(np.median(ratios)), 3),
            }
        entries.append(
            {
                "name": choice.name,
                "path": str(choice.path),
                "precision": choice.precision,
                **timing.facts,
                "threads": threads,
                "stages": {stage: percentiles(taken) for stage, taken in timing.stages.items()},
                "full_peak_mib": timing.full_peak_mib,
            }
        )
    return entries


def speed_table(models: Sequence[dict[str, Any]]) -> str:
    """A row for each model and thread count of a report."""
    rows = [
        ("model", "KiB", "load ms", "ready ms", "MiB", "threads", "min", "p50", "p95", "x first")
    ]
    for model in models:
        once = (
            model["name"],
            f"{model['bytes'] / 1024:,.0f}",
            f"{model['load_ms']:.1f}",
            f"{model['ready_ms']:.0f}",
            _number(model["peak_mib"], ".0f"),
        )
        for count, row in model["threads"].items():
            figures = [f"{row[key]:.3f}" for key in ("min_ms", "p50_ms", "p95_ms")]
            rows.append((*once, count, *figures, f"{row['x_first']:.2f}"))
            once = ("", "", "", "", "")
    return "ms per face\n" + _aligned(rows)


def stage_table(models: Sequence[dict[str, Any]]) -> str:
    """A row for each model of a report that has stages."""
    from fer_keras.runtime.timing import STAGES

    rows = [("model", *STAGES, "sum", "faces/s", "MiB")]
    for model in models:
        if model["stages"]:
            taken = [model["stages"][stage]["p50_ms"] for stage in STAGES]
            figures = [f"{ms:.2f}" for ms in (*taken, sum(taken))]
            peak = _number(model["full_peak_mib"], ".0f")
            rows.append((model["name"], *figures, f"{1000 / sum(taken):.0f}", peak))
    if len(rows) == 1:
        return "no stages: none of the models is an export of fer_keras"
    return "a picture with one face, p50 of each stage in ms\n" + _aligned(rows)


def state_line(before: dict[str, Any], after: dict[str, Any]) -> str:
    """What the machine did meanwhile, with a warning where it was slowed down."""
    parts = []
    if before["load_average"] is not None:
        parts.append(f"load average before {before['load_average']:.2f}")
    for key, unit in (("temperature_c", "°C"), ("mhz", "MHz")):
        if before[key] is not None and after[key] is not None:
            parts.append(f"{before[key]:.0f} -> {after[key]:.0f} {unit}")
    if after["throttled"]:
        parts.append(f"WARNING: {', '.join(after['throttled'])}: the figures are too slow")
    return ", ".join(parts) or "the machine does not tell its load, clock or temperature"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *_right(row[1:], widths[1:])]).rstrip() for row in rows
    )


def _right(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    return (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


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
        "--picture", type=Path, metavar="FILE", help="for the stages (default: a drawn scene)"
    )
    parser.add_argument(
        "--detector",
        default="mtcnn",
        metavar="NAME",
        help="for the stages: mtcnn (default), haar, yunet, blazeface, none",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write a JSON report too")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, received {text!r}")
    return int(text)


if __name__ == "__main__":
    run_command(main)
