"""The stream: faces over time, smoothing, neutral faces, timings, sources, memory."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import BRIGHT, CLASS_NAMES, DARK, write_export

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.runtime import Recognizer
from fer_keras.runtime.faces import Face
from fer_keras.runtime.faces.centre_box import CentreBoxDetector
from fer_keras.runtime.stream.follow import Moment
from fer_keras.runtime.stream.smoothing import ProbabilitySmoother
from fer_keras.runtime.stream.sources import (
    ArraySource,
    NetworkStream,
    VideoFile,
    open_source,
)
from fer_keras.runtime.stream.stream import Stream

Pixels = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("models") / "export")


class Spots:
    """Finds every square of one grey level on a black ground; counts how often it is asked."""

    name = "spots"
    margin: float | None = None
    has_landmarks = False

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, picture: Pixels) -> list[Face]:
        self.calls += 1
        _, _, stats, _ = cv2.connectedComponentsWithStats((picture[..., 0] > 2).astype(np.uint8))
        return [Face(tuple(float(v) for v in row[:4]), None, 1.0) for row in stats[1:]]


def spots(*placed: tuple[int, int, Pixels]) -> Pixels:
    picture = np.zeros((120, 200, 3), np.uint8)
    for x, y, pattern in placed:
        grey = cv2.resize(pattern, (40, 40))
        picture[y : y + 40, x : x + 40] = grey[..., None]
    return picture


def film(count: int = 30) -> Iterator[Pixels]:
    """A bright square, then a dark one at the same place; beside it one that is always dark."""
    for i in range(count):
        yield spots((20 + i, 40, BRIGHT if i < count // 2 else DARK), (140, 40, DARK))


def read(export: Path, frames: Any, **options: Any) -> tuple[list[Moment], Stream, Spots]:
    detector = Spots()
    source = ArraySource(frames, fps=10)
    with Stream(source, Recognizer(export, detector), **options) as stream:
        moments = [moment for moment in stream if moment.frame is not None]
    return moments, stream, detector


def test_rows_of_two_faces_over_time(export: Path) -> None:
    threads = threading.active_count()
    moments, stream, detector = read(export, film, detect_every=1, half_life_s=0)
    assert threading.active_count() == threads
    assert [m.frame.index for m in moments if m.frame] == list(range(30))
    assert (stream.num_frames, stream.num_faces, detector.calls) == (30, 60, 30)
    left = [m.faces[0] for m in moments]
    assert {face.track for face in left} == {1}
    assert [face.result["dominant"] for face in left] == ["happiness"] * 15 + ["sadness"] * 15
    assert {m.faces[1].result["dominant"] for m in moments} == {"sadness"}
    assert left[3].result["box"] == (23.0, 40.0, 40.0, 40.0)
    assert left[3].result["track"] == 1
    assert np.allclose(list(left[3].result["emotions"].values()), left[3].raw)
    json.dumps(left[3].result)


def test_faces_are_looked_for_now_and_then(export: Path) -> None:
    def still() -> Iterator[Pixels]:
        rng = np.random.default_rng(0)
        texture = rng.integers(100, 250, (40, 40), np.uint8)
        yield from (spots((60, 40, texture)) for _ in range(21))

    moments, stream, detector = read(export, still, detect_every=5)
    assert detector.calls == 5
    assert [len(m.faces) for m in moments] == [1] * 21
    assert {m.faces[0].track for m in moments} == {1}
    times = stream.times
    assert times.times == {"decode": 21, "detect": 5, "track": 21, "align": 21, "classify": 21}
    assert all(ms > 0 for ms in times.mean_ms().values())
    assert list(times.mean_ms()) == ["decode", "detect", "track", "align", "classify"]


def test_a_face_that_is_gone_is_not_read(export: Path) -> None:
    def comes_and_goes() -> Iterator[Pixels]:
        for i in range(40):
            yield spots() if 12 <= i < 28 else spots((60, 40, BRIGHT))

    for fps in (2, 10, 25):
        source = ArraySource(comes_and_goes, fps=fps)
        with Stream(source, Recognizer(export, Spots())) as stream:
            read_in = [m.frame.index for m in stream if m.frame is not None and m.faces]
        assert not {*read_in} & {*range(12, 28)}, fps
        assert {*range(12)} <= {*read_in}, fps


def test_frames_far_apart_are_all_searched(export: Path) -> None:
    def still() -> Iterator[Pixels]:
        texture = np.random.default_rng(0).integers(100, 250, (40, 40), np.uint8)
        yield from (spots((60, 40, texture)) for _ in range(10))

    detector = Spots()
    with Stream(ArraySource(still, fps=2), Recognizer(export, detector)) as stream:
        sources = [face.source for moment in stream for face in moment.faces]
    assert detector.calls == 10
    assert sources == ["detected"] * 10


def test_smoothing_delays_by_about_its_half_life(export: Path) -> None:
    moments, _, _ = read(export, film, detect_every=1, half_life_s=0.3)
    sad = [m.faces[0].result["emotions"]["sadness"] for m in moments]
    raw = [float(m.faces[0].raw[CLASS_NAMES.index("sadness")]) for m in moments]
    assert raw[14] < 0.01
    assert raw[15] > 0.99
    # Three frames of 0.1 s make a half-life: half of the way, then three quarters.
    assert sad[17] == pytest.approx(0.5, abs=0.01)
    assert sad[20] == pytest.approx(0.75, abs=0.01)
    assert [m.faces[0].result["dominant"] for m in moments].index("sadness") in (17, 18)
    for moment in moments:
        assert sum(moment.faces[0].result["emotions"].values()) == pytest.approx(1, abs=1e-5)


def test_what_is_known_of_a_face_goes_with_it(export: Path) -> None:
    def comes_and_goes() -> Iterator[Pixels]:
        for i in range(60):
            yield spots((60, 40, BRIGHT if i < 30 else DARK)) if i % 30 < 3 else spots()

    moments, stream, _ = read(export, comes_and_goes, detect_every=1, half_life_s=5)
    assert [m.ended for m in moments if m.ended] == [(1,), (2,)]
    second = moments[30].faces[0]
    assert (second.track, second.result["dominant"]) == (2, "sadness")
    assert stream._smoother._states == {}


class PairRecognizer(Recognizer):
    """Treats the tiny model as a pair model: the answer is the face's, once a neutral is known."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.input_kind = "pair"
        self.neutral_means: list[float] = []

    def set_neutral(self, pictures: Any, track: int | None = None, faces: Any = None) -> None:
        super().set_neutral(pictures, track, faces)
        self.neutral_means.append(float(self._neutral[track].mean()))

    def _readings(self, crops: Any, tracks: Any) -> Any:
        assert all(self.has_neutral(track) for track in tracks)
        return self._network.read(crops)


