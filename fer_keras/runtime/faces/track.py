"""Follows faces from frame to frame: who is who, and where they are between detections.

Policy
- Between detections a box follows the picture: a grid of points inside it is tracked by pyramidal
  Lucas-Kanade optical flow, forward and back; those that return to their start say, by their
  median, how far the box moved and how much it grew (Median Flow: Kalal, Mikolajczyk and Matas,
  "Forward-Backward Error", ICPR 2010). Where too few return, or the box no longer looks like what
  the detector found in it, the face is lost: it is hidden at once, its box goes on at its last
  speed for the search alone, and `Tracker.uncertain` asks for a detection in the same picture.
- A detection belongs to the track that it overlaps most (IoU from `MIN_OVERLAP`), the best pair
  first; what is left over, to the nearest track of similar size within `MAX_DISTANCE` sides.
  Hidden tracks (see below) take what those that are seen leave over.
- A track that is missed but followed goes on for `hold_s` (detectors miss a face now and then).
  Then it is hidden for up to `keep_s`, during which the face gets its number back where it turns up
  near the place where it was, and then it ends. Where another face covers it, it is hidden at once,
  and it does not follow the flow, which would carry it away with the face in front.
- A detection that lies mostly inside another face, or holds one, begins no track: cascades find
  noses, and two boxes on one face are one face.
- A hard cut, the whole picture unlike the last one, ends every track; where the whole picture is
  said to be the face (detector "none"), no picture is a cut.
- Numbers count up from 1 and are never given again. The tracker does not know people by their
  looks: who leaves for longer than `keep_s` comes back with a new number, and so does everybody
  after a cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.opencv import cv2
from fer_keras.runtime.faces.align import Box, clip_box
from fer_keras.runtime.faces.face import Face

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
FaceSource = Literal["detected", "tracked"]

MIN_OVERLAP = 0.3
MAX_DISTANCE = 0.8
_MAX_SIZE_RATIO = 2.0
_COVERED_SHARE = 0.5
# Of a missed face's box, covered by another: from here on the flow may be that of the one in front.
_TOUCHED_SHARE = 0.1
_DOUBLED_SHARE = 0.7
# Flow is computed in a picture of this longest side: faces are large in it, and it takes 1-2 ms.
_FLOW_SIDE = 320
_GRID = 9
_MAX_RETURN_ERROR_PX = 1.0
_MIN_POINTS = 12
# Nobody is followed over a longer gap: a head can leave its place meanwhile.
_MAX_FLOW_GAP_S = 0.26
# A box is compared with what the detector found in it at this side, by correlation.
_PATCH_SIDE = 24
_MIN_LIKENESS = 0.5
# A cut: this share of a thumbnail of this width and height changes by so many grey levels, and its
# pattern is another.
_THUMBNAIL = (32, 24)
_CUT_LEVELS = 12.0
_CUT_SHARE = 0.4
_CUT_LIKENESS = 0.5
# Below this spread of grey levels a picture is an even area, and a correlation would be of noise.
_FLAT_LEVELS = 4.0
_COAST_HALF_LIFE_S = 0.25
_MIN_SIDE_PX = 8.0
_MIN_VISIBLE = 0.25


class TrackedFace(NamedTuple):
    """A face of a frame.

    Attributes:
        number: Of its track.
        face: Its box lies inside the picture. The score is the detector's where it found the face
            in this frame, otherwise the likeness with what it found last, 0.5..1.
        source: "detected" in this frame, or "tracked" from an earlier one.
    """

    number: int
    face: Face
    source: FaceSource


@dataclass(eq=False)
class _Track:
    number: int
    face: Face
    velocity: Floats  # Of the centre, pixels per second.
    patch: Floats  # What the detector found, small and grey.
    detected: bool = True
    likeness: float = 1.0
    missed_since_s: float | None = None
    lost: bool = False  # In this picture; hidden from the next one on.
    hidden: bool = False


class Tracker:
    """Gives faces numbers and moves their boxes along; see the policy above.

    Args:
        hold_s: For how long a face that the detector misses is still given, in seconds.
        keep_s: For how long its number is kept for it, in seconds; not under `hold_s`.

    Attributes:
        ended: The numbers of the tracks that ended in the last update.
        uncertain: Whether a face could not be followed in the last update, or the picture is
            another; detect in this picture, and give what is found to `detected`.
    """

    def __init__(self, hold_s: float = 0.5, keep_s: float = 2.0) -> None:
        self._hold_s = hold_s
        self._keep_s = max(hold_s, keep_s)
        self._tracks: list[_Track] = []
        self._next_number = 1
        self._grey: Pixels | None = None
        self._thumbnail: Floats | None = None
        self._scale = 1.0
        self._size: tuple[int, ...] = ()
        self._time_s = 0.0
        self.ended: tuple[int, ...] = ()
        self.uncertain = False

    def update(
        self, picture: Pixels, time_s: float, faces: Sequence[Face] | None = None
    ) -> list[TrackedFace]:
        """Go on to the next frame.

        Args:
            picture: uint8 RGB `(height, width, 3)`.
            time_s: When it was taken, not before the last one.
            faces: What the detector found in it; None where it was not asked.

        Returns:
            Every track that is seen, by number.
        """
        size = picture.shape[:2]
        known = self._tracks
        height, width = size
        self._scale = min(1.0, _FLOW_SIDE / max(height, width))
        small = cv2.resize(
            picture, None, fx=self._scale, fy=self._scale, interpolation=cv2.INTER_AREA
        )
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
        thumbnail = cv2.resize(grey, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float64)
        # Places in a picture of another size, or of another scene, mean nothing in this one.
        is_other = size != self._size or (
            self._thumbnail is not None
            and not self._is_ready_crop()
            and _is_cut(self._thumbnail, thumbnail)
        )
        if is_other:
            self._tracks, self._grey, self._size = [], None, size
        self._thumbnail = thumbnail
        self._move(grey, time_s)
        self.uncertain = is_other or any(track.lost for track in self._tracks)
        self.ended = ()
        return self._seen(faces, known)

    def detected(self, faces: Sequence[Face]) -> list[TrackedFace]:
        """Add what the detector found in the picture of the last update, where it was asked later.

        Args:
            faces: What was found.

        Returns:
            As `update`.
        """
        return self._seen(faces, self._tracks)

    def _seen(self, faces: Sequence[Face] | None, known: Sequence[_Track]) -> list[TrackedFace]:
        if faces is not None:
            self._match(faces, self._time_s)
        for track in self._tracks:
            missed_s = self._missed_s(track)
            is_missed = track.missed_since_s is not None
            track.hidden = track.hidden or (is_missed and missed_s >= self._hold_s)
        self._tracks = [track for track in self._tracks if not self._is_over(track)]
        ended = tuple(track.number for track in known if track not in self._tracks)
        self.ended = (*self.ended, *ended)
        return [
            TrackedFace(
                track.number,
                replace(
                    track.face,
                    box=clip_box(track.face.box, (self._size[0], self._size[1])),
                    score=track.face.score if track.detected else track.likeness,
                ),
                "detected" if track.detected else "tracked",
            )
            for track in self._tracks
            if not track.hidden and not track.lost
        ]

    # ---- moving

    def _move(self, grey: Pixels, time_s: float) -> None:
        for track in self._tracks:
            track.hidden, track.lost, track.detected = track.hidden or track.lost, False, False
        step_s = max(0.0, time_s - self._time_s)
        followed = [track for track in self._tracks if not self._is_carried(track)]
        moves: list[tuple[Floats, float] | None] = [None] * len(followed)
        if self._grey is not None and step_s <= _MAX_FLOW_GAP_S and followed:
            boxes = [track.face.box for track in followed]
            moves = _flow(self._grey, grey, boxes, self._scale)
        for track, move in zip(followed, moves, strict=True):
            if move is None:
                _coast(track, step_s)
                track.lost = True
            else:
                _shift(track, *move)
                if step_s > 0:
                    track.velocity = 0.5 * track.velocity + 0.5 * move[0] / step_s
        for track in self._tracks:
            if track not in followed:
                _coast(track, step_s)
            if not track.hidden and not track.lost:
                # The flow also follows a wall, or a hand, that took the face's place.
                track.likeness = _likeness(track.patch, self._patch(grey, track.face.box))
                track.lost = track.likeness < _MIN_LIKENESS
            if track.lost and track.missed_since_s is None:
                track.missed_since_s = time_s
        self._grey, self._time_s = grey, time_s

    def _is_ready_crop(self) -> bool:
        """Whether the whole picture is said to be one face: then nothing else can tell a cut."""
        height, width = self._size
        return any(track.face.box == (0, 0, width, height) for track in self._tracks)

    def _patch(self, grey: Pixels, box: Box) -> Floats:
        left, top, width, height = (side * self._scale for side in box)
        rows = slice(max(0, round(top)), max(1, round(top + height)))
        columns = slice(max(0, round(left)), max(1, round(left + width)))
        cut = grey[rows, columns]
        if not cut.size:
            return np.zeros((_PATCH_SIDE, _PATCH_SIDE))
        patch = cv2.resize(cut, (_PATCH_SIDE, _PATCH_SIDE), interpolation=cv2.INTER_AREA)
        return patch.astype(np.float64)

    def _is_carried(self, track: _Track) -> bool:
        """Whether the flow inside the box may be another face's."""
        return track.hidden or (
            track.missed_since_s is not None
            and any(
                _shared(track.face.box, other.face.box) > _TOUCHED_SHARE
                for other in self._tracks
                if other is not track and not other.hidden
            )
        )

    # ---- matching

    def _match(self, faces: Sequence[Face], time_s: float) -> None:
        if self._grey is None:
            return
        pairs = self._pairs([face.box for face in faces])
        for t, f in pairs.items():
            track = self._tracks[t]
            track.face, track.missed_since_s = faces[f], None
            track.detected, track.lost, track.hidden = True, False, False
            track.patch = self._patch(self._grey, track.face.box)
        matched = [self._tracks[t].face.box for t in pairs]
        for t, track in enumerate(self._tracks):
            if t in pairs:
                continue
            if track.missed_since_s is None:
                track.missed_since_s = time_s
            covered = any(_shared(track.face.box, box) > _COVERED_SHARE for box in matched)
            if covered or track.lost:
                track.hidden = True
        for f, face in enumerate(faces):
            doubled = any(_shared(face.box, box) > _DOUBLED_SHARE for box in matched)
            if f not in pairs.values() and not doubled:
                patch = self._patch(self._grey, face.box)
                self._tracks.append(_Track(self._next_number, face, np.zeros(2), patch))
                self._next_number += 1
                matched.append(face.box)

    def _pairs(self, faces: Sequence[Box]) -> dict[int, int]:
        """Track index -> face index: the seen before the hidden, overlap before distance."""
        ranked: list[tuple[bool, bool, float, int, int]] = []
        for t, track in enumerate(self._tracks):
            for f, face in enumerate(faces):
                overlap = _overlap(track.face.box, face)
                distance = _distance(track.face.box, face)
                if overlap >= MIN_OVERLAP:
                    ranked.append((track.hidden, False, -overlap, t, f))
                elif distance <= MAX_DISTANCE:
                    ranked.append((track.hidden, True, distance, t, f))
        pairs: dict[int, int] = {}
        for _, _, _, t, f in sorted(ranked):
            if t not in pairs and f not in pairs.values():
                pairs[t] = f
        return pairs

    def _missed_s(self, track: _Track) -> float:
        return 0.0 if track.missed_since_s is None else self._time_s - track.missed_since_s

    def _is_over(self, track: _Track) -> bool:
        if self._missed_s(track) > self._keep_s:
            return True
        _, _, width, height = track.face.box
        inside = clip_box(track.face.box, (self._size[0], self._size[1]))
        return (
            min(width, height) < _MIN_SIDE_PX
            or inside[2] * inside[3] < _MIN_VISIBLE * width * height
        )


