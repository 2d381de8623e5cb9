"""Writes what is shown as a video file."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.decode import resize
from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.opencv import cv2

_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
# A camera that was away for an hour does not make an hour of standstill.
_MAX_REPEATS_S = 1.0


class VideoRecorder:
    """A video file at a constant rate from frames at any times.

    A frame is repeated or left out so that the film runs as fast as what it shows.

    Args:
        path: Ends in .mp4, .m4v, .mkv or .avi; must not exist. Its folder is made if missing.
        fps: Of the file.

    Raises:
        ConfigError: The name cannot be used.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if path.suffix.lower() not in _CODECS:
            raise ConfigError(
                f"--video: expected a name ending in {', '.join(_CODECS)}, received {path.name!r}"
            )
        if path.exists():
            raise ConfigError(f"--video: the file is there already. Choose another name: {path}")
        self._path = path
        self._fps = fps
        self._writer: Any = None
        self._size = (0, 0)
        self._next_s = 0.0

    def write(self, canvas: NDArray[np.uint8], time_s: float) -> None:
        """Add a frame.

        Args:
            canvas: uint8 RGB; one of another size than the first is scaled to it.
            time_s: When it is shown.

        Raises:
            DataError: The file cannot be written.
        """
        if self._writer is None:
            self._open(canvas, time_s)
        self._next_s = max(self._next_s, time_s - _MAX_REPEATS_S)
        picture = cv2.cvtColor(resize(canvas, self._size), cv2.COLOR_RGB2BGR)
        # Half a frame's tolerance, because times are rounded.
        while self._next_s <= time_s + 0.5 / self._fps:
            self._writer.write(picture)
            self._next_s += 1 / self._fps

    def close(self) -> None:
        """Finish the file; without it no player can open it."""
        if self._writer is not None:
            self._writer.release()

    def _open(self, canvas: NDArray[np.uint8], time_s: float) -> None:
        height, width = canvas.shape[:2]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        codec = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._path), codec, self._fps, (width, height))
        if not self._writer.isOpened():
            raise DataError(
                f"the video cannot be written. Try .avi, or another folder: {self._path}"
            )
        self._size, self._next_s = (height, width), time_s
