"""The faces of frames in a row: detect, track, classify, smooth; wherever the frames come from.

Memory does not grow with the number of frames: what is known of a face is forgotten when its track
ends.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import ConfigError
from fer_keras.runtime.faces.align import Box
from fer_keras.runtime.faces.face import Face
from fer_keras.runtime.faces.identities import Identities
from fer_keras.runtime.faces.look import Look
from fer_keras.runtime.faces.track import FaceSource, TrackedFace, Tracker
from fer_keras.runtime.faces.turn import is_upright
from fer_keras.runtime.recognizer import FaceResult, Recognizer
from fer_keras.runtime.stream.neutral import NeutralCalibration, WaitingFace
from fer_keras.runtime.stream.reader import State
from fer_keras.runtime.stream.smoothing import HALF_LIFE_S, HYSTERESIS, ProbabilitySmoother
from fer_keras.runtime.stream.sources import Frame

Stage = Literal["decode", "detect", "track", "align", "classify"]
STAGES: tuple[Stage, ...] = ("decode", "detect", "track", "align", "classify")
# Faces are looked for at least so often, in seconds of the source, however few frames are read.
MAX_UNDETECTED_S = 0.5


@dataclass(frozen=True)
class StreamFace:
    """A face of one frame.

    Attributes:
        result: With the smoothed probabilities, and what follows from them; `dominant` is the
            emotion to show, and changes only where another one is clearly more probable.
        raw: The probabilities of this frame alone, float32 `(classes,)`; those of `result` follow
            from the frames so far: smoothed, and by a clip model of the clip that ends here.
        source: Whether the face was "detected" in this frame or "tracked" from an earlier one; the
            score of `result` is the detector's or the tracker's, accordingly.
    """

    result: FaceResult
    raw: NDArray[np.float32]
    source: FaceSource = "detected"

    @property
    def track(self) -> int:
        """Its number."""
        return self.result["track"] or 0


@dataclass(frozen=True)
class Moment:
    """What a stream has to tell: a frame with its faces, or that there is none.

    Attributes:
        frame: The frame; None while the source is being opened or is lost.
        faces: The faces that were read, by number.
        waiting: Those that a pair model waits for.
        ended: Numbers of the faces that have gone for good.
        state: Of the source.
        boxes: Of all faces that are followed, also those that were not read; in pixels.
    """

    frame: Frame | None
    faces: Sequence[StreamFace] = ()
    waiting: Sequence[WaitingFace] = ()
    ended: Sequence[int] = ()
    state: State = "live"
    boxes: Sequence[Box] = ()


@dataclass
class StageTimes:
    """How long each stage took, summed up: no list that grows.

    Attributes:
        seconds: By stage.
        times: How often each stage ran: a frame for decode and track, a detection for detect, a
            face for align and classify.
    """

    seconds: dict[Stage, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    times: dict[Stage, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))

    def add(self, stage: Stage, seconds: float, times: int = 1) -> None:
        """Add what a stage took."""
        self.seconds[stage] += seconds
        self.times[stage] += times

    def mean_ms(self) -> dict[Stage, float]:
        """Stage -> milliseconds each time, of the stages that ran."""
        return {
            stage: 1000 * self.seconds[stage] / self.times[stage]
            for stage in STAGES
            if self.times[stage]
        }


class Follower:
    """Follows the faces of one camera or film, frame by frame.

    Args:
        recognizer: Finds the faces and reads them.
        detect_every: Look for faces in every so many frames, at least 1, and at least every
            `MAX_UNDETECTED_S`, and follow them in between; a face that cannot be followed is looked
            for at once, and not read where it is not found.
        half_life_s: Of the smoothing, in seconds; 0 for none: every frame speaks for itself.
        hysteresis: By how much the shown emotion must be exceeded before it changes; see
            `fer_keras.runtime.stream.smoothing.ProbabilitySmoother`.
        neutral_s: For how long a pair model looks at a person's neutral face, in seconds.
        identities: Whether somebody who comes back after an absence, or a cut, gets the number of
            before, by appearance; see `fer_keras.runtime.faces.identities`.

    Attributes:
        recognizer: As given.
        times: How long each stage took.
        num_frames: How many frames were read.
        num_faces: How many faces were read, over all frames.

    Raises:
        ConfigError: A number is out of range.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        *,
        detect_every: int = 5,
        half_life_s: float = HALF_LIFE_S,
        hysteresis: float = HYSTERESIS,
        neutral_s: float = 2.0,
        identities: bool = False,
    ) -> None:
        if detect_every < 1:
            raise ConfigError(f"detect_every: expected at least 1, received {detect_every}")
        self.recognizer = recognizer
        self.times = StageTimes()
        self.num_frames = 0
        self.num_faces = 0
        self._detect_every = detect_every
        self._since_detection = detect_every
        self._last_s = self._detected_s = 0.0
        self._tracker = Tracker()
        self._identities = Identities() if identities else None
        self._smoother = ProbabilitySmoother(half_life_s, hysteresis if half_life_s > 0 else 0.0)
        self._neutral = NeutralCalibration(recognizer, neutral_s)
        self._visible: tuple[int, ...] = ()
        self._upright: list[Box] = []
        recognizer.clear_clips()  # Another stream numbers its faces from the start again.

    def restart_neutral(self) -> None:
        """Ask everybody who is seen for another neutral face (pair models)."""
        self._neutral.restart(self._visible)

    def read(self, frame: Frame) -> Moment:
        """Read the next frame.

        Args:
            frame: Not earlier than the last one.

        Returns:
            Its faces, by number.
        """
        self.times.add("decode", frame.decode_s)
        tracked = self._follow(frame)
        self._upright = [seen.face.box for seen in tracked if is_upright(seen.face)]
        ended: Sequence[int] = self._tracker.ended
        if self._identities is not None:
            gone = self._identities.people(ended)
            tracked = self._identities.update(frame.pixels, tracked, ended)
            # Somebody may go and come back in one frame, across a cut.
            ended = [person for person in gone if person not in {seen.number for seen in tracked}]
        self._visible = tuple(seen.number for seen in tracked)
        self._smoother.drop(ended)
        self._neutral.drop(ended)
        self.recognizer.clear_clips(ended)
        ready, waiting = self._neutral.split(frame, [(seen.number, seen.face) for seen in tracked])
        faces = self._classify(frame, ready, {seen.number: seen.source for seen in tracked})
        self.num_frames += 1
        self.num_faces += len(faces)
        boxes = [seen.face.box for seen in tracked]
        return Moment(frame, faces, waiting, ended, boxes=boxes)

    def _follow(self, frame: Frame) -> list[TrackedFace]:
        found = self._detect(frame) if self._is_due(frame.time_s) else None
        start = time.perf_counter()
        tracked = self._tracker.update(frame.pixels, frame.time_s, found)
        track_s = time.perf_counter() - start
        if found is None and self._tracker.uncertain:
            found = self._detect(frame)
            start = time.perf_counter()
            tracked = self._tracker.detected(found)
            track_s += time.perf_counter() - start
        self.times.add("track", track_s)
        self._last_s = frame.time_s
        if found is None:
            self._since_detection += 1
        else:
            self._since_detection, self._detected_s = 1, frame.time_s
        return tracked

    def _is_due(self, time_s: float) -> bool:
        """Whether to look for faces now: by the frames, or because the next one may be too late."""
        next_s = time_s + max(0.0, time_s - self._last_s)
        # A millisecond's tolerance, because times are rounded.
        is_late = next_s - self._detected_s > MAX_UNDETECTED_S + 1e-3
        return is_late or self._since_detection >= self._detect_every

    def _detect(self, frame: Frame) -> list[Face]:
        start = time.perf_counter()
        found = self.recognizer.detect(frame.pixels, is_frame=True, upright=self._upright)
        self.times.add("detect", time.perf_counter() - start)
        return found

    def _classify(
        self,
        frame: Frame,
        ready: Sequence[tuple[int, Face]],
        sources: Mapping[int, FaceSource],
    ) -> list[StreamFace]:
        if not ready:
            return []
        start = time.perf_counter()
        faces, looks = self.recognizer.worth_reading(frame.pixels, [face for _, face in ready])
        track_of = {id(face): track for track, face in ready}
        tracks = [track_of[id(face)] for face in faces]
        crops = self.recognizer.crop_faces(frame.pixels, faces)
        cropped = time.perf_counter()
        readings, alone = self.recognizer.read_over_time(crops, tracks)
        raw_rows = alone[:, : len(self.recognizer.classes_)]
        self.times.add("align", cropped - start, len(ready))
        self.times.add("classify", time.perf_counter() - cropped, len(ready))
        return [
            StreamFace(self._result(track, face, look, row, frame.time_s), raw, sources[track])
            for track, face, look, row, raw in zip(
                tracks, faces, looks, readings, raw_rows, strict=True
            )
        ]

    def _result(
        self,
        track: int,
        face: Face,
        look: Look,
        reading: NDArray[np.float32],
        time_s: float,
    ) -> FaceResult:
        smooth = self._smoother.update(track, reading, time_s, len(self.recognizer.classes_))
        result = self.recognizer.result(face, smooth, track, look=look)
        shown = str(self.recognizer.classes_[self._smoother.dominant(track)])
        if shown != result["dominant"]:
            # Hysteresis holds it; the set keeps what is in it by its threshold.
            threshold_of = self.recognizer.decision.threshold_of
            least = {name: threshold_of(i) for i, name in enumerate(self.recognizer.classes_)}
            others = [n for n in result["label_set"] if result["emotions"][n] >= least[n]]
            result["label_set"] = [shown, *(name for name in others if name != shown)]
            result["dominant"] = shown
        return result
