"""One self-contained page about a video: every person's emotions over time.

Curves are inline SVG, nothing is fetched, and pictures of faces are in it only where they are asked
for. A part in which one emotion is shown has one picture: that of its surest frame. The HTML is
`common/templates/video_report.html`.
"""

import base64
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.decode import resize
from fer_keras.common.files import write_text
from fer_keras.common.html_page import render
from fer_keras.common.opencv import cv2
from fer_keras.runtime.faces.align import crop_face
from fer_keras.runtime.stream.follow import StreamFace
from fer_keras.runtime.stream.sources import Frame

_MAX_POINTS = 600
_MAX_TRACKS = 40
_MAX_PARTS_SHOWN = 30
# Shorter parts are flickers, shorter tracks mostly no faces.
_MIN_PART_S, _MIN_TRACK_S = 0.4, 0.5
# A face that was away for longer is drawn with a gap.
_MAX_GAP_S = 0.6
_THUMBNAIL_PX, _JPEG_QUALITY = 112, 80
_LEFT, _RIGHT, _WIDTH, _ROW = 90, 930, 1000, 30


@dataclass
class _Part:
    """A stretch in which one emotion is shown."""

    emotion: str
    start_s: float
    end_s: float
    best: float = -1.0
    thumbnail: bytes = b""


@dataclass
class _History:
    """What is kept of a track: numbers, and one small picture for each part."""

    times_s: "array[float]" = field(default_factory=lambda: array("d"))
    shares: "array[float]" = field(default_factory=lambda: array("f"))
    parts: list[_Part] = field(default_factory=list)
    unsure: int = 0

    @property
    def length_s(self) -> float:
        return self.times_s[-1] - self.times_s[0]


class VideoReport:
    """Collects the faces of a video and writes the page.

    Args:
        class_names: Of the model, in the order of its probabilities.
        thumbnails: Whether the page holds pictures of the faces.
    """

    def __init__(self, class_names: Sequence[str], thumbnails: bool = True) -> None:
        self._class_names = list(class_names)
        self._thumbnails = thumbnails
        self._histories: dict[int, _History] = {}

    def add(self, frame: Frame, faces: Sequence[StreamFace]) -> None:
        """Take down the faces of the next frame."""
        for face in faces:
            history = self._histories.setdefault(face.track, _History())
            history.times_s.append(frame.time_s)
            history.shares.extend(face.result["emotions"][name] for name in self._class_names)
            history.unsure += face.result["unsure"]
            self._extend_parts(history, frame, face)

    def write(self, path: Path, title: str, facts: Sequence[str]) -> None:
        """Write the page.

        Args:
            path: The HTML file; replaced in one step.
            title: Of the page, for instance the video's name.
            facts: Lines below the title: model, detector, length.

        Raises:
            OSError: No space, no permission; an old file is untouched.
        """
        long_enough = {
            track: history
            for track, history in self._histories.items()
            if history.length_s >= _MIN_TRACK_S
        }
        by_length = sorted(long_enough, key=lambda track: -len(long_enough[track].times_s))
        shown = sorted(by_length[:_MAX_TRACKS])
        page = render(
            "video_report.html",
            title=title,
            styles=["video_report.css"],
            script="video_report.js",
            facts=facts,
            faces=[self._face(track, long_enough[track]) for track in shown],
            any_face=bool(self._histories),
            left_out=len(self._histories) - len(shown),
            min_track_s=_MIN_TRACK_S,
            max_tracks=_MAX_TRACKS,
            width=_WIDTH,
            left=_LEFT,
            right=_RIGHT,
        )
        write_text(path, page)

    def _extend_parts(self, history: _History, frame: Frame, face: StreamFace) -> None:
        emotion, time_s = face.result["dominant"], frame.time_s
        parts = history.parts
        if parts and parts[-1].emotion != emotion:
            _drop_flicker(parts)
        if not parts or parts[-1].emotion != emotion or time_s - parts[-1].end_s > _MAX_GAP_S:
            parts.append(_Part(emotion, time_s, time_s))
        last = parts[-1]
        last.end_s = time_s
        share = face.result["emotions"][emotion]
        # Cut out only where it is clearly surer, because encoding takes time.
        if self._thumbnails and share > last.best + 0.03:
            last.best = share
            last.thumbnail = _thumbnail(frame, face)

    def _face(self, track: int, history: _History) -> dict[str, Any]:
        shares = np.array(history.shares).reshape(-1, len(self._class_names))
        times_s = np.array(history.times_s)
        shown = np.bincount(shares.argmax(axis=1), minlength=len(self._class_names)) / len(shares)
        most = int(shown.argmax())
        _drop_flicker(history.parts)
        return {
            "track": track,
            "first": _clock(times_s[0]),
            "last": _clock(times_s[-1]),
            "num_frames": len(times_s),
            "most": self._class_names[most],
            "most_share": f"{100 * shown[most]:.0f} %",
            "unsure": f"{100 * history.unsure / len(shares):.0f} %" if history.unsure else "",
            "parts": [
                {
                    "emotion": part.emotion,
                    "at": _clock(part.start_s, tenths=True),
                    "picture": _jpeg_uri(part.thumbnail) if part.thumbnail else "",
                }
                for part in _longest(history.parts)
            ],
            **self._chart(times_s, shares),
        }

    def _chart(self, times_s: NDArray[np.float64], shares: NDArray[np.float64]) -> dict[str, Any]:
        points_s, means = _thinned(times_s, shares)
        from_s, until_s = float(points_s[0]), float(max(points_s[-1], points_s[0] + 1e-3))
        x = _LEFT + (_RIGHT - _LEFT) * (points_s - from_s) / (until_s - from_s)
        pieces = np.split(np.arange(len(x)), np.flatnonzero(np.diff(points_s) > _MAX_GAP_S) + 1)
        points = {
            "left": _LEFT,
            "right": _RIGHT,
            "from": round(from_s, 3),
            "until": round(until_s, 3),
            "times": [round(float(time_s), 3) for time_s in points_s],
            "shares": [[round(100 * float(p)) for p in row] for row in means.T],
            "clock": [_clock(time_s, tenths=True) for time_s in points_s],
        }
        return {
            "height": _ROW * len(self._class_names) + 46,
            "points": json.dumps(points, separators=(",", ":")),
            "ticks": _time_axis(from_s, until_s),
            "rows": [_row(i, name, x, means, pieces) for i, name in enumerate(self._class_names)],
        }


