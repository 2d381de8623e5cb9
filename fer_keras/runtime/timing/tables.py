"""The figures of a benchmark as tables."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_keras.runtime.timing.turns import Choice, Timings


def summarise(choices: Sequence["Choice"], timings: Sequence["Timings"]) -> list[dict[str, Any]]:
    """The report's entry of each model.

    Args:
        choices: Of `find_choices`.
        timings: Of `measure`.

    Returns:
        `name`, `path`, `precision`, `engine`, the facts of `Timings`, `threads` (count ->
        `p50_ms`, `p95_ms`, `min_ms`, `n`, `x_first`), `batches` (faces of a run) and `stages`
        (stage), both -> the same without `x_first`, and `full_peak_mib`. JSON-ready.
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
                "engine": choice.engine,
                "threads": threads,
                "batches": {
                    str(batch): percentiles([ms for taken in rounds for ms in taken])
                    for batch, rounds in timing.by_batch.items()
                },
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


def batch_table(models: Sequence[dict[str, Any]]) -> str:
    """A row for each model and a column for each size of batch; empty without batches."""
    sizes = list(models[0]["batches"]) if models else []
    if not sizes:
        return ""
    first = next(iter(models[0]["threads"]))
    rows = [("faces of a run", "1", *sizes)]
    for model in models:
        taken = [model["threads"][first], *(model["batches"][size] for size in sizes)]
        rows.append((model["name"], *(f"{row['p50_ms']:.3f}" for row in taken)))
    return (
        f"ms per face in batches, {first} thread{'s' * (first != '1')}, p50\n{_aligned(rows)}\n\n"
    )


def stage_table(models: Sequence[dict[str, Any]]) -> str:
    """A row for each model of a report that has stages."""
    from fer_keras.runtime.timing.timing import STAGES

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
