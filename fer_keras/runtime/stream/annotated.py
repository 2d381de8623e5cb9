"""Writes pictures with what was read in them: `predict --save-images`."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import atomic_path
from fer_keras.common.opencv import cv2
from fer_keras.runtime.recognizer import FaceResult
from fer_keras.runtime.stream.overlay import Status, draw_faces

# What OpenCV writes everywhere; other pictures become PNG.
_WRITTEN = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class AnnotatedPictures:
    """A folder of pictures with boxes, labels and probabilities, named as what they show.

    The pictures of one folder lie side by side, those of several below the folders' names.

    Args:
        folder: Made with the first picture.
        paths: All the pictures that will be drawn.
        model: Its name, for the line below the pictures.

    Raises:
        ConfigError: One of the pictures would be replaced by its drawing.
    """

    def __init__(self, folder: Path, paths: Sequence[Path], model: str) -> None:
        whole = [Path(os.path.abspath(path)) for path in paths]
        above = Path(os.path.commonpath([path.parent for path in whole]))
        names = [path.relative_to(above) for path in whole]
        self._places = {
            path: folder / (name if name.suffix.lower() in _WRITTEN else f"{name}.png")
            for path, name in zip(paths, names, strict=True)
        }
        given = {path.resolve() for path in paths}
        for place in self._places.values():
            if place.resolve() in given:
                raise ConfigError(
                    "--save-images: expected a folder apart from the pictures, received theirs. "
                    f"It would replace {place}"
                )
        self._model = model

    def write(self, path: Path, pixels: NDArray[np.uint8], faces: Sequence[FaceResult]) -> None:
        """Write one of the pictures; the file is there as a whole or not at all.

        Args:
            path: Which of the pictures.
            pixels: uint8 RGB `(height, width, 3)`.
            faces: What was read in it, in the order of the table.

        Raises:
            OSError: No space, or no permission.
        """
        place = self._places[path]
        place.parent.mkdir(parents=True, exist_ok=True)
        noun = "face" if len(faces) == 1 else "faces"
        status = Status(f"{len(faces)} {noun}", self._model)
        canvas = draw_faces(pixels, faces, status)
        _, content = cv2.imencode(place.suffix.lower(), cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))
        with atomic_path(place) as temporary:
            temporary.write_bytes(content.tobytes())