def _flow(
    before: Pixels, after: Pixels, boxes: Sequence[Box], scale: float
) -> list[tuple[Floats, float] | None]:
    """How far each box moved, in pixels of the full picture, and its growth; None if unknown."""
    steps = np.linspace(0.1, 0.9, _GRID)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    starts = np.concatenate(
        [(np.array(box[:2]) + grid * np.array(box[2:])) * scale for box in boxes]
    ).astype(np.float32)[:, None]
    ends, forward, _ = cv2.calcOpticalFlowPyrLK(before, after, starts, None)
    returned, back, _ = cv2.calcOpticalFlowPyrLK(after, before, ends, None)
    error = np.linalg.norm(returned - starts, axis=-1)[:, 0]
    good = (forward[:, 0] == 1) & (back[:, 0] == 1) & (error < _MAX_RETURN_ERROR_PX)
    moves: list[tuple[Floats, float] | None] = []
    for start in range(0, len(starts), len(grid)):
        chosen = np.flatnonzero(good[start : start + len(grid)]) + start
        if len(chosen) < _MIN_POINTS:
            moves.append(None)
            continue
        old, new = starts[chosen, 0].astype(np.float64), ends[chosen, 0].astype(np.float64)
        i, j = np.triu_indices(len(chosen), 1)
        distance = np.linalg.norm(old[i] - old[j], axis=1)
        growth = float(np.median(np.linalg.norm(new[i] - new[j], axis=1) / distance))
        moves.append((np.median(new - old, axis=0) / scale, growth))
    return moves


