"""AffectNet repacked as the programs of ESR read it: a face a file, its annotation in the name.

`Training_Labeled/0/0000000_7_-653_653.jpg` is face 0 with expression code 7, valence -0.653 and
arousal 0.653 (-2000 where there is none); a folder holds 500 faces. `affectnet_esr` reads it.
"""

import itertools
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fer_keras.common.decode import read_image, resize
from fer_keras.common.errors import DataError
from fer_keras.common.opencv import cv2
from fer_keras.common.progress import progress
from fer_keras.data.datasets.affectnet_esr import FOLDERS
from fer_keras.data.datasets.affectnet_files import CODES, open_release
from fer_keras.data.records import cropped
from fer_keras.data.samples import Example

PORTION = 500
_JPEG_QUALITY = 95
_NO_RATING = -2000


def write_esr_folders(source: Path, target: Path, size: int) -> dict[str, int]:
    """Cuts every face out, scales it and writes it under its annotation.

    Args:
        source: The root of a release of AffectNet.
        target: A folder that is new or empty; it has all of it or nothing.
        size: Side of the square pictures in pixels.

    Returns:
        Split -> number of faces.

    Raises:
        DataError: The release is not as it should be, a picture cannot be read, the folder holds
            something, or the disk cannot be written.
    """
    if size < 8:
        raise DataError(f"--size: expected at least 8 pixels. Received: {size}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"--output: expected a new or empty folder. It holds files: {target}")
    splits = open_release(source)
    labels = {code: code for code in CODES}
    counts: dict[str, int] = {}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            for split, annotated in splits.items():
                kept = np.isin(annotated.codes, list(CODES))
                counts[split] = int(kept.sum())
                faces = annotated.examples(kept, labels)
                _write_split(faces, building / FOLDERS[split], size, counts[split])
            building.chmod(0o755)
            if target.exists():
                target.rmdir()
            building.rename(target)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise DataError(f"--output: cannot be written ({error.strerror}): {target}") from error
    return counts


def _write_split(faces: Iterable[Example], folder: Path, size: int, total: int) -> None:
    # Decoding and scaling leave Python's lock, so threads are enough.
    with (
        ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool,
        progress(f"writing {folder.name}", total) as bar,
    ):
        for portion, chunk in enumerate(_chunks(faces)):
            place = folder / str(portion)
            place.mkdir(parents=True)
            paths = [
                place / f"{PORTION * portion + i:07d}_{face.label}_{_affect(face)}.jpg"
                for i, face in enumerate(chunk)
            ]
            for _ in pool.map(_write_face, chunk, paths, itertools.repeat(size)):
                bar.update()


def _chunks(faces: Iterable[Example]) -> Iterator[list[Example]]:
    remaining = iter(faces)
    while chunk := list(itertools.islice(remaining, PORTION)):
        yield chunk


def _affect(face: Example) -> str:
    ratings = (float(face.attributes[name]) for name in ("valence", "arousal"))
    return "_".join(str(_NO_RATING if math.isnan(x) else round(1000 * x)) for x in ratings)


def _write_face(face: Example, path: Path, size: int) -> None:
    picture = Path(str(face.image))
    pixels = read_image(picture)
    if face.crop is not None:
        pixels = cropped(pixels, face.crop, str(picture))
    bgr = cv2.cvtColor(resize(pixels, size), cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    path.write_bytes(bytes(encoded))
