"""YuNet face detection with OpenCV's own decoder and a network file that the user gives.

Source: Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023. No package carries the
network, so its path is an argument or the environment variable FER_KERAS_YUNET.
"""

import os
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import ConfigError
from fer_keras.common.opencv import cv2

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

MODEL_VARIABLE = "FER_KERAS_YUNET"
_HOW_TO_GET = (
    "download face_detection_yunet_2023mar.onnx (0.2 MB, MIT licence) from "
    "https://github.com/opencv/opencv_zoo, folder models/face_detection_yunet, and set "
    f"{MODEL_VARIABLE} to its path; or choose --detector mtcnn"
)


class YuNet:
    """The network at the picture's own size; finds faces of about 10 to 300 pixels.

    Safe to share between threads, which then take turns.

    Args:
        model: The ONNX file; None takes the path in the environment variable FER_KERAS_YUNET.
        min_score: The least confidence of a face, in (0, 1).

    Raises:
        ConfigError: There is no such file, or it is not a YuNet network that OpenCV can run.
    """

    def __init__(self, model: str | os.PathLike[str] | None = None, min_score: float = 0.7) -> None:
        given = model if model is not None else os.environ.get(MODEL_VARIABLE)
        if not given:
            raise ConfigError(
                f"the face detector 'yunet' needs a network file, but {MODEL_VARIABLE} is not set. "
                f"Mend: {_HOW_TO_GET}"
            )
        path = Path(given).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"expected YuNet's network file, found none. Mend: {_HOW_TO_GET}: {path}"
            )
        # The network keeps the size of the picture that it is given next.
        self._lock = threading.Lock()
        try:
            self._network = cv2.FaceDetectorYN.create(
                str(path), "", (32, 32), score_threshold=min_score
            )
            # Another ONNX file is found out only when it runs.
            self.detect(np.zeros((32, 32, 3), np.uint8))
        except cv2.error as error:
            raise ConfigError(
                f"OpenCV {cv2.__version__} cannot run the file as YuNet ({path.stat().st_size} "
                f"bytes; a clone without git-lfs holds a pointer of 131). Mend: {_HOW_TO_GET}: "
                f"{path}"
            ) from error

    def detect(self, picture: Pixels) -> tuple[Floats, Floats, Floats]:
        """Find the faces of one picture.

        Args:
            picture: uint8 RGB array `(height, width, 3)`.

        Returns:
            Boxes `(n, 4)` as left, top, width, height in pixels, which may reach over the border;
            landmarks `(n, 5, 2)` as x, y of the eyes (the left one in the picture first), nose tip
            and mouth corners (left first); confidences `(n,)`.
        """
        height, width = picture.shape[:2]
        swapped = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        with self._lock:
            self._network.setInputSize((width, height))
            rows = self._network.detect(swapped)[1]
        faces = np.asarray([] if rows is None else rows, np.float32).reshape(-1, 15)
        # OpenCV says "right eye" for the person's right one, which is the left one in the picture.
        return faces[:, :4], faces[:, 4:14].reshape(-1, 5, 2), faces[:, 14]
