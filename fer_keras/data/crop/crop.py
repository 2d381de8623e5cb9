"""Cuts the faces out of a folder of photos, and writes down what became of every photo.

`OUT/pictures` gets the folders of the source with PNG files in place of the photos, so that it can
be read as data set `folder` where the source could; see `crop_table` for the files beside it.
"""

import math
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fer_keras.common.decode import IMAGE_SUFFIXES, read_image, resize
from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.files import atomic_path, is_litter
from fer_keras.common.opencv import cv2
from fer_keras.data.crop.crop_table import (
    PICTURES,
    TABLE,
    Row,
    csv_text,
    finished_rows,
    make_row,
    open_folder,
    output_stems,
    refuse_foreign_files,
    write_table,
)
from fer_keras.runtime.faces import Detector, Face, align_face, build_detector, crop_upright

Pixels = NDArray[np.uint8]

_BOX_COLOUR, _DOT_COLOUR = (255, 0, 0), (0, 255, 0)


@dataclass(frozen=True)
class CropSettings:
    """How faces are found and what is written.

    Attributes:
        detector: One of `fer_keras.runtime.faces.DETECTORS`.
        align: Turn the face upright and bring its landmarks to ArcFace's template; False cuts out
            the squared box; None aligns where the detector gives landmarks.
        size: Side of the pictures written, in pixels, 16 to 1024.
        margin: What to add on each side of the squared box, as a share of its side, over -0.5 and
            at most 2; None takes the detector's own. Not with `align`.
        faces: `"largest"` or `"all"` faces of a photo.
        undetected: `"drop"` a photo without a face, or `"keep"` it whole, resized.
        draw: Write the whole photo, resized, with box and landmarks drawn, in place of the crop.
    """

    detector: str = "mtcnn"
    align: bool | None = None
    size: int = 112
    margin: float | None = None
    faces: Literal["largest", "all"] = "largest"
    undetected: Literal["drop", "keep"] = "drop"
    draw: bool = False


def crop_folder(
    source: Path,
    out: Path,
    settings: CropSettings,
    *,
    progress: bool = False,
    unreadable: Callable[[OSError], None] | None = None,
) -> tuple[list[Row], list[Path]]:
    """Cut the faces out of every photo below a folder.

    Run again with the same arguments it goes on: photos in the table are not read again, except
    those that could not be read and those whose pictures are gone.

    Args:
        source: Photos in folders of any depth; hidden files are no photos.
        out: A folder that is empty, not there yet, or from an earlier run.
        settings: What to do.
        progress: Show a progress bar on stderr.
        unreadable: Called with the error of a folder below the source that cannot be read; the
            photos of the others are cut out. None raises it.

    Returns:
        The rows of `OUT/crops.csv`, sorted by path: one for each photo, with faces `"all"` one for
        each face; and the files below `source` that are no photos and were passed over.

    Raises:
        ConfigError: A setting is out of range, does not fit another, or the detector cannot be
            used.
        DataError: `source` has no photos, or `out` holds something else.
    """
    detector = build_detector(settings.detector)
    settings = _resolved(settings, detector)
    photos, passed_over = _list_photos(source, unreadable)
    root, target = source.resolve(), out.resolve()
    if target == root or root in target.parents or target in root.parents:
        raise DataError(f"--out: expected a folder apart from the source {source}: {out}")
    stems = output_stems(photos)
    open_folder(out, {"source": str(root), **asdict(settings)})
    rows = finished_rows(out)
    gone = sorted(set(rows) - set(photos))
    if gone:
        raise DataError(
            f"the table tells of {len(gone)} photos that are not in {source}, the first is "
            f"{gone[0]}. Bring them back, or choose another --out: {out / TABLE}"
        )
    refuse_foreign_files(out, rows.values(), stems.values())
    write_table(out, rows)
    pending = [name for name in photos if name not in rows]
    with (out / TABLE).open("a", encoding="utf-8", newline="") as stream:
        for name in tqdm(pending, unit="photo", file=sys.stderr, disable=not progress):
            rows[name] = _crop_photo(photos[name], name, stems[name], out, settings, detector)
            stream.write(csv_text(rows[name]))
            stream.flush()
            os.fsync(stream.fileno())
    write_table(out, rows)
    return [row for name in sorted(rows) for row in rows[name]], passed_over


