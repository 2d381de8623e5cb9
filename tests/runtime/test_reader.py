"""The reader thread: every frame of files, the newest of cameras, and cameras that fail."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.runtime.stream.reader import FrameReader
from fer_keras.runtime.stream.sources import ArraySource, Frame


class FakeCamera:
    """A camera of 50 frames per second whose cable a test can pull.

    Pulled, an open capture fails as `fault` says, and opening fails (or works, for "still").
    """

    name = "fake camera"
    live = True
    is_camera = True
    num_frames = None
    fps = None

    def __init__(self, fault: str = "false") -> None:
        self.fault = fault
        self.plugged = threading.Event()
        self.plugged.set()
        self.released = threading.Event()
        self.picture = np.zeros((48, 64, 3), np.uint8)
        self.open_captures = 0
        self.openings = 0
        self.threads: set[threading.Thread] = set()

    def num_threads(self) -> int:
        """How many of the threads that have opened it are alive."""
        return sum(thread.is_alive() for thread in self.threads)

    def open(self) -> "FakeCapture":
        self.openings += 1
        self.threads.add(threading.current_thread())
        if self.fault == "blocks in open":
            self.plugged.wait()
        if not self.plugged.is_set() and self.fault != "still":
            raise DataError("no camera")
        return FakeCapture(self)


class FakeCapture:
    def __init__(self, camera: FakeCamera) -> None:
        self._camera = camera
        self._rng = np.random.default_rng()
        self._pulled = False
        camera.open_captures += 1

    def read(self) -> Frame | None:
        time.sleep(0.02)
        # A capture that saw its camera go never works again.
        self._pulled = self._pulled or not self._camera.plugged.is_set()
        if self._pulled:
            if self._camera.fault in ("false", "blocks in open"):
                return None
            if self._camera.fault == "blocks for ever":
                self._camera.released.wait()
                return None
            if self._camera.fault == "blocks":
                self._camera.plugged.wait()
                return None
        else:
            self._camera.picture = self._rng.integers(0, 256, (48, 64, 3), np.uint8)
        return Frame(0, 0.0, self._camera.picture, 0.001)

    def close(self) -> None:
        self._camera.open_captures -= 1


def wait_for(reader: FrameReader, state: str, limit_s: float) -> float:
    """Fetch frames until the state is reached; how long that took."""
    start = time.monotonic()
    while time.monotonic() - start < limit_s:
        frame = reader.next(0.05)
        if reader.state == state and (state != "live" or frame is not None):
            return time.monotonic() - start
    raise AssertionError(f"not {state} within {limit_s} s, but {reader.state}")


def pull_and_plug_in(fault: str) -> FakeCamera:
    """One camera that is away for 2.5 s, let go again."""
    camera = FakeCamera(fault)
    with FrameReader(camera) as reader:
        wait_for(reader, "live", 5)
        camera.plugged.clear()
        noticed_s = wait_for(reader, "lost", 5)
        end = time.monotonic() + 2.5
        most = 0
        while time.monotonic() < end:
            assert reader.next(0.05) is None
            most = max(most, camera.num_threads())
        assert reader.lost_s > 2
        camera.plugged.set()
        resumed_s = wait_for(reader, "live", 10)
        assert (reader.losses, reader.lost_s) == (1, 0)
    camera.released.set()
    print(f"{fault}: noticed {noticed_s:.2f} s, resumed {resumed_s:.2f} s, {most} threads")
    assert noticed_s <= 2
    assert resumed_s <= 5
    assert 1 <= most <= 2
    return camera


def test_an_unplugged_camera_is_noticed_and_taken_up_again() -> None:
    """reliability: noticed within 2 s, resumed within 5 s of its return, no leaked thread."""
    faults = ("false", "stale", "still", "blocks", "blocks for ever", "blocks in open")
    # All at once, because each is mostly waiting.
    with ThreadPoolExecutor(len(faults)) as executor:
        cameras = list(executor.map(pull_and_plug_in, faults))
    end = time.monotonic() + 3
    while any(camera.num_threads() for camera in cameras) and time.monotonic() < end:
        time.sleep(0.02)
    assert [camera.num_threads() for camera in cameras] == [0] * len(faults)
    assert [camera.open_captures for camera in cameras] == [0] * len(faults)


def test_a_camera_that_comes_and_goes_leaves_one_thread_behind_at_most() -> None:
    threads = threading.active_count()
    camera = FakeCamera("blocks for ever")
    most = 0
    with FrameReader(camera, deadline_s=0.3) as reader:
        for _ in range(4):
            wait_for(reader, "live", 10) if reader.state != "lost" else None
            camera.plugged.clear()
            wait_for(reader, "lost", 5)
            camera.plugged.set()
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                reader.next(0.05)
                most = max(most, threading.active_count() - threads)
            if reader.state == "lost":
                break
    assert most == 2
    camera.released.set()
    time.sleep(0.2)
    assert threading.active_count() == threads


def test_opening_is_tried_with_growing_pauses() -> None:
    camera = FakeCamera("false")
    with FrameReader(camera) as reader:
        wait_for(reader, "live", 5)
        camera.plugged.clear()
        wait_for(reader, "lost", 5)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            reader.next(0.05)
        # Pauses of 0.25, 0.5, 1, 2 s, and the first opening.
        assert 3 <= camera.openings <= 6


def test_a_picture_may_stand_still_where_that_is_allowed() -> None:
    camera = FakeCamera("still")
    with FrameReader(camera, still_s=None) as reader:
        wait_for(reader, "live", 5)
        camera.plugged.clear()
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            reader.next(0.05)
            assert reader.state == "live"


def test_no_camera_at_the_start_is_an_error() -> None:
    camera = FakeCamera()
    camera.plugged.clear()
    with FrameReader(camera) as reader, pytest.raises(DataError, match="no camera"):
        wait_for(reader, "live", 5)
    silent = FakeCamera("blocks in open")
    silent.plugged.clear()
    with FrameReader(silent, open_timeout_s=0.3) as reader:
        with pytest.raises(DataError, match=r"no picture within 0.3 s.*fake camera"):
            wait_for(reader, "live", 5)
        silent.plugged.set()


def test_newest_frame_of_a_live_source_wins() -> None:
    camera = FakeCamera()
    with FrameReader(camera) as reader:
        wait_for(reader, "live", 5)
        first = reader.next(1)
        time.sleep(0.5)
        later = reader.next(1)
        assert first is not None
        assert later is not None
        assert later.time_s - first.time_s > 0.35
        assert later.index - first.index == reader.dropped + 1 - (first.index - 1)
        assert reader.dropped >= 5


def numbered(count: int, made: list[int] | None = None) -> Iterator[np.ndarray[Any, Any]]:
    for i in range(count):
        if made is not None:
            made.append(i)
        yield np.full((8, 8, 3), i % 256, np.uint8)


def test_every_frame_of_a_file_is_given_to_a_slow_reader() -> None:
    made: list[int] = []
    with FrameReader(ArraySource(lambda: numbered(20, made), fps=10)) as reader:
        seen = []
        while reader.state != "ended" or seen[-1:] != [19]:
            frame = reader.next(1)
            if frame is None:
                continue
            seen.append(frame.index)
            assert frame.pixels[0, 0, 0] == frame.index
            assert frame.time_s == pytest.approx(frame.index / 10)
            time.sleep(0.01)
            # The queue is bounded: two wait, one is in the thread's hand.
            assert len(made) <= len(seen) + 4
        assert seen == list(range(20))
        assert reader.next(0.01) is None


def test_leaving_ends_the_thread_while_frames_wait() -> None:
    threads = threading.active_count()
    with FrameReader(ArraySource(lambda: numbered(1000))) as reader:
        assert reader.next(2) is not None
    assert threading.active_count() == threads


def test_errors_of_the_thread_are_raised_where_it_is_read() -> None:
    def broken() -> Iterator[np.ndarray[Any, Any]]:
        yield from numbered(1)
        raise DataError("corrupt picture: b.png")

    with FrameReader(ArraySource(broken)) as reader:
        assert reader.next(2) is not None
        with pytest.raises(DataError, match=r"b\.png"):
            reader.next(5)
