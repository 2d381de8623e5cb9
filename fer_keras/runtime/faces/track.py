"""Follows faces from frame to frame: who is who, and where they are between detections.

Policy
- Between detections a box follows the picture: a grid of points inside it is tracked by pyramidal
  Lucas-Kanade optical flow, forward and back; those that return to their start say, by their
  median, how far the box moved and how much it grew (Median Flow: Kalal, Mikolajczyk and Matas,
  "Forward-Backward Error", ICPR 2010). Where too few return, the box goes on at its last speed, and
  `Tracker.uncertain` asks for a detection.
- A detection belongs to the track that it overlaps most (IoU from `MIN_OVERLAP`), the best pair
  first; what is left over, to the nearest track of similar size within `MAX_DISTANCE` sides.
  Hidden tracks (see below) take what those that are seen leave over.
- A track without a detection goes on for `hold_s` (detectors miss a face now and then), then it is
  hidden for up to `keep_s`, during which the face gets its number back where it turns up near the
  place where it was, and then it ends. Where another face covers it, it is hidden at once, and it
  does not follow the flow, which would carry it away with the face in front.
- A detection that lies mostly inside another face, or holds one, begins no track: cascades find
  noses, and two boxes on one face are one face.
- Numbers count up from 1 and are never given again. The tracker does not know people by their
  looks: who leaves for longer than `keep_s` comes back with a new number, and a film's cut to
  another face at the same place keeps the old one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.opencv import cv2
from fer_keras.runtime.faces.align import clip_box
from fer_keras.runtime.faces.detect import Box, Face

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

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
# Nobody is followed over a longer gap: the picture may be another.
_MAX_FLOW_GAP_S = 0.5
_COAST_HALF_LIFE_S = 0.25
_MIN_SIDE_PX = 8.0
_MIN_VISIBLE = 0.25


@dataclass(eq=False)
class _Track:
    number: int
    face: Face
    velocity: Floats  # Of the centre, pixels per second.
    missed_since_s: float | None = None
    hidden: bool = False


class Tracker:
    """Gives faces numbers and moves their boxes along; see the policy above.

    Args:
        hold_s: For how long a face that the detector misses is still given, in seconds.
        keep_s: For how long its number is kept for it, in seconds; not under `hold_s`.

    Attributes:
        ended: The numbers of the tracks that ended in the last update.
        uncertain: Whether a face could not be followed in the last update; detect again.
    """

    def __init__(self, hold_s: float = 0.5, keep_s: float = 2.0) -> None:
        self._hold_s = hold_s
        self._keep_s = max(hold_s, keep_s)
        self._tracks: list[_Track] = []
        self._next_number = 1
        self._grey: Pixels | None = None
        self._size: tuple[int, ...] = ()
        self._time_s = 0.0
        self.ended: tuple[int, ...] = ()
        self.uncertain = False

    def update(
        self, picture: Pixels, time_s: float, faces: Sequence[Face] | None = None
    ) -> list[tuple[int, Face]]:
        """Go on to the next frame.

        Args:
            picture: uint8 RGB `(height, width, 3)`.
            time_s: When it was taken, not before the last one.
            faces: What the detector found in it; None where it was not asked.

        Returns:
            The number and the face of every track that is seen, by number; boxes lie inside the
            picture.
        """
        size = picture.shape[:2]
        known = self._tracks
        if size != self._size:
            # Places in a picture of another size mean nothing in this one.
            self._tracks, self._grey, self._size = [], None, size
        self._move(picture, time_s)
        if faces is not None:
            self._match(faces, time_s)
        self._tracks = [t for t in self._tracks if not self._is_over(t, time_s, size)]
        self.ended = tuple(track.number for track in known if track not in self._tracks)
        return [
            (track.number, replace(track.face, box=clip_box(track.face.box, size)))
            for track in self._tracks
            if not track.hidden
        ]

    # ---- moving

    def _move(self, picture: Pixels, time_s: float) -> None:
        height, width = picture.shape[:2]
        scale = min(1.0, _FLOW_SIDE / max(height, width))
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
        step_s = max(0.0, time_s - self._time_s)
        followed = [track for track in self._tracks if not self._is_carried(track)]
        moves: list[tuple[Floats, float] | None] = [None] * len(followed)
        if self._grey is not None and step_s <= _MAX_FLOW_GAP_S and followed:
            moves = _flow(self._grey, grey, [track.face.box for track in followed], scale)
        for track, move in zip(followed, moves, strict=True):
            if move is None:
                _coast(track, step_s)
            else:
                _shift(track, *move)
                if step_s > 0:
                    track.velocity = 0.5 * track.velocity + 0.5 * move[0] / step_s
        for track in self._tracks:
            if track not in followed:
                _coast(track, step_s)
        self.uncertain = None in moves
        self._grey, self._time_s = grey, time_s

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
        pairs = self._pairs([face.box for face in faces])
        for t, f in pairs.items():
            track = self._tracks[t]
            track.face, track.missed_since_s, track.hidden = faces[f], None, False
        matched = [self._tracks[t].face.box for t in pairs]
        for t, track in enumerate(self._tracks):
            if t in pairs:
                continue
            if track.missed_since_s is None:
                track.missed_since_s = time_s
            covered = any(_shared(track.face.box, box) > _COVERED_SHARE for box in matched)
            if covered or time_s - track.missed_since_s >= self._hold_s:
                track.hidden = True
        for f, face in enumerate(faces):
            doubled = any(_shared(face.box, box) > _DOUBLED_SHARE for box in matched)
            if f not in pairs.values() and not doubled:
                self._tracks.append(_Track(self._next_number, face, np.zeros(2)))
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

    def _is_over(self, track: _Track, time_s: float, size: tuple[int, ...]) -> bool:
        missed_s = 0.0 if track.missed_since_s is None else time_s - track.missed_since_s
        if missed_s > self._keep_s:
            return True
        _, _, width, height = track.face.box
        inside = clip_box(track.face.box, (size[0], size[1]))
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
