"""A window for a stream: shown where there is a screen, and asked for keys."""

import os
import re
import subprocess
import sys
import time

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.opencv import cv2

_PROBE_TIMEOUT_S = 20.0
_ESCAPE = 27
# Qt complains about fonts that OpenCV's window does not use.
_QT_QUIET = {"QT_LOGGING_RULES": "default.warning=false"}


def has_screen() -> bool:
    """Whether a window can be shown: there is a screen, and this OpenCV has windows.

    Where a screen is named but does not answer, Qt ends the whole process, so another process
    tries first; it takes half a second, and only where there seems to be a screen.
    """
    found = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    if found is None or found.group(1).upper() in ("NONE", "NO"):
        return False
    if sys.platform != "linux":
        return True
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        return False
    try:
        tried = subprocess.run(
            [sys.executable, "-c", "import cv2; cv2.namedWindow('probe'); cv2.waitKey(1)"],
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return tried.returncode == 0


class Window:
    """One window that keeps the picture's shape.

    Args:
        title: ASCII text; also OpenCV's name of the window.
    """

    def __init__(self, title: str) -> None:
        for key, value in _QT_QUIET.items():
            os.environ.setdefault(key, value)
        self._title = title
        self._size: tuple[int, ...] = ()
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)

    def show(self, canvas: NDArray[np.uint8]) -> None:
        """Show a picture, uint8 RGB; the window takes its size where that changes."""
        if canvas.shape[:2] != self._size:
            self._size = canvas.shape[:2]
            cv2.resizeWindow(self._title, self._size[1], self._size[0])
        cv2.imshow(self._title, cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))

    def key(self, wait_s: float = 0.0) -> str:
        """The key pressed within a time, in lower case; "quit" for Esc, q and a closed window.

        Args:
            wait_s: At least a millisecond is waited, in which the window draws itself.
        """
        end_s = time.monotonic() + wait_s
        while True:
            code = cv2.waitKey(max(1, round(1000 * (end_s - time.monotonic()))))
            if cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
                return "quit"
            if code >= 0:
                character = chr(code & 0xFF).lower()
                return "quit" if code & 0xFF == _ESCAPE or character == "q" else character
            if time.monotonic() >= end_s:
                return ""

    def close(self) -> None:
        """Close the window."""
        cv2.destroyWindow(self._title)
        cv2.waitKey(1)