def test_pair_models_wait_for_a_neutral_face(export: Path) -> None:
    recognizer = PairRecognizer(export, Spots())
    source = ArraySource(film, fps=10)
    with Stream(source, recognizer, detect_every=1, neutral_s=1.0) as stream:
        moments = []
        for moment in stream:
            if moment.frame is not None:
                moments.append(moment)
                if moment.frame.index == 20:
                    stream.restart_neutral()
    shares = [[round(w.share, 2) for w in m.waiting] for m in moments]
    assert shares[0] == [0, 0]
    assert shares[5] == [0.5, 0.5]
    assert shares[10] == []
    assert [len(m.faces) for m in moments[:12]] == [0] * 10 + [2, 2]
    assert shares[21] == [0, 0]
    # Bright and dark first, later both dark; the pictures are gone.
    assert np.allclose(recognizer.neutral_means, [250, 5], atol=1)
    assert stream._neutral._samples.keys() == {1, 2}


def test_other_models_do_not_wait(export: Path) -> None:
    moments, stream, _ = read(export, film, neutral_s=9)
    stream.restart_neutral()
    assert all(not m.waiting and m.faces for m in moments)


def test_a_stream_without_faces_or_frames(export: Path) -> None:
    moments, stream, _ = read(export, lambda: (spots() for _ in range(5)))
    assert [len(m.faces) for m in moments] == [0] * 5
    assert stream.times.mean_ms().keys() == {"decode", "detect", "track"}
    moments, stream, _ = read(export, lambda: iter(()))
    assert (moments, stream.mean_fps, stream.fps) == ([], 0, 0)


