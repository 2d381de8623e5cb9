"""One `Recognizer`, eight threads: everybody gets the answers that one thread gets."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fer_keras import Recognizer
from fer_keras.common.errors import ConfigError
from fer_keras.data.datasets.synthetic_faces import make_identity
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.runtime.faces import DETECTORS, Face
from fer_keras.runtime.network import Pixels
from fer_keras.runtime.recognizer import FaceResult

THREADS = 8


def drawn(subject: int, size: int) -> Pixels:
    return draw_face(make_identity(0, subject), {}, None, size)[0]


@pytest.mark.parametrize("name", DETECTORS)
def test_eight_threads_share_one_recognizer(name: str) -> None:
    try:
        shared = Recognizer(detector=name)
    except ConfigError as error:
        pytest.skip(str(error))
    # Of several sizes: what one thread sets up does not fit the next one's picture.
    pictures = [drawn(subject, 160 + 20 * subject) for subject in range(THREADS)]
    alone = [shared.recognize(picture) for picture in pictures]
    together = threading.Barrier(THREADS)

    def work(first: int) -> list[tuple[int, list[FaceResult]]]:
        together.wait()
        order = [(first + step) % THREADS for step in range(THREADS)] * 3
        return [(number, shared.recognize(pictures[number])) for number in order]

    with ThreadPoolExecutor(THREADS) as pool:
        for answers in pool.map(work, range(THREADS)):
            for number, faces in answers:
                assert faces == alone[number]


def test_a_detector_of_ones_own_is_never_called_twice_at_once() -> None:
    class Own:
        name = "own"
        margin = None
        has_landmarks = False

        def __init__(self) -> None:
            self.inside = self.most = 0

        def detect(self, picture: Pixels) -> list[Face]:
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.002)
            self.inside -= 1
            return []

    own = Own()
    shared = Recognizer(detector=own)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(shared.recognize, [np.zeros((48, 48, 3), np.uint8)] * 16))
    assert own.most == 1