def _row(
    row: int,
    name: str,
    x: NDArray[np.float64],
    means: NDArray[np.float64],
    pieces: Sequence[NDArray[np.intp]],
) -> dict[str, Any]:
    """One emotion: its name, its curve, where it was the most probable one, its mean."""
    base = 18 + _ROW * (row + 1) - 5
    y = base - (_ROW - 8) * means[:, row]
    mean = f"{100 * means[:, row].mean():.0f} %"
    is_most = means.argmax(axis=1) == row
    drawn = []
    for piece in pieces:
        line = " ".join(f"{x[i]:.1f},{y[i]:.1f}" for i in piece)
        area = f"{x[piece[0]]:.1f},{base} {line} {x[piece[-1]]:.1f},{base}"
        runs = []
        for run in np.split(piece, np.flatnonzero(np.diff(is_most[piece])) + 1):
            if is_most[run[0]]:
                # To the next point, so that a part of one point is seen too.
                end = x[min(run[-1] + 1, piece[-1])]
                runs.append((f"{x[run[0]]:.1f}", f"{max(1.5, end - x[run[0]]):.1f}"))
        drawn.append({"line": line, "area": area, "runs": runs})
    return {"name": name, "base": base, "mean": mean, "pieces": drawn}


def _time_axis(from_s: float, until_s: float) -> list[tuple[str, str]]:
    """Where the marks stand and what they say."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
    step = next((step for step in steps if (until_s - from_s) / step <= 10), 7200)
    marks = []
    for number in range(int(np.ceil(from_s / step - 1e-9)), int(until_s / step + 1e-9) + 1):
        x = _LEFT + (_RIGHT - _LEFT) * (number * step - from_s) / (until_s - from_s)
        marks.append((f"{x:.1f}", _clock(number * step, tenths=step < 1)))
    return marks


def _thinned(
    times_s: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most about `_MAX_POINTS` points, each the mean of its stretch; gaps are kept."""
    groups = np.minimum(len(times_s), _MAX_POINTS) * np.arange(len(times_s)) // len(times_s)
    away = np.concatenate([[False], np.diff(times_s) > _MAX_GAP_S])
    starts = np.flatnonzero(np.concatenate([[True], np.diff(groups) > 0]) | away)
    counts = np.diff([*starts, len(times_s)])
    means = np.add.reduceat(shares, starts, axis=0) / counts[:, None]
    return np.add.reduceat(times_s, starts) / counts, means


def _drop_flicker(parts: list[_Part]) -> None:
    """Take the last part away where it was too short to be more than a flicker."""
    if len(parts) > 1 and parts[-1].end_s - parts[-1].start_s < _MIN_PART_S:
        flicker = parts.pop()
        # Back to what it interrupted: one part, not two.
        parts[-1].end_s = max(parts[-1].end_s, flicker.start_s)


def _longest(parts: Sequence[_Part]) -> list[_Part]:
    by_length = sorted(parts, key=lambda part: part.start_s - part.end_s)
    return sorted(by_length[:_MAX_PARTS_SHOWN], key=lambda part: part.start_s)


def _thumbnail(frame: Frame, face: StreamFace) -> bytes:
    crop = crop_face(frame.pixels, face.result["box"], margin=0.15)
    small = resize(crop, _THUMBNAIL_PX)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1])


def _jpeg_uri(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"


def _clock(time_s: float, tenths: bool = False) -> str:
    """Seconds as 1:05 or 1:05.3, with hours where there are any."""
    tenth = round(10 * float(time_s)) if tenths else 10 * round(float(time_s))
    minutes, rest = divmod(tenth, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 10:02d}" + (f".{rest % 10}" if tenths else "")
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"
