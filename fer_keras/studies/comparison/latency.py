"""Milliseconds per face and products of every model of a comparison, on one runtime.

A Keras network is timed, and its products are counted, as the float32 TFLite file of its export:
one runtime and one definition for all models.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ExportError
from fer_keras.runtime.timing.tables import summarise
from fer_keras.runtime.timing.turns import Choice, measure
from fer_keras.studies.comparison.complexity import onnx_macs, tflite_macs
from fer_keras.studies.comparison.contenders import Contender

# OpenVINO's files are not counted.
_COUNTS = {".onnx": onnx_macs, ".tflite": tflite_macs}
_UNKNOWN: dict[str, Any] = {
    "macs": None,
    "ms_per_face": None,
    "ms_p95": None,
    "ms_min": None,
    "not_timed": "",
}


def cost_figures(contenders: Sequence[Contender], *, calls: int) -> list[dict[str, Any]]:
    """Counts and times models in turns, each in a process of its own, on one thread.

    A Keras network is converted to the float32 TFLite file that an export of it would hold, so
    that all are run by the runtime that users run; an ONNX file is run by ONNX Runtime, the file
    of an export for another engine by that one.

    Args:
        contenders: The models.
        calls: Runs of each, spread over ten rounds; 0 counts and does not time.

    Returns:
        `macs`, `ms_per_face` (median), `ms_p95` and `ms_min` of each, None where unknown, and
        `not_timed`: why not, where a network cannot be converted.
    """
    figures = [dict(_UNKNOWN) for _ in contenders]
    with tempfile.TemporaryDirectory(prefix="fer_keras-") as folder:
        choices: list[tuple[int, Choice]] = []
        for i, contender in enumerate(contenders):
            try:
                suffix, content = contender.graph()
            except ExportError as error:
                figures[i]["not_timed"] = str(error)
                continue
            count = _COUNTS.get(suffix)
            figures[i]["macs"] = None if count is None else count(content)
            if contender.engine != "litert":
                folder_of = contender.model.path.parent
                choices.append((i, Choice(contender.model.name, folder_of, None, contender.engine)))
                continue
            # Without labels beside it, a file is timed as it is.
            file = Path(folder) / f"{i}{suffix}"
            file.write_bytes(content)
            choices.append((i, Choice(contender.model.name, file, None)))
        if not calls or not choices:
            return figures
        only = [choice for _, choice in choices]
        entries = summarise(only, measure(only, threads=[1], calls=calls, detector="none"))
        for (i, _), entry in zip(choices, entries, strict=True):
            timed = entry["threads"]["1"]
            figures[i] |= {
                "ms_per_face": timed["p50_ms"],
                "ms_p95": timed["p95_ms"],
                "ms_min": timed["min_ms"],
            }
    return figures
