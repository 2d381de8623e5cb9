"""What is drawn: boxes where the faces are, bars as long as the probabilities, states."""

from typing import Any

import numpy as np
import pytest

from fer_keras.runtime.faces import Face
from fer_keras.runtime.stream.follow import Moment, StreamFace
from fer_keras.runtime.stream.neutral import WaitingFace
from fer_keras.runtime.stream.overlay import Status, draw_moment
from fer_keras.runtime.stream.recording import VideoRecorder
from fer_keras.runtime.stream.sources import Frame

BLUE, YELLOW = (86, 180, 233), (240, 200, 60)
EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")


def face(track: int, box: tuple[float, ...], share: float = 0.6, unsure: bool = False) -> Any:
    others = (1 - share) / (len(EMOTIONS) - 1)
    result = {
        "box": box,
        "landmarks": None,
        "emotions": {name: share if name == "happiness" else others for name in EMOTIONS},
        "dominant": "happiness",
        "score": 1.0,
        "unsure": unsure,
        "label_set": ["happiness", "neutral"],
        "track": track,
        "pose": None,
        "quality": 1.0,
        "valence": None,
        "arousal": None,
    }
    return StreamFace(result, np.zeros(len(EMOTIONS), np.float32))  # type: ignore[arg-type]


def moment(size: tuple[int, int], *faces: Any, **more: Any) -> tuple[Any, Moment]:
    picture = np.full((*size, 3), 100, np.uint8)
    return picture, Moment(Frame(0, 0.0, picture, 0.0), faces, **more)


def columns_of(canvas: Any, colour: tuple[int, int, int], rows: slice, columns: slice) -> Any:
    return np.flatnonzero((canvas[rows, columns] == colour).all(axis=-1).any(axis=0))


@pytest.mark.parametrize(("size", "zoom"), [((480, 640), 1), ((240, 320), 2), ((2160, 3840), 0.5)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_box_is_where_the_face_is(size: tuple[int, int], zoom: float, mirrored: bool) -> None:
    height, width = size
    box = (0.1 * width, 0.3 * height, 0.25 * width, 0.4 * height)
    picture, what = moment(size, face(1, box))
    before = picture.copy()
    canvas = draw_moment(picture, what, Status("live"), mirrored)
    assert (picture == before).all()
    shown_width, shown_height = width * zoom, height * zoom
    middle = round(0.5 * shown_height)
    found = columns_of(canvas, BLUE, slice(middle, middle + 1), slice(0, round(shown_width)))
    left = 0.65 if mirrored else 0.1
    assert found.min() == pytest.approx(left * shown_width, abs=6)
    assert found.max() == pytest.approx((left + 0.25) * shown_width, abs=6)
    # Video files want even sides; the text beside the picture needs room.
    assert canvas.shape[0] % 2 == canvas.shape[1] % 2 == 0
    assert canvas.shape[1] > shown_width + 0.4 * shown_height


def test_bars_are_as_long_as_the_probabilities() -> None:
    lengths = []
    for share in (0.3, 0.6, 0.9):
        canvas = draw_moment(*moment((480, 640), face(1, (9, 99, 50, 50), share)), Status(""))
        # Below the number, which has the same colour.
        lengths.append(len(columns_of(canvas, BLUE, slice(40, 160), slice(645, 856))))
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=2)
    assert lengths[2] == pytest.approx(3 * lengths[0], abs=3)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 30])
def test_many_faces_stay_inside_the_panel(count: int) -> None:
    faces = [face(i + 1, (15.0 * i, 200, 60, 60), unsure=i % 2 == 1) for i in range(count)]
    canvas = draw_moment(*moment((480, 640), *faces), Status("30.0 fps", "q quit"))
    panel = canvas[:, 640:]
    # Nothing is drawn on the panel's rim, nor in the gap above the state line.
    assert (panel[:480, :8] == panel[0, 0]).all()
    assert (panel[475:480] == panel[0, 0]).all()
    assert panel[:470].std() > 5


def test_unsure_is_shown() -> None:
    sure, unsure = (
        draw_moment(*moment((480, 640), face(1, (50, 100, 90, 90), unsure=u)), Status("x"))
        for u in (False, True)
    )
    assert (sure[:, 640:] != unsure[:, 640:]).any()
    assert (sure[80:100, 50:200] != unsure[80:100, 50:200]).any()


def test_lost_waiting_and_empty() -> None:
    picture = np.full((480, 640, 3), 99, np.uint8)
    lost = draw_moment(picture, Moment(None, state="lost"), Status("lost for 3 s", warning=True))
    assert (lost[:480, :640] == 33).all()
    assert lost[480:].max() > 200
    waiting = WaitingFace(2, Face((100.0, 100.0, 80.0, 80.0), None, 1.0), 0.5)
    canvas = draw_moment(*moment((480, 640), waiting=[waiting]), Status(""))
    bar = columns_of(canvas, YELLOW, slice(34, 40), slice(640, 856))
    assert len(bar) == pytest.approx(0.5 * 196, abs=3)
    assert draw_moment(*moment((480, 640)), Status("")).shape == canvas.shape


def test_names_that_the_font_does_not_have() -> None:
    strange = face(1, (50, 100, 90, 90))
    strange.result["dominant"] = "Überraschung und sehr lange Namen"
    strange.result["emotions"] = {strange.result["dominant"]: 0.7, "б": 0.3}
    canvas = draw_moment(*moment((100, 60), strange), Status("s" * 80, "k" * 80))
    assert canvas.shape[0] > 480


def test_recording_keeps_the_speed(tmp_path: Any) -> None:
    import cv2

    path = tmp_path / "a.avi"
    recorder = VideoRecorder(path, 10)
    rng = np.random.default_rng(0)
    # Irregular times, a gap of a minute, and another size.
    for time_s in (5.0, 5.1, 5.15, 5.4, 6.0, 66.0):
        size = (64, 48) if time_s < 6 else (128, 96)
        recorder.write(rng.integers(0, 256, (*size, 3), np.uint8), time_s)
    recorder.close()
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    # A second's worth up to 6.0, and one more for the minute without frames.
    assert 20 <= count <= 22
