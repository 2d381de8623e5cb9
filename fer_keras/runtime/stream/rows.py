"""The rows of a stream, one for each face and frame, as CSV or JSON Lines.

CSV columns: frame (number in the source, from 0), time_s (seconds from its first frame), track (the
face's number), face_source ("detected" in this frame, or "tracked" from an earlier one), x, y,
width, height (box in pixels of the source, never mirrored), dominant, score (the detector's where
the face was detected; where it was tracked, the likeness with what was detected, 0.5..1), unsure,
label_set (joined by "|"), the smoothed probability
of every label under its name, the frame's own under `raw_` + name, yaw, pitch, roll, quality, and
the smoothed valence and arousal (empty from models without them). `dominant`, `unsure` and
`label_set` follow from the smoothed ones; `dominant` changes only when another emotion is more
probable by 0.1, so for moments it is not the most probable one. JSON Lines have the same, with
`box`, `landmarks`, `emotions` and `raw_emotions` as structures. Where every frame is to have a row,
that of a frame without a face has the `face_source` "none", and what is known of faces is empty.
"""

import csv
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

from fer_keras.common.errors import ConfigError
from fer_keras.runtime.recognizer import FaceResult
from fer_keras.runtime.stream.follow import StreamFace
from fer_keras.runtime.stream.sources import Frame

TableFormat = Literal["csv", "jsonl"]

PATH_COLUMNS = ("path", "face")
FRAME_COLUMNS = ("frame", "time_s", "track", "face_source")
# After all others, where programs that read by position do not notice them.
LOOK_COLUMNS = ("yaw", "pitch", "roll", "quality", "valence", "arousal")
FACE_COLUMNS = ("x", "y", "width", "height", "dominant", "score", "unsure", "label_set")
_FACE_KEYS = (
    "box", "landmarks", "emotions", "dominant", "score", "unsure", "label_set", "pose", "quality",
    "valence", "arousal",
)  # fmt: skip
NO_FACE = "none"
# What a kill may cost at most.
_FLUSH_S = 1.0


def face_cells(face: Mapping[str, Any], class_names: Sequence[str]) -> list[str]:
    """A face as CSV cells: `FACE_COLUMNS`, then the probabilities in the order of the names."""
    return [
        *(f"{side:.1f}" for side in face["box"]),
        face["dominant"],
        f"{face['score']:.4f}",
        # As JSON writes it, so that both tables are read alike.
        str(face["unsure"]).lower(),
        "|".join(face["label_set"]),
        *(f"{face['emotions'][name]:.6f}" for name in class_names),
    ]


def look_cells(face: Mapping[str, Any]) -> list[str]:
    """How a face is seen as CSV cells: `LOOK_COLUMNS`; what is not known is empty."""
    angles = face["pose"] or {}
    return [
        *(f"{angles[name]:.1f}" if angles else "" for name in LOOK_COLUMNS[:3]),
        *("" if face[name] is None else f"{face[name]:.4f}" for name in LOOK_COLUMNS[3:]),
    ]


def frame_cells(frame: Frame, face: StreamFace) -> list[str]:
    """Where in the stream a face was read, as CSV cells: `FRAME_COLUMNS`."""
    return [str(frame.index), f"{frame.time_s:.3f}", str(face.track), face.source]


def raw_cells(face: StreamFace) -> list[str]:
    """The probabilities of the frame alone as CSV cells."""
    return [f"{p:.6f}" for p in face.raw]


def json_row(frame: Frame, face: StreamFace, class_names: Sequence[str]) -> dict[str, Any]:
    """A face as one JSON object."""
    raw = {name: float(p) for name, p in zip(class_names, face.raw, strict=True)}
    where = {"frame": frame.index, "time_s": round(frame.time_s, 3), "track": face.track}
    return {**where, "face_source": face.source, **face.result, "raw_emotions": raw}


def faceless_cells(frame: Frame) -> list[str]:
    """A frame without a face as CSV cells: `FRAME_COLUMNS`."""
    return [str(frame.index), f"{frame.time_s:.3f}", "", NO_FACE]


def faceless_json_row(frame: Frame) -> dict[str, Any]:
    """A frame without a face as one JSON object, with the keys of `json_row`."""
    where = {"frame": frame.index, "time_s": round(frame.time_s, 3), "track": None}
    return {**where, "face_source": NO_FACE, **dict.fromkeys(_FACE_KEYS), "raw_emotions": None}


class RowWriter:
    """Writes rows as they come; whoever follows the file sees them within a second.

    Args:
        stream: Text to write to; closed by whoever opened it.
        table_format: "csv" or "jsonl".
        class_names: In the order of the probabilities.
        header: Whether a CSV begins with its column names.
        all_frames: Whether frames without a face have a row too.
    """

    def __init__(
        self,
        stream: TextIO,
        table_format: TableFormat,
        class_names: Sequence[str],
        header: bool = True,
        all_frames: bool = False,
    ) -> None:
        self._all_frames = all_frames
        self._stream = stream
        self._class_names = list(class_names)
        self._csv = csv.writer(stream, lineterminator="\n") if table_format == "csv" else None
        self._flushed_s = time.monotonic()
        if self._csv is not None and header:
            self._csv.writerow(csv_columns(self._class_names))
            stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.flush()

    def write(self, frame: Frame, faces: Sequence[StreamFace]) -> None:
        """Write the faces of one frame."""
        for face in faces:
            if self._csv is None:
                row = json_row(frame, face, self._class_names)
                self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                cells = face_cells(face.result, self._class_names)
                look = look_cells(face.result)
                self._csv.writerow([*frame_cells(frame, face), *cells, *raw_cells(face), *look])
        if self._all_frames and not faces:
            if self._csv is None:
                self._stream.write(json.dumps(faceless_json_row(frame)) + "\n")
            else:
                empty = len(csv_columns(self._class_names)) - len(FRAME_COLUMNS)
                self._csv.writerow([*faceless_cells(frame), *[""] * empty])
        if time.monotonic() - self._flushed_s > _FLUSH_S:
            self._stream.flush()
            self._flushed_s = time.monotonic()


