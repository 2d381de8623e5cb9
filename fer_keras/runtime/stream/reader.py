"""Reads a source in a thread of its own, and mends what cameras do: stop, repeat themselves, hang.

OpenCV's `read()` may go on returning the last picture after a camera was unplugged, return
nothing, or never return. All three count as a loss: it is noticed within 2 s, shown by
`FrameReader.state`, and the source is opened again, with pauses of at most `MAX_PAUSE_S`, until
pictures come. A thread that hangs inside OpenCV cannot be ended; it is left behind, once at most,
and another takes its place. When its call returns after all, it lets go of the camera and ends.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import DataError
from fer_keras.runtime.stream.sources import Frame, Source

State = Literal["opening", "live", "lost", "ended"]

FIRST_PAUSE_S = 0.25
MAX_PAUSE_S = 2.0
# Frames of a file that are decoded ahead: enough for decoding to overlap with recognition.
_QUEUE_SIZE = 2
_JOIN_S = 1.0


class FrameReader:
    """The frames of a source, read ahead by a thread.

    Of a live source the newest frame is given and older ones are dropped; of others every frame is
    given, and the thread waits where nobody fetches them. A context manager: leaving it ends the
    thread.

    Args:
        source: What is read.
        deadline_s: A live source that gives no frame for so long is lost.
        still_s: A live source whose picture does not change in a single pixel for so long is lost:
            sensors are never without noise. None for sources that may stand still, such as screen
            casts.
        open_timeout_s: How long opening may take, until the first frame.

    Attributes:
        dropped: How many frames of a live source were passed over so far.
        losses: How often a live source was lost so far.
    """

    def __init__(
        self,
        source: Source,
        deadline_s: float = 1.5,
        still_s: float | None = 1.5,
        open_timeout_s: float = 10.0,
    ) -> None:
        self._source = source
        self._deadline_s = deadline_s
        self._still_s = still_s
        self._open_timeout_s = open_timeout_s
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._state: State = "opening"
        self._error: Exception | None = None
        self._count = 0
        self._start_s = self._lost_at_s = self._moved_at_s = time.monotonic()
        self._last_rows: NDArray[np.uint8] | None = None
        self.dropped = 0
        self.losses = 0
        self._left_behind: _Worker | None = None
        self._worker = _Worker(self._run)
        self._worker.thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def state(self) -> State:
        """ "opening" until the first frame, then "live", "lost", "ended" for files."""
        return self._state

    @property
    def lost_s(self) -> float:
        """For how many seconds the source has been lost; 0 where it is not."""
        return time.monotonic() - self._lost_at_s if self._state == "lost" else 0.0

    def next(self, timeout_s: float = 0.1) -> Frame | None:
        """The next frame.

        It also watches over the thread, so call it a few times a second.

        Args:
            timeout_s: How long to wait for it.

        Returns:
            The frame; None where there is none yet, or none any more (`state` tells).

        Raises:
            DataError: The source cannot be opened at first, or a frame cannot be read.
        """
        with self._changed:
            self._changed.wait_for(self._has_news, timeout_s)
            if self._frames:
                self._changed.notify_all()
                return self._frames.popleft()
            if self._error is not None:
                raise self._error
            self._watch()
            return None

    def close(self) -> None:
        """End the thread and let go of the source; a thread that hangs is left to end by itself."""
        with self._changed:
            self._state = "ended"
            self._frames.clear()
            self._changed.notify_all()
        self._worker.thread.join(_JOIN_S)

    def _has_news(self) -> bool:
        return bool(self._frames) or self._error is not None or self._state == "ended"

    def _watch(self) -> None:
        """Notice a thread that hangs, and put another in its place."""
        if not self._source.live or self._state == "ended":
            return
        limit_s = self._deadline_s if self._worker.reading else self._open_timeout_s
        if time.monotonic() - self._worker.beat_s < limit_s:
            return
        if self._state == "opening":
            self._error = DataError(
                f"no picture within {limit_s:g} s. Check the cable or the network: "
                f"{self._source.name}"
            )
            raise self._error
        self._lose()
        # One thread at most is left behind: where the next one hangs too, it may still come back.
        if self._left_behind is None or not self._left_behind.thread.is_alive():
            self._left_behind = self._worker
            self._worker = _Worker(self._run)
            self._worker.thread.start()

    def _lose(self) -> None:
        if self._state == "live":
            self._state = "lost"
            self._lost_at_s = time.monotonic()
            self.losses += 1

    # What follows runs in the thread.

    def _run(self, worker: "_Worker") -> None:
        pause_s = FIRST_PAUSE_S
        try:
            while self._wanted(worker):
                worker.beat(reading=False)
                if self._read_until_lost(worker):
                    pause_s = FIRST_PAUSE_S
                with self._changed:
                    self._changed.wait_for(lambda: not self._wanted(worker), pause_s)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
        except Exception as error:  # Handed on: `next` raises it in the caller's thread.
            with self._changed:
                if self._wanted(worker):
                    self._error = error
                    self._changed.notify_all()

    def _wanted(self, worker: "_Worker") -> bool:
        return worker is self._worker and self._state != "ended"

    def _read_until_lost(self, worker: "_Worker") -> bool:
        """Read while frames come; tells whether there was any."""
        try:
            capture = self._source.open()
        except DataError:
            # At the start it is the user's mistake; later the camera may come back.
            if self._state == "opening":
                raise
            return False
        any_frame = False
        self._moved_at_s = time.monotonic()
        try:
            while self._wanted(worker):
                frame = capture.read()
                if frame is None:
                    self._end_or_lose(worker)
                    return any_frame
                if not self._take(worker, frame):
                    return any_frame
                any_frame = any_frame or self._state == "live"
        finally:
            capture.close()
        return any_frame

    def _end_or_lose(self, worker: "_Worker") -> None:
        with self._changed:
            if not self._wanted(worker):
                return
            if not self._source.live:
                self._state = "ended"
            elif self._state == "opening":
                self._error = DataError(f"it was opened but gives no picture: {self._source.name}")
            else:
                self._lose()
            self._changed.notify_all()

    def _take(self, worker: "_Worker", frame: Frame) -> bool:
        """Hand a frame over; False ends the reading."""
        with self._changed:
            if not self._source.live:
                self._changed.wait_for(
                    lambda: len(self._frames) < _QUEUE_SIZE or not self._wanted(worker)
                )
            if not self._wanted(worker):
                return False
            if self._source.live:
                worker.beat(reading=True)
                if self._still_s is not None and self._stands_still(frame):
                    if time.monotonic() - self._moved_at_s > self._still_s:
                        self._lose()
                        return False
                    if self._state == "lost":
                        return True
                frame = self._stamped(frame)
                self.dropped += len(self._frames)
                self._frames.clear()
            self._count += 1
            self._state = "live"
            self._frames.append(frame)
            self._changed.notify_all()
            return True

    def _stamped(self, frame: Frame) -> Frame:
        now_s = time.monotonic()
        if self._count == 0:
            self._start_s = now_s
        return replace(frame, index=self._count, time_s=now_s - self._start_s)

    def _stands_still(self, frame: Frame) -> bool:
        rows = frame.pixels[::4]
        same = self._last_rows is not None and np.array_equal(rows, self._last_rows)
        if not same:
            # A copy, because a source may use one array for all its frames.
            self._last_rows = rows.copy()
            self._moved_at_s = time.monotonic()
        return same


class _Worker:
    """A daemon thread, and when it last came back from OpenCV."""

    def __init__(self, run: "Callable[[_Worker], None]") -> None:
        self.reading = False
        self.beat_s = time.monotonic()
        self.thread = threading.Thread(target=run, args=(self,), name="frame reader", daemon=True)

    def beat(self, reading: bool) -> None:
        """Say that it is alive, and whether it waits for a frame or opens the source."""
        self.reading = reading
        self.beat_s = time.monotonic()
