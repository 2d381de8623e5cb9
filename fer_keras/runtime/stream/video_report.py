"""One self-contained page about a video: every person's emotions over time.

Curves are inline SVG, nothing is fetched, and pictures of faces are in it only where they are asked
for. A part in which one emotion is shown has one picture: that of its surest frame.
"""

import base64
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.decode import resize
from fer_keras.common.files import write_text
from fer_keras.common.opencv import cv2
from fer_keras.runtime.faces.align import crop_face
from fer_keras.runtime.stream.sources import Frame
from fer_keras.runtime.stream.stream import StreamFace

_ASSETS = Path(__file__).parents[2] / "common" / "assets"
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
        sections = "".join(self._section(track, long_enough[track]) for track in shown)
        left_out = len(self._histories) - len(shown)
        if not self._histories:
            sections = "<section><p>No face was found.</p></section>"
        elif left_out:
            sections += (
                f'<p class="note">Left out: {left_out} more '
                f"{'faces' if left_out > 1 else 'face'}, seen for under {_MIN_TRACK_S} s or after "
                f"the {_MAX_TRACKS} that were seen longest. The table has them all.</p>"
            )
        notes = "".join(f'<p class="note">{escape(fact)}</p>' for fact in facts)
        style, script = (
            (_ASSETS / f"video_report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")
        )
        write_text(
            path,
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            # Names of files are escaped; this holds where something slips through.
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">"
            f"<title>{escape(title)}</title><style>{style}</style></head><body>"
            f"<h1>{escape(title)}</h1>{notes}"
            '<p class="note">A row is an emotion, its height the smoothed probability; the bar '
            "below it marks when it was the most probable one. Point at a chart, or move through "
            "it with the arrow keys, to read the values. What a face shows is not what a person "
            "feels."
            f"</p>{sections}<script>{script}</script></body></html>\n",
        )

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

    def _section(self, track: int, history: _History) -> str:
        shares = np.array(history.shares).reshape(-1, len(self._class_names))
        times_s = np.array(history.times_s)
        shown = np.bincount(shares.argmax(axis=1), minlength=len(self._class_names)) / len(shares)
        most = int(shown.argmax())
        _drop_flicker(history.parts)
        pictures = "".join(map(_figure, _longest(history.parts)))
        unsure = f", unsure in {100 * history.unsure / len(shares):.0f} %" if history.unsure else ""
        return (
            f'<section aria-label="Face {track}"><h2>Face {track}</h2>'
            f'<p class="note">{_clock(times_s[0])} to {_clock(times_s[-1])}, '
            f"{len(times_s)} frames, mostly {escape(self._class_names[most])} "
            f"({100 * shown[most]:.0f} % of them){unsure}</p>"
            f'<div class="faces">{pictures}</div>'
            f'<div class="chart">{self._chart(track, times_s, shares)}</div></section>'
        )

    def _chart(self, track: int, times_s: NDArray[np.float64], shares: NDArray[np.float64]) -> str:
        points_s, means = _thinned(times_s, shares)
        from_s, until_s = float(points_s[0]), float(max(points_s[-1], points_s[0] + 1e-3))
        x = _LEFT + (_RIGHT - _LEFT) * (points_s - from_s) / (until_s - from_s)
        pieces = np.split(np.arange(len(x)), np.flatnonzero(np.diff(points_s) > _MAX_GAP_S) + 1)
        height = _ROW * len(self._class_names) + 46
        marks = [
            f'<text class="soft end time" x="{_WIDTH - 8}" y="14">mean</text>',
            *_time_axis(from_s, until_s, height),
            *(_row(i, name, x, means, pieces) for i, name in enumerate(self._class_names)),
            f'<line class="cursor" x1="0" x2="0" y1="18" y2="{height - 22}"></line>',
        ]
        data = {
            "left": _LEFT,
            "right": _RIGHT,
            "from": round(from_s, 3),
            "until": round(until_s, 3),
            "times": [round(float(time_s), 3) for time_s in points_s],
            "shares": [[round(100 * float(p)) for p in row] for row in means.T],
            "clock": [_clock(time_s, tenths=True) for time_s in points_s],
        }
        return (
            f'<svg viewBox="0 0 {_WIDTH} {height}" tabindex="0" role="img" '
            f'aria-label="Emotions of face {track} over time" '
            f'data-points="{escape(json.dumps(data, separators=(",", ":")))}">'
            f"{''.join(marks)}</svg>"
        )


def _row(
    row: int,
    name: str,
    x: NDArray[np.float64],
    means: NDArray[np.float64],
    pieces: Sequence[NDArray[np.intp]],
) -> str:
    """One emotion: its name, its curve, where it was the most probable one, its mean."""
    base = 18 + _ROW * (row + 1) - 5
    y = base - (_ROW - 8) * means[:, row]
    mean = f"{100 * means[:, row].mean():.0f} %"
    is_most = means.argmax(axis=1) == row
    drawn = [
        f'<text x="{_LEFT - 8}" y="{base - 4}" class="end">{escape(name)}</text>',
        f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{base}" y2="{base}"></line>',
        f'<text x="{_WIDTH - 8}" y="{base - 4}" class="end value">{mean}</text>',
    ]
    for piece in pieces:
        line = " ".join(f"{x[i]:.1f},{y[i]:.1f}" for i in piece)
        ends = f"{x[piece[0]]:.1f},{base} {line} {x[piece[-1]]:.1f},{base}"
        drawn.append(f'<polygon class="area" points="{ends}"></polygon>')
        drawn.append(f'<polyline class="curve" points="{line}"></polyline>')
        for run in np.split(piece, np.flatnonzero(np.diff(is_most[piece])) + 1):
            if is_most[run[0]]:
                # To the next point, so that a part of one point is seen too.
                end = x[min(run[-1] + 1, piece[-1])]
                width = max(1.5, end - x[run[0]])
                drawn.append(
                    f'<rect class="shown" x="{x[run[0]]:.1f}" y="{base - 1}" '
                    f'width="{width:.1f}" height="4"></rect>'
                )
    return "".join(drawn)


def _time_axis(from_s: float, until_s: float, height: int) -> list[str]:
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
    step = next((step for step in steps if (until_s - from_s) / step <= 10), 7200)
    marks = []
    for number in range(int(np.ceil(from_s / step - 1e-9)), int(until_s / step + 1e-9) + 1):
        x = _LEFT + (_RIGHT - _LEFT) * (number * step - from_s) / (until_s - from_s)
        marks.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="18" y2="{height - 22}"></line>'
            f'<text class="soft middle" x="{x:.1f}" y="{height - 6}">'
            f"{_clock(number * step, tenths=step < 1)}</text>"
        )
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


def _figure(part: _Part) -> str:
    emotion, at = escape(part.emotion), _clock(part.start_s, tenths=True)
    if not part.thumbnail:
        return f"<figure><figcaption>{emotion}<span>{at}</span></figcaption></figure>"
    source = base64.b64encode(part.thumbnail).decode("ascii")
    return (
        f'<figure><img src="data:image/jpeg;base64,{source}" alt="Face, {emotion}">'
        f"<figcaption>{emotion}<span>{at}</span></figcaption></figure>"
    )


def _clock(time_s: float, tenths: bool = False) -> str:
    """Seconds as 1:05 or 1:05.3, with hours where there are any."""
    tenth = round(10 * float(time_s)) if tenths else 10 * round(float(time_s))
    minutes, rest = divmod(tenth, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 10:02d}" + (f".{rest % 10}" if tenths else "")
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"
