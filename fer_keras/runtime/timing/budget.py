"""Which model and detector read a picture within a number of milliseconds."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.decode import decode_image
from fer_keras.common.errors import ConfigError
from fer_keras.common.files import read_json
from fer_keras.common.opencv import cv2
from fer_keras.runtime.export_files import MANIFEST
from fer_keras.runtime.faces import DETECTORS, build_detector
from fer_keras.runtime.shipped import default_model
from fer_keras.runtime.timing.timing import picture_bytes

_CALLS = 30


def shipped_models() -> list[Path]:
    """The export folders of all models that are shipped."""
    return sorted(path.parent for path in default_model().parent.glob(f"*/{MANIFEST}"))


def detector_ms(picture: Path | None, threads: int) -> dict[str, float]:
    """Median milliseconds of every detector that can be used here and finds a face.

    Args:
        picture: None for the drawn scene.
        threads: Of OpenCV.

    Returns:
        By name of the detector, "none" among them; they took turns.
    """
    pixels = decode_image(picture_bytes(picture), channels=3, source="picture")
    cv2.setNumThreads(threads)
    usable = {}
    for name in DETECTORS:
        try:
            detector = build_detector(name)
        except ConfigError:
            continue
        if detector.detect(pixels):
            usable[name] = detector
    taken: dict[str, list[float]] = {name: [] for name in usable}
    for _ in range(_CALLS):
        for name, detector in usable.items():
            start = time.perf_counter()
            detector.detect(pixels)
            taken[name].append(1000 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in taken.items()}


def budget_rows(
    models: Sequence[Mapping[str, Any]], detectors: Mapping[str, float], budget_ms: float
) -> list[dict[str, Any]]:
    """What fits, the most accurate model first, then the fastest.

    Args:
        models: Of `summarise`; those without stages are left out.
        detectors: Of `detector_ms`.
        budget_ms: For decoding, detecting, aligning and classifying one face.

    Returns:
        `model`, `detector`, `ms` and `accuracy` (on validation pictures, None where unknown).
    """
    rows = []
    for model in models:
        stages = model["stages"]
        if not stages:
            continue
        others_ms = sum(stages[stage]["p50_ms"] for stage in ("decode", "align", "classify"))
        for name, detect_ms in detectors.items():
            if others_ms + detect_ms <= budget_ms:
                rows.append(
                    {
                        "model": model["name"],
                        "detector": name,
                        "ms": round(others_ms + detect_ms, 2),
                        "accuracy": _accuracy(model),
                    }
                )
    return sorted(rows, key=lambda row: (-(row["accuracy"] or 0.0), row["ms"]))


def budget_text(rows: Sequence[Mapping[str, Any]], budget_ms: float) -> str:
    """The rows as a table, or what to do where there are none."""
    if not rows:
        return (
            f"nothing reads a picture with one face in {budget_ms:g} ms here. Look for faces less "
            "often (camera --detect-every 10), or take ready crops (--box)"
        )
    lines = [f"fits into {budget_ms:g} ms: decode, detect, align and classify one face, p50"]
    for row in rows:
        accuracy = "" if row["accuracy"] is None else f"  accuracy {row['accuracy']:.4f}"
        lines.append(f"{row['ms']:8.2f} ms  {row['model']}, {row['detector']}{accuracy}")
    lines.append("accuracies of models of different data sets do not compare")
    return "\n".join(lines)


def _accuracy(model: Mapping[str, Any]) -> float | None:
    """Of this very file, in the parity figures of its manifest."""
    path = Path(model["path"])
    folder = path if path.is_dir() else path.parent
    manifest = read_json(folder / MANIFEST)
    kind = model["precision"] or (model["engine"] if path.is_dir() else "")
    figures = manifest.get("parity", {}).get("models", {}).get(kind, {})
    return figures.get("accuracy")
