"""Asks each person for a neutral face before a pair model reads the others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fer_keras.runtime.faces.face import Face
from fer_keras.runtime.recognizer import Recognizer
from fer_keras.runtime.stream.sources import Frame, Pixels

# Enough to average the grain away; more would only cost memory.
_MAX_PICTURES = 8


@dataclass(frozen=True)
class WaitingFace:
    """A face that is not read yet, because its neutral face is being looked at.

    Attributes:
        track: Its number.
        face: Where it is.
        share: How much of the time is over, 0..1.
    """

    track: int
    face: Face
    share: float


@dataclass
class _Samples:
    since_s: float
    pictures: list[Pixels] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)


class NeutralCalibration:
    """Collects the neutral face of every track that has none; nothing to do for other models.

    The pictures stay in memory until their mean is taken, and the mean until the track ends.

    Args:
        recognizer: Its neutral faces are set.
        duration_s: For how long a person looks neutral, in seconds.
    """

    def __init__(self, recognizer: Recognizer, duration_s: float = 2.0) -> None:
        self._recognizer = recognizer
        self._duration_s = duration_s
        self._samples: dict[int, _Samples] = {}
        self._again: set[int] = set()

    def split(
        self, frame: Frame, tracked: Sequence[tuple[int, Face]]
    ) -> tuple[list[tuple[int, Face]], list[WaitingFace]]:
        """Divide the faces of a frame into those that can be read and those that cannot yet.

        Args:
            frame: The picture.
            tracked: The numbers and faces in it.

        Returns:
            Numbers and faces that can be read, and the others.
        """
        ready: list[tuple[int, Face]] = []
        waiting: list[WaitingFace] = []
        for track, face in tracked:
            if self._recognizer.has_neutral(track) and track not in self._again:
                ready.append((track, face))
                continue
            share = self._collect(frame, track, face)
            if share < 1:
                waiting.append(WaitingFace(track, face, share))
            else:
                ready.append((track, face))
        return ready, waiting

    def restart(self, tracks: Iterable[int]) -> None:
        """Ask these faces for another neutral face."""
        if self._recognizer.input_kind == "pair":
            self._again.update(tracks)
            self._samples.clear()

    def drop(self, tracks: Iterable[int]) -> None:
        """Forget faces that are gone."""
        for track in tracks:
            self._samples.pop(track, None)
            self._again.discard(track)
            self._recognizer.clear_neutral(track)

    def _collect(self, frame: Frame, track: int, face: Face) -> float:
        samples = self._samples.setdefault(track, _Samples(frame.time_s))
        past_s = frame.time_s - samples.since_s
        if past_s >= len(samples.pictures) * self._duration_s / _MAX_PICTURES:
            samples.pictures.append(frame.pixels)
            samples.faces.append(face)
        if past_s < self._duration_s:
            return past_s / self._duration_s
        self._recognizer.set_neutral(samples.pictures, track, samples.faces)
        del self._samples[track]
        self._again.discard(track)
        return 1.0
