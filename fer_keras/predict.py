"""Reads the expressions in picture files: `python -m fer_keras.predict PATH... --model DIR`.

One row per face goes to a CSV or JSON Lines file, or to the terminal.
"""

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

from fer_keras.errors import ConfigError, DataError, run_command
from fer_keras.files import atomic_path

if TYPE_CHECKING:
    from fer_keras.runtime.recognizer import FaceResult, Recognizer

Row = tuple[str, int | None, "FaceResult | None"]
FACE_COLUMNS = (
    "path", "face", "x", "y", "width", "height", "dominant", "score", "unsure", "label_set",
)  # fmt: skip
VIDEO_SUFFIXES = frozenset(
    (".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
)

_EXAMPLES = """\
examples:
  python -m fer_keras.predict photo.jpg --model saved_models/mini_xception
  python -m fer_keras.predict holiday/ --model runs/NAME/export --output faces.csv
  python -m fer_keras.predict holiday/ more/ --model runs/NAME/export --output faces.jsonl \\
      --detector haar --threads 2 --precision int8
  python -m fer_keras.predict crops/ --model runs/NAME/export --detector none

output:
  One row per face, the largest face of a picture first: path, face (its number in the picture,
  from 0), box in pixels, dominant emotion, score (the detector's confidence: a probability for
  mtcnn, a weight for haar, 1 for none), unsure (the model would rather not say), label_set (the
  emotions that cannot be ruled out, joined by |; see the model's card) and the probability of
  every emotion. JSON Lines has the landmarks too. A picture without a face has one row with empty
  face fields, and a warning on stderr. An --output file appears when all pictures are done, in
  place of the old one.

pictures:
  JPEG, PNG, BMP and WebP, at most 16 megapixels and 8 MiB each. Folders are read with all their
  subfolders in the order of the names, passing over hidden files and files of other types.

exit code:
  0  every picture was read, with or without a face
  2  nothing was done (a path is missing, a folder is empty, the model cannot be used), or some
     pictures could not be read: each is named on stderr, the rows of the others are written
"""


@dataclass
class _Counts:
    pictures: int = 0
    faces: int = 0
    without_face: int = 0
    unreadable: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None takes the command line's.

    Returns:
        Exit code: 0, or 2 where some pictures could not be read.

    Raises:
        FerKerasError: Nothing could be done; no output file was written.
    """
    arguments = _parser().parse_args(argv)
    output: Path | None = arguments.output
    table_format = _table_format(output, arguments.format)
    pictures, passed_over = find_pictures(arguments.paths)

    # Imported only now, so that --help and a wrong path are answered at once.
    from fer_keras.opencv import cv2
    from fer_keras.runtime.recognizer import Recognizer

    recognizer = Recognizer(
        arguments.model,
        detector=arguments.detector,
        threads=arguments.threads,
        precision=arguments.precision,
    )
    # OpenCV has one thread count for the whole process, so it is the command that sets it.
    cv2.setNumThreads(arguments.threads)

    counts = _Counts()
    with _open_output(output) as stream:
        rows = _rows(recognizer, pictures, counts, sys.stderr)
        if table_format == "csv":
            _write_csv(stream, rows, [str(name) for name in recognizer.classes_])
        else:
            _write_jsonl(stream, rows)
    print(_summary(counts, passed_over, output), file=sys.stderr)
    return 2 if counts.unreadable else 0


def find_pictures(paths: Iterable[Path]) -> tuple[list[Path], int]:
    """The picture files that paths name, folders with all their subfolders.

    Args:
        paths: Files and folders.

    Returns:
        The files, each once: in the order given, those of a folder sorted by path; and how many
        other files the folders hold.

    Raises:
        DataError: A path does not exist or is a video, or a folder holds no picture.
    """
    from fer_keras.decode import IMAGE_SUFFIXES

    found: list[Path] = []
    passed_over = 0
    for path in paths:
        if path.is_dir():
            visible = sorted(_visible_files(path))
            pictures = [file for file in visible if file.suffix.lower() in IMAGE_SUFFIXES]
            if not pictures:
                raise DataError(
                    f"the folder holds no picture ({', '.join(IMAGE_SUFFIXES)}; {len(visible)} "
                    f"other files). Check the path: {path}"
                )
            found += pictures
            passed_over += len(visible) - len(pictures)
        elif not path.exists():
            raise DataError(
                f"expected a picture or a folder, found nothing. Check the path: {path}"
            )
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            raise DataError(
                "videos cannot be read yet: expected a picture or a folder of pictures. Cut the "
                f"video into pictures first: {path}"
            )
        else:
            found.append(path)
    return list(dict.fromkeys(found)), passed_over


def _visible_files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        # Hidden folders and macOS' "._name.jpg" companions hold no pictures of the user.
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield Path(parent, name)


def _rows(
    recognizer: "Recognizer", pictures: Sequence[Path], counts: _Counts, messages: TextIO
) -> Iterator[Row]:
    """(path, face number, face) for every face; number and face are None where there is none."""
    from tqdm import tqdm

    with tqdm(pictures, unit="picture", file=messages, disable=not messages.isatty()) as progress:
        for path in progress:
            shown = _printable(path)
            try:
                faces = recognizer.recognize(path)
            except DataError as error:
                counts.unreadable += 1
                tqdm.write(f"error: {error}", file=messages)
                continue
            counts.pictures += 1
            counts.faces += len(faces)
            if not faces:
                counts.without_face += 1
                tqdm.write(f"warning: no face found: {shown}", file=messages)
                yield shown, None, None
            for number, face in enumerate(faces):
                yield shown, number, face


def _write_csv(
    stream: TextIO,
    rows: Iterable[Row],
    class_names: Sequence[str],
) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*FACE_COLUMNS, *class_names])
    for path, number, face in rows:
        if face is None:
            writer.writerow([path, *[""] * (len(FACE_COLUMNS) - 1 + len(class_names))])
            continue
        box = [f"{side:.1f}" for side in face["box"]]
        probabilities = [f"{face['emotions'][name]:.6f}" for name in class_names]
        score = f"{face['score']:.4f}"
        # As JSON writes it, so that both tables are read alike.
        unsure, label_set = str(face["unsure"]).lower(), "|".join(face["label_set"])
        facts = [face["dominant"], score, unsure, label_set]
        writer.writerow([path, number, *box, *facts, *probabilities])


def _write_jsonl(stream: TextIO, rows: Iterable[Row]) -> None:
    keys = ("box", "landmarks", "emotions", "dominant", "score", "unsure", "label_set", "track")
    empty = dict.fromkeys(keys)
    for path, number, face in rows:
        row: dict[str, Any] = {"path": path, "face": number, **(empty if face is None else face)}
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")


@contextmanager
def _open_output(path: Path | None) -> Iterator[TextIO]:
    """The terminal, or a file that takes its name only when it is complete."""
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
        sys.stdout.flush()
        return
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        yield stream


def _table_format(output: Path | None, chosen: str | None) -> Literal["csv", "jsonl"]:
    if output is None:
        return cast(Literal["csv", "jsonl"], chosen or "csv")
    if not output.parent.is_dir():
        raise ConfigError(f"--output: the folder does not exist. Create it first: {output.parent}")
    if output.is_dir():
        raise ConfigError(f"--output: expected a file, received a folder: {output}")
    suffix = output.suffix.lower()
    table_format = chosen or suffix.removeprefix(".")
    if table_format not in ("csv", "jsonl"):
        raise ConfigError(
            f"--output: expected a name ending in .csv or .jsonl, received {output.name!r}. "
            "Rename it, or choose --format csv or --format jsonl"
        )
    return cast(Literal["csv", "jsonl"], table_format)


def _printable(path: Path) -> str:
    """The path as text; bytes that are no UTF-8 are written as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _summary(counts: _Counts, passed_over: int, output: Path | None) -> str:
    parts = [
        f"{counts.faces} face{_s(counts.faces)} in {counts.pictures} picture{_s(counts.pictures)}"
    ]
    if counts.without_face:
        parts.append(f"{counts.without_face} without a face")
    if counts.unreadable:
        parts.append(f"{counts.unreadable} unreadable")
    if passed_over:
        parts.append(f"{passed_over} file{_s(passed_over)} of other types passed over")
    where = f" -> {output}" if output is not None else ""
    return ", ".join(parts) + where


def _s(number: int) -> str:
    return "" if number == 1 else "s"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, received {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.predict",
        description="Read the facial expressions in pictures into CSV or JSON Lines.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="picture or folder")
    parser.add_argument(
        "--model",
        required=True,
        metavar="DIR",
        help="export folder with manifest.json, or a .tflite file with labels.txt beside it",
    )
    parser.add_argument(
        "--detector",
        default="mtcnn",
        metavar="NAME",
        help="mtcnn (default), haar (upright frontal faces), yunet, blazeface, none (pictures are "
        "ready crops)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help=".csv or .jsonl file (default: the terminal)"
    )
    parser.add_argument(
        "--format", choices=("csv", "jsonl"), help="default: by the name of FILE, else csv"
    )
    parser.add_argument(
        "--threads", type=_positive, default=1, metavar="N", help="processor threads (default: 1)"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "float16", "dynamic", "int8"),
        help="which file of the export folder (default: float32)",
    )
    return parser


if __name__ == "__main__":
    run_command(main)