def csv_columns(class_names: Sequence[str]) -> list[str]:
    """The column names of a stream's CSV."""
    raw = [f"raw_{name}" for name in class_names]
    return [*FRAME_COLUMNS, *FACE_COLUMNS, *class_names, *raw, *LOOK_COLUMNS]


def table_format(output: Path | None, chosen: TableFormat | None) -> TableFormat:
    """The format that an --output file's name means.

    Args:
        output: The file; None for the terminal.
        chosen: What --format says, if anything.

    Raises:
        ConfigError: The name means neither, or it is a folder.
    """
    if output is None:
        return chosen or "csv"
    if output.is_dir():
        raise ConfigError(f"--output: expected a file, received a folder: {output}")
    suffix = output.suffix.lower()
    if chosen is None and suffix not in (".csv", ".jsonl"):
        raise ConfigError(
            f"--output: expected a name ending in .csv or .jsonl, received {output.name!r}. "
            "Rename it, or choose --format csv or --format jsonl"
        )
    return chosen or ("csv" if suffix == ".csv" else "jsonl")


def open_table(
    path: Path, chosen: TableFormat, class_names: Sequence[str], append: bool
) -> tuple[TextIO, bool]:
    """Open a file for rows without losing those that are in it.

    Args:
        path: The file; its folder is made if missing.
        chosen: "csv" or "jsonl".
        class_names: Of the rows to come.
        append: Whether to go on with a file that is there.

    Returns:
        The open file, and whether it needs a header.

    Raises:
        ConfigError: The file is there and `append` is false, or its columns are others.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # newline="" keeps Windows from doubling the ends of the lines.
    if not path.exists() or path.stat().st_size == 0:
        return path.open("w", encoding="utf-8", newline=""), True
    if not append:
        raise ConfigError(
            f"--output: the file is there already. Choose another name, or --append: {path}"
        )
    stream = path.open("r+", encoding="utf-8", newline="")
    first = stream.readline().rstrip("\n")
    expected = ",".join(csv_columns(class_names))
    if chosen == "csv" and first != expected:
        stream.close()
        raise ConfigError(
            "--append: expected a CSV with the columns of this model, received others. Choose "
            f"another name: {path}"
        )
    stream.seek(0, 2)
    return stream, False


# ---- rows of files


@dataclass(frozen=True)
class PathRow:
    """A row of the predict command: a face of a file, or that the file has none.

    Attributes:
        path: The picture or video.
        number: Of the face in its picture or frame, from 0; None where there is no face.
        face: What was read.
        frame: In videos, where; None in the one row of a video without any face.
        stream_face: In videos, what was read from this frame alone.
    """

    path: str
    number: int | None = None
    face: FaceResult | None = None
    frame: Frame | None = None
    stream_face: StreamFace | None = None


def printable(path: Path) -> str:
    """The path as text; bytes that are no UTF-8 are written as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def write_path_csv(
    stream: TextIO, rows: Iterable[PathRow], class_names: Sequence[str], has_videos: bool
) -> None:
    """Write the CSV of the predict command.

    Args:
        stream: Text to write to.
        rows: Faces of pictures and of videos.
        class_names: In the order of the probabilities.
        has_videos: Whether there may be rows of videos: then they have columns of their own.
    """
    where = FRAME_COLUMNS if has_videos else ()
    raw = [f"raw_{name}" for name in class_names] if has_videos else []
    columns = [*PATH_COLUMNS, *where, *FACE_COLUMNS, *class_names, *raw, *LOOK_COLUMNS]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        if row.face is None:
            known = [row.path]
            if row.frame is not None:
                known += ["", *faceless_cells(row.frame)]
            writer.writerow([*known, *[""] * (len(columns) - len(known))])
            continue
        place, alone = [""] * len(where), [""] * len(raw)
        if row.frame is not None and row.stream_face is not None:
            place, alone = frame_cells(row.frame, row.stream_face), raw_cells(row.stream_face)
        cells = face_cells(row.face, class_names)
        writer.writerow([row.path, row.number, *place, *cells, *alone, *look_cells(row.face)])


def write_path_jsonl(stream: TextIO, rows: Iterable[PathRow], class_names: Sequence[str]) -> None:
    """Write the JSON Lines of the predict command; arguments as `write_path_csv`."""
    for row in rows:
        facts: Mapping[str, Any] = row.face or dict.fromkeys((*_FACE_KEYS, "track"))
        if row.frame is not None and row.stream_face is not None:
            facts = json_row(row.frame, row.stream_face, class_names)
        elif row.frame is not None:
            facts = faceless_json_row(row.frame)
        line = {"path": row.path, "face": row.number, **facts}
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")
