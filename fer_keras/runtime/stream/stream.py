"""Expressions in a stream: read, detect, track, classify, smooth, frame by frame.

A thread reads and decodes (`fer_keras.runtime.stream.reader`); all else happens where the stream is
iterated over (`fer_keras.runtime.stream.follow`).
"""

import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from fer_keras.runtime.recognizer import Recognizer
from fer_keras.runtime.stream.follow import Follower, Moment
from fer_keras.runtime.stream.reader import FrameReader
from fer_keras.runtime.stream.smoothing import HALF_LIFE_S, HYSTERESIS
from fer_keras.runtime.stream.sources import Frame, Source

_FPS_FRAMES = 30


class Stream(Follower):
    """The faces of a source, frame by frame; a context manager that is iterated over once.

        with Stream(open_source("0"), Recognizer()) as stream:
            for moment in stream:
                for face in moment.faces:
                    ...

    Args:
        source: From `fer_keras.runtime.stream.sources.open_source`, or one of your own.
        recognizer, detect_every, half_life_s, hysteresis, neutral_s, identities: See `Follower`.
        still_s: See `fer_keras.runtime.stream.reader.FrameReader`.
        idle_s: While there is no frame, an empty moment is given so often, in seconds, so that a
            window stays alive.

    Attributes:
        source: As given.

    Raises:
        ConfigError: A number is out of range.
    """

    def __init__(
        self,
        source: Source,
        recognizer: Recognizer,
        *,
        detect_every: int = 5,
        half_life_s: float = HALF_LIFE_S,
        hysteresis: float = HYSTERESIS,
        neutral_s: float = 2.0,
        identities: bool = False,
        still_s: float | None = 1.5,
        idle_s: float = 0.1,
    ) -> None:
        super().__init__(
            recognizer,
            detect_every=detect_every,
            half_life_s=half_life_s,
            hysteresis=hysteresis,
            neutral_s=neutral_s,
            identities=identities,
        )
        self.source = source
        self._idle_s = idle_s
        self._recent_s: deque[float] = deque(maxlen=_FPS_FRAMES)
        self._first_s = 0.0
        # Last, because it starts a thread.
        self._reader = FrameReader(source, still_s=still_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()

    @property
    def fps(self) -> float:
        """Frames per second over the last frames, as they were given."""
        if len(self._recent_s) < 2:
            return 0.0
        return (len(self._recent_s) - 1) / max(self._recent_s[-1] - self._recent_s[0], 1e-9)

    @property
    def mean_fps(self) -> float:
        """Frames per second from the first frame to the last one."""
        if len(self._recent_s) < 2:
            return 0.0
        return (self.num_frames - 1) / max(self._recent_s[-1] - self._first_s, 1e-9)

    @property
    def dropped(self) -> int:
        """How many frames of a live source came and were passed over, because newer ones came."""
        return self._reader.dropped

    @property
    def losses(self) -> int:
        """How often a live source was lost."""
        return self._reader.losses

    @property
    def lost_s(self) -> float:
        """For how long the source has been lost, in seconds; 0 where it is not."""
        return self._reader.lost_s

    def __iter__(self) -> Iterator[Moment]:
        """Give what happens, until a file ends; a live source has no end.

        Raises:
            DataError: The source cannot be opened at first, or a frame cannot be read.
        """
        while True:
            frame = self._reader.next(self._idle_s)
            if frame is not None:
                yield self.read(frame)
            elif self._reader.state == "ended":
                return
            else:
                yield Moment(None, state=self._reader.state)

    def read(self, frame: Frame) -> Moment:
        """Read the next frame; see `Follower.read`."""
        moment = super().read(frame)
        self._recent_s.append(time.perf_counter())
        self._first_s = self._first_s or self._recent_s[0]
        return moment