def _likeness(one: Floats, other: Floats) -> float:
    """The correlation of two small pictures, which lamps and exposure do not change; 0 if flat."""
    a, b = one - one.mean(), other - other.mean()
    spreads = float(a.std()), float(b.std())
    return 0.0 if min(spreads) < 1 else float((a * b).mean()) / (spreads[0] * spreads[1])


def _is_cut(before: Floats, after: Floats) -> bool:
    """Whether two thumbnails in a row show different scenes."""
    if float((np.abs(after - before) > _CUT_LEVELS).mean()) < _CUT_SHARE:
        return False
    spreads = float(before.std()), float(after.std())
    # Two even areas differ by the light alone.
    return max(spreads) >= _FLAT_LEVELS and (
        min(spreads) < _FLAT_LEVELS or _likeness(before, after) < _CUT_LIKENESS
    )


def _shift(track: _Track, move: Floats, growth: float = 1.0) -> None:
    left, top, width, height = track.face.box
    centre = np.array([left + width / 2, top + height / 2])
    x, y = centre + move
    width, height = width * growth, height * growth
    points = track.face.landmarks
    if points is not None:
        points = ((points - centre) * growth + centre + move).astype(np.float32)
    track.face = replace(
        track.face, box=(x - width / 2, y - height / 2, width, height), landmarks=points
    )


def _coast(track: _Track, step_s: float) -> None:
    """Go on at the last speed, which fades, because heads stop and turn back."""
    _shift(track, track.velocity * step_s)
    track.velocity = track.velocity * 0.5 ** (step_s / _COAST_HALF_LIFE_S)


def _intersection(one: Box, other: Box) -> float:
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    shared = _intersection(one, other)
    return shared / max(one[2] * one[3] + other[2] * other[3] - shared, 1e-9)


def _shared(one: Box, other: Box) -> float:
    """Intersection over the smaller box."""
    return _intersection(one, other) / max(min(one[2] * one[3], other[2] * other[3]), 1e-9)


def _distance(one: Box, other: Box) -> float:
    """Between the centres, in mean sides; infinite where the sizes are too different."""
    side, other_side = (one[2] + one[3]) / 2, (other[2] + other[3]) / 2
    if not 1 / _MAX_SIZE_RATIO <= side / max(other_side, 1e-9) <= _MAX_SIZE_RATIO:
        return float("inf")
    x = one[0] + one[2] / 2 - other[0] - other[2] / 2
    y = one[1] + one[3] / 2 - other[1] - other[3] / 2
    return float(np.hypot(x, y)) / ((side + other_side) / 2)
