"""Draws what was found in a frame or a picture: boxes, bars beside it, a line below it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.opencv import cv2
from fer_keras.runtime.faces.align import Box
from fer_keras.runtime.recognizer import FaceResult
from fer_keras.runtime.stream.follow import Moment, StreamFace
from fer_keras.runtime.stream.neutral import WaitingFace
from fer_keras.runtime.stream.sources import Frame

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

# The picture is shown at a height between these, in pixels, so that text stays readable.
_MIN_HEIGHT, _MAX_HEIGHT = 480, 1080
_PANEL_WIDTH, _STATUS_HEIGHT, _LINE = 216, 26, 14
# Of each face, where there are too many for all their bars.
_FEW_BARS = 2
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BACKGROUND, _GROOVE, _TEXT, _DIM = (24, 26, 30), (48, 52, 60), (236, 238, 240), (150, 156, 166)
_WARNING = (255, 190, 90)
# By track number; light enough for dark text on them, apart for colour-blind people too (Okabe and
# Ito, "Color Universal Design", 2008, without black and the dark ones).
_TRACK_COLOURS: tuple[Colour, ...] = (
    (86, 180, 233), (240, 200, 60), (0, 190, 140), (230, 140, 190), (235, 130, 60), (190, 190, 200),
)  # fmt: skip


@dataclass(frozen=True)
class Status:
    """What the line below the picture says.

    Attributes:
        text: On the left: the state and the speed.
        keys: On the right: what the keys do.
        warning: Whether the state is no good one.
    """

    text: str
    keys: str = ""
    warning: bool = False


def draw_moment(picture: Pixels, moment: Moment, status: Status, mirrored: bool = False) -> Pixels:
    """Draw one moment of a stream.

    Args:
        picture: uint8 RGB `(height, width, 3)`: the moment's frame, or the last one while there is
            none; it stays as it is.
        moment: Its faces are drawn.
        status: For the line below.
        mirrored: Show the picture as in a mirror (the text is not mirrored).

    Returns:
        uint8 RGB: the picture, scaled to between 480 and 1080 rows, with a panel on its right and
        a line below; even sides, as video files want them.
    """
    height, width = picture.shape[:2]
    zoom = min(max(height, _MIN_HEIGHT), _MAX_HEIGHT) / height
    shown_size = max(2, round(width * zoom)), round(height * zoom)
    shown = cv2.resize(
        picture, shown_size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    )
    shown = shown[:, ::-1] if mirrored else shown
    scale = shown_size[1] / _MIN_HEIGHT
    panel_width, status_height = round(_PANEL_WIDTH * scale), round(_STATUS_HEIGHT * scale)
    rows, columns = shown_size[1] + status_height, shown_size[0] + panel_width
    canvas = np.empty((rows + rows % 2, columns + columns % 2, 3), np.uint8)
    canvas[:] = _BACKGROUND
    view = canvas[: shown_size[1], : shown_size[0]]
    view[:] = shown if moment.frame is not None else shown // 3
    pen = _Pen(canvas, scale)
    # Drawn on a view that ends with the picture, so that no box reaches into the panel.
    boxes = _Pen(view, scale)
    if moment.frame is not None:
        for face in moment.faces:
            box = _place(face.result["box"], zoom, shown_size[0] if mirrored else None)
            _draw_box(boxes, box, face.track, f"{face.track} {_short(face)}", face.result["unsure"])
        for waiting in moment.waiting:
            box = _place(waiting.face.box, zoom, shown_size[0] if mirrored else None)
            _draw_box(boxes, box, waiting.track, f"{waiting.track} look neutral", True)
        _draw_panel(pen, shown_size, moment)
    _draw_status(pen, shown_size[1], status)
    return canvas


def draw_faces(picture: Pixels, faces: Sequence[FaceResult], status: Status) -> Pixels:
    """Draw what was read in one picture.

    Args:
        picture: uint8 RGB `(height, width, 3)`; it stays as it is.
        faces: Of this picture, numbered from 0 in this order, as in the tables of `predict`.
        status: For the line below.

    Returns:
        As `draw_moment`.
    """
    shown = [
        StreamFace({**face, "track": number}, np.array(list(face["emotions"].values()), np.float32))
        for number, face in enumerate(faces)
    ]
    return draw_moment(picture, Moment(Frame(0, 0.0, picture, 0.0), shown), status)


class _Pen:
    """Draws on a canvas in units of a picture of 480 rows."""

    def __init__(self, canvas: Pixels, scale: float) -> None:
        self.canvas = canvas
        self.scale = scale
        self.font = 0.42 * scale
        self.thickness = max(1, int(scale))

    def px(self, units: float) -> int:
        return round(units * self.scale)

    def text_width(self, text: str) -> int:
        return int(cv2.getTextSize(_ascii(text), _FONT, self.font, self.thickness)[0][0])

    def text(self, text: str, x: int, baseline: int, colour: Colour) -> None:
        place = (x, baseline)
        cv2.putText(
            self.canvas, _ascii(text), place, _FONT, self.font, colour, self.thickness, cv2.LINE_AA
        )

    def fill(self, x: int, y: int, width: int, height: int, colour: Colour) -> None:
        if width > 0 and height > 0:
            corner = (x + width - 1, y + height - 1)
            cv2.rectangle(self.canvas, (x, y), corner, colour, cv2.FILLED)


def _draw_box(
    pen: _Pen, box: tuple[int, int, int, int], track: int, label: str, unsure: bool
) -> None:
    left, top, width, height = box
    colour = _track_colour(track)
    corner = (left + width - 1, top + height - 1)
    cv2.rectangle(pen.canvas, (left, top), corner, colour, pen.px(2), cv2.LINE_AA)
    tag_width, tag_height = pen.text_width(label) + pen.px(10), pen.px(19)
    # Above the box, or inside it where the picture ends.
    y = top - tag_height if top >= tag_height else top
    x = min(max(left, 0), max(0, pen.canvas.shape[1] - tag_width))
    pen.fill(x, y, tag_width, tag_height, _DIM if unsure else colour)
    pen.text(label, x + pen.px(5), y + pen.px(13.5), _BACKGROUND)


def _draw_panel(pen: _Pen, shown_size: tuple[int, int], moment: Moment) -> None:
    x, width = shown_size[0] + pen.px(10), pen.px(_PANEL_WIDTH - 20)
    bottom = shown_size[1] - pen.px(20)
    y = pen.px(8)
    left_out = 0
    for waiting in moment.waiting:
        if y + pen.px(50) > bottom:
            left_out += 1
            continue
        _draw_waiting(pen, x, y, width, waiting)
        y += pen.px(50)
    num_bars = max((len(face.result["emotions"]) for face in moment.faces), default=0)
    # Valence and arousal are a line below the bars.
    more = int(any(face.result["valence"] is not None for face in moment.faces))
    if y + len(moment.faces) * _face_height(pen, num_bars + more) > bottom:
        num_bars = _FEW_BARS
    for face in moment.faces:
        if y + _face_height(pen, num_bars + more) > bottom:
            left_out += 1
            continue
        _draw_face(pen, x, y, width, face, num_bars)
        y += _face_height(pen, num_bars + more)
    if left_out:
        noun = "face" if left_out == 1 else "faces"
        pen.text(f"and {left_out} more {noun}", x, shown_size[1] - pen.px(7), _DIM)
    elif not moment.faces and not moment.waiting:
        pen.text("no face", x, y + pen.px(14), _DIM)


def _face_height(pen: _Pen, num_lines: int) -> int:
    return pen.px(48 + _LINE * num_lines)


def _draw_face(pen: _Pen, x: int, y: int, width: int, face: StreamFace, num_bars: int) -> None:
    result, colour = face.result, _track_colour(face.track)
    _draw_number(pen, x, y, face.track)
    pen.text(result["dominant"], x + pen.px(28), y + pen.px(13.5), _TEXT)
    share = f"{result['emotions'][result['dominant']]:.0%}"
    pen.text(share, x + width - pen.text_width(share), y + pen.px(13.5), _TEXT)
    # A line of its own, so that the bars do not jump when it comes and goes.
    if result["unsure"]:
        others = " / ".join(result["label_set"][:2]) if len(result["label_set"]) > 1 else ""
        text = f"unsure: {others}" if others else "unsure"
        pen.text(_cut(pen, text, width), x, y + pen.px(31), _WARNING)
    bars = list(result["emotions"].items())
    if num_bars < len(bars):
        bars = sorted(bars, key=lambda bar: -bar[1])[:num_bars]
    for i, (name, probability) in enumerate(bars):
        row = y + pen.px(38 + _LINE * i)
        is_dominant = name == result["dominant"]
        label_width = pen.px(80)
        text_colour = _TEXT if is_dominant else _DIM
        pen.text(_cut(pen, name, label_width), x, row + pen.px(10), text_colour)
        bar_x, bar_width = x + label_width, width - label_width
        pen.fill(bar_x, row + pen.px(2), bar_width, pen.px(9), _GROOVE)
        bar_colour = colour if is_dominant else _DIM
        pen.fill(bar_x, row + pen.px(2), round(bar_width * probability), pen.px(9), bar_colour)
    if result["valence"] is not None:
        text = f"valence {result['valence']:+.2f}, arousal {result['arousal']:+.2f}"
        pen.text(text, x, y + pen.px(48 + _LINE * len(bars)), _DIM)


def _draw_waiting(pen: _Pen, x: int, y: int, width: int, waiting: WaitingFace) -> None:
    _draw_number(pen, x, y, waiting.track)
    pen.text("look neutral, please", x + pen.px(28), y + pen.px(13.5), _TEXT)
    pen.fill(x, y + pen.px(25), width, pen.px(9), _GROOVE)
    done = round(width * waiting.share)
    pen.fill(x, y + pen.px(25), done, pen.px(9), _track_colour(waiting.track))


def _draw_number(pen: _Pen, x: int, y: int, track: int) -> None:
    pen.fill(x, y, pen.px(22), pen.px(19), _track_colour(track))
    text = str(track)
    middle = x + (pen.px(22) - pen.text_width(text)) // 2
    pen.text(text, middle, y + pen.px(13.5), _BACKGROUND)


def _draw_status(pen: _Pen, top: int, status: Status) -> None:
    baseline = top + pen.px(17)
    keys_x = pen.canvas.shape[1] - pen.text_width(status.keys) - pen.px(10)
    pen.text(status.text, pen.px(10), baseline, _WARNING if status.warning else _TEXT)
    # A narrow picture has no room for both; the state matters more.
    if keys_x > pen.px(26) + pen.text_width(status.text):
        pen.text(status.keys, keys_x, baseline, _DIM)


def _place(box: Box, zoom: float, mirror_width: int | None) -> tuple[int, int, int, int]:
    left, top, width, height = (round(side * zoom) for side in box)
    if mirror_width is not None:
        left = mirror_width - left - width
    return left, top, width, height


def _short(face: StreamFace) -> str:
    result = face.result
    return f"{result['dominant']}?" if result["unsure"] else result["dominant"]


def _cut(pen: _Pen, text: str, width: int) -> str:
    """The text, shortened until it fits."""
    if pen.text_width(text) <= width:
        return text
    while text and pen.text_width(text + "..") > width:
        text = text[:-1]
    return text + ".."


def _ascii(text: str) -> str:
    """OpenCV's fonts have no other letters."""
    return text.encode("ascii", "replace").decode("ascii")


def _track_colour(track: int) -> Colour:
    return _TRACK_COLOURS[(track - 1) % len(_TRACK_COLOURS)]
