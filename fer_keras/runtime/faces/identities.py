"""One number for a person across absences, by how the face and what is about it look.

It is off by default. What it remembers is a short vector of each person, in memory alone, and gone
with the object. It is made for one film or one sitting: the same light, hair and clothes. It is no
face recognition: people who look alike may become one, and somebody who puts on a hat two.

The descriptor is the colours of the face box (a histogram in L*a*b*), of which expressions change
little.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.opencv import cv2
from fer_keras.runtime.faces.align import crop_upright
from fer_keras.runtime.faces.face import Face
from fer_keras.runtime.faces.track import TrackedFace

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SIDE = 64
# Bins of lightness and of the two colours, and the range of the colours that faces and hair have.
_BINS = (6, 12, 12)
_RANGES = (0, 256, 90, 180, 90, 180)
MIN_LIKENESS = 0.92
# Views of a person that are kept: the looks of a moment are not those of the whole film.
_MAX_VIEWS = 8
# A view is worth keeping where it differs from those that are known.
_NEW_VIEW = 0.98


def describe_face(picture: Pixels, face: Face) -> Floats:
    """What a face looks like, as a vector of length 1.

    Args:
        picture: uint8 RGB `(height, width, 3)`.
        face: In it.

    Returns:
        float32 `(d,)`; the product of two is their likeness, 0 to 1.
    """
    crop = crop_upright(picture, face.box, face.landmarks, (_SIDE, _SIDE))
    colours = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB)
    counts = cv2.calcHist([colours], [0, 1, 2], None, list(_BINS), list(_RANGES))
    # The root keeps one large area from being all there is; their product is then the overlap.
    shares = np.sqrt(np.asarray(counts, np.float32).ravel())
    return np.asarray(shares / max(float(np.linalg.norm(shares)), 1e-6), np.float32)


class Identities:
    """Gives those who come back the number that they had.

    Args:
        min_likeness: From here on two faces are one person, in (0, 1).
    """

    def __init__(self, min_likeness: float = MIN_LIKENESS) -> None:
        self._min_likeness = min_likeness
        # By the number that people are shown under.
        self._views: dict[int, list[Floats]] = {}
        # Number of a track -> number of its person.
        self._person_of: dict[int, int] = {}

    def update(
        self, picture: Pixels, tracked: Sequence[TrackedFace], ended: Sequence[int]
    ) -> list[TrackedFace]:
        """Exchange the numbers of tracks for those of people.

        Args:
            picture: uint8 RGB `(height, width, 3)`.
            tracked: The faces in it, by the numbers of their tracks.
            ended: The tracks that have ended.

        Returns:
            The faces with the numbers of their people.
        """
        for track in ended:
            self._person_of.pop(track, None)
        present = {self._person_of[seen.number] for seen in tracked if self._is_known(seen)}
        for seen in tracked:
            # A face that is carried along may be half turned away or covered.
            if seen.source != "detected":
                continue
            view = describe_face(picture, seen.face)
            if not self._is_known(seen):
                person = self._nearest(view, present)
                self._person_of[seen.number] = seen.number if person is None else person
                present.add(self._person_of[seen.number])
            self._keep(self._person_of[seen.number], view)
        return [
            seen._replace(number=self._person_of.get(seen.number, seen.number)) for seen in tracked
        ]

    def people(self, tracks: Sequence[int]) -> list[int]:
        """The people of tracks, where they are known, otherwise the tracks.

        Args:
            tracks: Their numbers.
        """
        return [self._person_of.get(track, track) for track in tracks]

    def _is_known(self, seen: TrackedFace) -> bool:
        return seen.number in self._person_of

    def _nearest(self, view: Floats, present: set[int]) -> int | None:
        """The absent person who looks most like this, if anybody does."""
        likeness = {
            person: max(float(view @ known) for known in views)
            for person, views in self._views.items()
            if person not in present
        }
        best = max(likeness, key=lambda person: likeness[person], default=None)
        return best if best is not None and likeness[best] >= self._min_likeness else None

    def _keep(self, person: int, view: Floats) -> None:
        views = self._views.setdefault(person, [])
        if len(views) < _MAX_VIEWS and all(float(view @ known) < _NEW_VIEW for known in views):
            views.append(view)
