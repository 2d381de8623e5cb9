"""The server that most tests ask, and a photo of a face."""

from collections.abc import Iterator

import numpy as np
import pytest
from server_process import MODEL, ServerProcess, encoded, started

from fer_keras.runtime.recognizer import Recognizer


@pytest.fixture(scope="session")
def photo() -> bytes:
    data = pytest.importorskip("skimage.data", reason="needs the package scikit-image")
    return encoded(np.asarray(data.astronaut()))


@pytest.fixture(scope="session")
def recognizer() -> Recognizer:
    return Recognizer(MODEL)


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    with started() as process:
        yield process