def draw_faces(picture: Pixels, faces: Iterable[Face], size: int) -> Pixels:
    """The whole picture, resized, with each face's box and landmarks on it.

    They are drawn after the resizing, so that they have the same width in every picture.

    Args:
        picture: uint8 RGB array `(height, width, 3)`.
        faces: What a detector found in it.
        size: Side of the result in pixels; a picture that is not square is squeezed.

    Returns:
        uint8 RGB array `(size, size, 3)`.
    """
    height, width = picture.shape[:2]
    scale = np.array([size / width, size / height])
    canvas = resize(picture, size).copy()
    for face in faces:
        corners = np.array(face.box).reshape(2, 2).cumsum(axis=0) * scale - ((0, 0), (1, 1))
        low, high = np.rint(corners).astype(int).tolist()
        cv2.rectangle(canvas, low, high, _BOX_COLOUR, max(1, size // 112))
        points = np.empty((0, 2)) if face.landmarks is None else face.landmarks * scale
        for centre in np.rint(points).astype(int).tolist():
            cv2.circle(canvas, centre, max(1, size // 80), _DOT_COLOUR, -1)
    return canvas


def _resolved(settings: CropSettings, detector: Detector) -> CropSettings:
    """The settings with what None stands for filled in."""
    if not 16 <= settings.size <= 1024:
        raise ConfigError(f"--size: expected 16 to 1024 pixels, received {settings.size}")
    margin = settings.margin
    if margin is not None and not (math.isfinite(margin) and -0.5 < margin <= 2):
        raise ConfigError(f"--margin: expected over -0.5 and at most 2, received {margin}")
    if settings.draw and (settings.align or margin is not None):
        raise ConfigError("--draw writes the whole photo: leave out --align and --margin")
    if settings.align and margin is not None:
        raise ConfigError("--margin grows the box that is cut out: it goes with --no-align")
    if settings.align and not detector.has_landmarks:
        raise ConfigError(
            f"--align needs landmarks, which the detector {detector.name!r} does not give. Mend: "
            "--no-align, or --detector mtcnn"
        )
    align = settings.align
    if align is None:
        align = detector.has_landmarks and margin is None and not settings.draw
    return replace(settings, align=align, margin=detector.margin if margin is None else margin)


def _list_photos(
    source: Path, unreadable: Callable[[OSError], None] | None
) -> tuple[dict[str, Path], list[Path]]:
    """Path below the source as text -> photo; and the other files; both sorted."""
    if not source.is_dir():
        raise DataError(f"expected a folder of photos, found none. Check the path: {source}")

    def refuse(error: OSError) -> None:
        if unreadable is None:
            raise error
        unreadable(error)

    photos: list[Path] = []
    passed_over: list[Path] = []
    for parent, folders, files in os.walk(source, onerror=refuse):
        # Links are not followed (they may lead back up); what systems leave holds no photos.
        links = [name for name in folders if Path(parent, name).is_symlink()]
        hidden = [name for name in folders if is_litter(name)]
        passed_over += [Path(parent, name) for name in dict.fromkeys(links + hidden)]
        folders[:] = [name for name in folders if name not in links + hidden]
        for name in files:
            path = Path(parent, name)
            is_photo = path.suffix.lower() in IMAGE_SUFFIXES and not is_litter(name)
            (photos if is_photo else passed_over).append(path)
    if not photos:
        raise DataError(
            f"the folder holds no picture ({', '.join(IMAGE_SUFFIXES)}; {len(passed_over)} other "
            f"files). Check the path: {source}"
        )
    below = {_printable(path.relative_to(source).as_posix()): path for path in photos}
    return dict(sorted(below.items())), sorted(passed_over)


def _printable(path: str) -> str:
    """The path as text; bytes that are no UTF-8 are written as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _crop_photo(
    photo: Path, name: str, stem: str, out: Path, settings: CropSettings, detector: Detector
) -> list[Row]:
    """Write one photo's pictures; its rows."""
    try:
        picture = read_image(photo)
        faces = detector.detect(picture)
        chosen = faces if settings.faces == "all" else faces[:1]
        if settings.draw or not faces:
            pictures = [draw_faces(picture, chosen, settings.size)]
        else:
            pictures = [_crop(picture, face, settings) for face in chosen]
    except DataError as error:
        return [make_row(name, "unreadable", reason=_printable(str(error)))]
    number = str(len(faces))
    if not faces and settings.undetected == "drop":
        return [make_row(name, "no_face", faces=number)]
    outputs = [f"{PICTURES}/{stem}.png"] * max(1, len(chosen))
    if settings.faces == "all" and not settings.draw:
        endings = [f"face{index}" for index in range(len(faces))] or ["whole"]
        outputs = [f"{PICTURES}/{stem}_{ending}.png" for ending in endings]
    # A drawn picture shows all its faces.
    for output, pixels in zip(dict.fromkeys(outputs), pictures, strict=True):
        _write_png(out / output, pixels)
    if not faces:
        return [make_row(name, "whole_kept", faces=number, output=outputs[0])]
    status = "largest_kept" if len(chosen) < len(faces) else "kept"
    return [
        make_row(name, status, face, faces=number, face_number=str(index), output=output)
        for index, (face, output) in enumerate(zip(chosen, outputs, strict=True))
    ]


def _crop(picture: Pixels, face: Face, settings: CropSettings) -> Pixels:
    if settings.align and face.landmarks is not None:
        return align_face(picture, face.landmarks, settings.size)
    size = settings.size, settings.size
    return crop_upright(picture, face.box, face.landmarks, size, settings.margin)


def _write_png(path: Path, picture: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