def test_memory_stays_constant(export: Path) -> None:
    """What a stream holds after a thousand frames and many faces is what it held after a few."""

    def visitors() -> Iterator[Pixels]:
        for i in range(1500):
            yield spots((10 + 37 * (i // 50 % 5), 40, DARK)) if i % 50 < 10 else spots()

    sizes = []
    source = ArraySource(visitors, fps=10)
    with Stream(source, Recognizer(export, Spots()), detect_every=1) as stream:
        for moment in stream:
            if moment.frame is not None and moment.frame.index % 500 == 45:
                held = (stream._tracker._tracks, stream._smoother._states, stream._neutral._samples)
                sizes.append([len(container) for container in held])
                tracks = max(0, stream._tracker._next_number)
    assert sizes == [[0, 0, 0]] * 3
    assert tracks > 20


def test_centre_box() -> None:
    picture = np.zeros((480, 640, 3), np.uint8)
    (face,) = CentreBoxDetector(224).detect(picture)
    assert face.box == (208.0, 128.0, 224.0, 224.0)
    (face,) = CentreBoxDetector(224).detect(picture[:100])
    assert face.box == (208.0, 0.0, 224.0, 100.0)
    with pytest.raises(ConfigError, match="at least 16"):
        CentreBoxDetector(3)


@pytest.mark.parametrize("options", [{"detect_every": 0}, {"half_life_s": -1}, {"hysteresis": -1}])
def test_wrong_numbers_are_refused(export: Path, options: dict[str, Any]) -> None:
    threads = threading.active_count()
    with pytest.raises(ConfigError):
        Stream(ArraySource(film), Recognizer(export, Spots()), **options)
    assert threading.active_count() == threads


def test_a_shown_emotion_is_held_and_stays_in_its_label_set(export: Path) -> None:
    """Grey levels at which happiness and sadness are nearly even, in turns."""

    def wavering() -> Iterator[Pixels]:
        for i in range(20):
            level = BRIGHT if i == 0 else np.full_like(BRIGHT, 127 if i % 2 else 128)
            yield spots((60, 40, level))

    held, _, _ = read(export, wavering, detect_every=1, half_life_s=1e-9, hysteresis=2.0)
    free, _, _ = read(export, wavering, detect_every=1, half_life_s=0, hysteresis=2.0)
    assert {m.faces[0].result["dominant"] for m in held} == {"happiness"}
    assert {m.faces[0].result["dominant"] for m in free} > {"happiness"}
    for moment in held:
        assert moment.faces[0].result["label_set"] == ["happiness"]


# ---- smoothing


def test_smoothing_does_not_depend_on_the_frame_rate() -> None:
    slow, fast, irregular = (ProbabilitySmoother(0.5) for _ in range(3))
    for smoother in (slow, fast, irregular):
        smoother.update(1, [1, 0], 0.0)
    expected = 0.5 ** (1 / 0.5)
    slow.update(1, [0, 1], 1.0)
    for i in range(1, 51):
        fast.update(1, [0, 1], i / 50)
    for time_s in (0.013, 0.2, 0.21, 0.9, 1.0):
        irregular.update(1, [0, 1], time_s)
    for smoother in (slow, fast, irregular):
        assert smoother.update(1, [0, 1], 1.0) == pytest.approx([expected, 1 - expected])


def test_smoothing_of_each_face_alone_and_none() -> None:
    smoother = ProbabilitySmoother(1.0)
    smoother.update(1, [1, 0], 0)
    assert smoother.update(2, [0, 1], 0.1).tolist() == [0, 1]
    # A step back in time counts as none: nothing changes.
    assert smoother.update(1, [0, 1], -5).tolist() == [1, 0]
    smoother.drop([1, 3])
    assert smoother.update(1, [0, 1], 0.1).tolist() == [0, 1]
    none = ProbabilitySmoother(0)
    none.update(1, [1, 0], 0)
    assert none.update(1, [0.4, 0.6], 0.001).tolist() == [0.4, 0.6]


def test_hysteresis_keeps_the_shown_emotion_while_it_is_close() -> None:
    smoother = ProbabilitySmoother(0, hysteresis=0.1)
    shown = []
    for p in (0.6, 0.48, 0.46, 0.44, 0.47, 0.54, 0.56):
        smoother.update(1, [p, 1 - p], 0)
        shown.append(smoother.dominant(1))
    assert shown == [0, 0, 0, 1, 1, 1, 0]


# ---- sources


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Twenty frames of 64 x 48 at 10 per second, each of its own grey level, blue on the left."""
    path = tmp_path / "grey.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for i in range(20):
        picture = np.full((48, 64, 3), 10 * i, np.uint8)
        picture[:, :8] = (255, 0, 0)
        writer.write(picture)
    writer.release()
    return path


def levels(source: Any) -> list[tuple[int, float, int]]:
    capture, found = source.open(), []
    while (frame := capture.read()) is not None:
        assert frame.pixels.shape == (48, 64, 3)
        level = round(float(frame.pixels[:, 20:].mean()) / 10)
        found.append((frame.index, round(frame.time_s, 3), level))
    capture.close()
    return found


def test_video_file(video: Path) -> None:
    source = open_source(str(video))
    assert (source.live, source.is_camera, source.num_frames, source.fps) == (False, False, 20, 10)
    assert levels(source) == [(i, i / 10, i) for i in range(20)]
    # Opened again it begins anew; colours are RGB.
    frame = source.open().read()
    assert frame is not None
    assert frame.pixels[24, 3].argmax() == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"every_frames": 7}, [0, 7, 14]),
        ({"every_s": 0.5}, [0, 5, 10, 15]),
        ({"every_s": 0.3}, [0, 3, 6, 9, 12, 15, 18]),
        ({"every_frames": 100}, [0]),
    ],
)
def test_every_so_many_frames_or_seconds(
    video: Path, options: dict[str, Any], expected: list[int]
) -> None:
    source = VideoFile(video, **options)
    assert [row[0] for row in levels(source)] == expected
    assert abs((source.num_frames or 0) - len(expected)) <= 3


def test_picture_folder(tmp_path: Path) -> None:
    for i, name in enumerate(("b.png", "a.PNG", "c.jpg", ".hidden.png")):
        cv2.imwrite(str(tmp_path / name), np.full((48, 64, 3), 10 * i, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    source = open_source(str(tmp_path), fps=4)
    assert (source.num_frames, source.fps) == (3, 4)
    assert levels(source) == [(0, 0, 1), (1, 0.25, 0), (2, 0.5, 2)]


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Check the path"):
        open_source(str(tmp_path / "missing.mp4"))
    with pytest.raises(DataError, match="no picture"):
        open_source(str(tmp_path))
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with pytest.raises(DataError, match=r"cannot be read.*text\.mp4"):
        open_source(str(text))
    with pytest.raises(ConfigError):
        ArraySource(film, fps=0)
    with pytest.raises(DataError, match="camera cannot be opened"):
        open_source("/dev/video_missing").open()


def test_cameras_and_addresses() -> None:
    camera = open_source("1")
    assert (camera.name, camera.live, camera.is_camera) == ("camera 1", True, True)
    stream = open_source("rtsp://user:secret@10.0.0.7:554/live?token=secret")
    assert isinstance(stream, NetworkStream)
    assert (stream.name, stream.live, stream.is_camera) == ("rtsp://10.0.0.7:554/live", True, False)
