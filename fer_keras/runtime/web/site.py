"""All files of the page, held in memory: what is not in this list does not exist for the server."""

import hashlib
import json
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.common.prior import (
    PriorChoice,
    prior_weights,
    read_class_prior,
    read_default_prior,
)
from fer_keras.runtime.decision import read_decision
from fer_keras.runtime.export_files import ModelFiles, read_model_files
from fer_keras.runtime.recognizer import Precision, Recognizer
from fer_keras.runtime.web.vendored import DETECTOR_FILE, PACKAGES, read_vendored

_STATIC_FOLDER = Path(__file__).parent / "static"
_STATIC_FILES = (
    "index.html", "icon.svg", "style.css", "app.js", "classifier.js", "faces.js", "pixels.js",
    "smoothing.js", "view.js", "sample.png",
)  # fmt: skip
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".wasm": "application/wasm",
    ".tflite": "application/octet-stream",
}
_MODEL_FORMAT = 2
# The thresholds of an export are fitted for every twentieth.
_PRIOR_STEPS = 20


@dataclass(frozen=True)
class SiteFile:
    """One file of the page.

    Attributes:
        content: Its bytes.
        media_type: For the Content-Type header.
    """

    content: bytes
    media_type: str


def build_site(
    model: str | PathLike[str], precision: Precision | None = None, min_face: int | None = None
) -> dict[str, SiteFile]:
    """Read everything the page consists of.

    The model is verified and run once, as `Recognizer` does it. The face detector came with
    `web build`.

    Args:
        model: As for `Recognizer`.
        precision: As for `Recognizer`.
        min_face: Side of the smallest face to look for, in pixels of the picture; None looks at
            whole pictures, as `Recognizer` with blazeface.

    Returns:
        Path relative to the page ("index.html", "model/model.tflite") -> file.

    Raises:
        ModelFileError: The model cannot be used, or not in the page.
        ConfigError: The files of LiteRT.js and the detector are not built.
    """
    built = read_vendored()
    files = {"model/face_detector.tflite": built.pop(DETECTOR_FILE)}
    files |= {f"vendor/{name}": content for name, content in built.items()}
    for name in _STATIC_FILES:
        files[name] = (_STATIC_FOLDER / name).read_bytes()
    files["model/model.tflite"], description = _read_model(model, precision)
    description["detector"] = "blazeface"
    description["min_face"] = min_face
    files["model/model.json"] = json.dumps(description, ensure_ascii=False, indent=2).encode()
    return {
        name: SiteFile(content, _MEDIA_TYPES[Path(name).suffix])
        for name, content in sorted(files.items())
    }


def save_site(site: dict[str, SiteFile], folder: Path) -> None:
    """Write the page as a folder of static files, for another web server.

    Args:
        site: From `build_site`.
        folder: Must not exist, or be empty.

    Raises:
        ConfigError: The folder holds files already.
        OSError: It cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--output: expected a new or empty folder, it holds files: {folder}")
    for name, file in site.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)


def _read_model(
    model: str | PathLike[str], precision: Precision | None
) -> tuple[bytes, dict[str, Any]]:
    """The model's bytes and what the page must know about it."""
    files = read_model_files(model, precision)
    if files.manifest.get("input_kind", "image") != "image":
        raise ModelFileError(
            f"input_kind: the page runs models of one image, received "
            f"{files.manifest['input_kind']!r}. Use python -m fer_keras.camera: {files.path}"
        )
    if files.card is not None and not files.card.takes_raw_pixels:
        raise ModelFileError(
            "the page gives raw pixels 0..255, grey or RGB, and reads probabilities; the card says "
            f"otherwise. Use python -m fer_keras.camera: {files.path}"
        )
    # Checks the file as the Python runtime does, and knows its size without a manifest.
    # Thresholds for the file as it is; those for another prior stand beside its weights.
    recognizer = Recognizer(files.path, detector="none", prior="training")
    height, width = recognizer.image_size
    if height != width:
        raise ModelFileError(
            f"image_size: the page cuts out squares and needs a square input, received "
            f"{[height, width]}: {files.path}"
        )
    own = recognizer.decision.class_thresholds
    precisions = {name: kind for kind, name in files.manifest.get("precision_files", {}).items()}
    return files.content, {
        "format": _MODEL_FORMAT,
        "name": files.manifest.get("name", files.path.stem),
        "precision": precisions.get(files.path.name),
        "sha256": hashlib.sha256(files.content).hexdigest(),
        "class_names": list(files.class_names),
        "outputs": list(files.outputs),
        "input": _read_input(files),
        "side": height,
        "channels": recognizer.channels,
        "decision": {
            "reject_threshold": recognizer.decision.reject_threshold,
            "conformal_threshold": recognizer.decision.conformal_threshold,
            **({"conformal_by_class": list(own)} if own else {}),
        },
        **_read_priors(files),
        "runtime": f"{PACKAGES[0].name} {PACKAGES[0].version} ({PACKAGES[0].licence})",
    }


def _read_priors(files: ModelFiles) -> dict[str, Any]:
    """What the page's slider of the class prior does, and where it begins.

    The arithmetic of a class prior and the choice of thresholds stay in Python: the page multiplies
    by the weights of the step that is chosen.
    """
    names, manifest, path = files.class_names, files.manifest, files.path
    shares = read_class_prior(manifest, names, path)
    default = read_default_prior(manifest, path)
    if shares is None or min(shares) <= 0:
        return {"priors": [], "default_tau": 0.0}
    priors = []
    for step in range(_PRIOR_STEPS + 1):
        choice = PriorChoice(tau=step / _PRIOR_STEPS)
        decision = read_decision(manifest, path, choice)
        priors.append(
            {
                "tau": choice.tau,
                "weights": prior_weights(names, shares, choice).tolist(),
                "decision": asdict(decision),
            }
        )
    # A default of other shares is no step of the slider, which then begins at the training's.
    tau = round(default.tau * _PRIOR_STEPS) / _PRIOR_STEPS if not default.shares else 0.0
    return {"priors": priors, "default_tau": tau}


def _read_input(files: ModelFiles) -> dict[str, Any]:
    """The type of the input, and what one step of it is, which LiteRT.js does not say."""
    details = Interpreter(model_content=files.content).get_input_details()[0]
    dtype = details["dtype"].__name__
    if dtype not in ("float32", "uint8"):
        raise ModelFileError(
            f"input: LiteRT.js takes float32 or uint8 pixels, received {dtype}. Choose another "
            f"--precision: {files.path}"
        )
    batch_size = int(details["shape_signature"][0])
    if batch_size != 1:
        raise ModelFileError(
            f"input: LiteRT.js needs a fixed batch size of 1, as exports of this project have, "
            f"received {batch_size}. Convert the model with it: {files.path}"
        )
    scale, zero_point = details["quantization"]
    return {"dtype": dtype, "scale": float(scale) or 1.0, "zero_point": int(zero_point)}
