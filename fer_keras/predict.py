"""Reads the expressions in pictures and videos: `python -m fer_keras.predict PATH...`.

One row per face (in videos per face and frame) goes to a CSV or JSON Lines file or the terminal.
"""

import argparse
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from fer_keras import bulk
from fer_keras.arguments import every, positive, seconds
from fer_keras.errors import ConfigError, DataError, run_command
from fer_keras.files import atomic_path

if TYPE_CHECKING:
    from fer_keras.runtime.recognizer import Recognizer
    from fer_keras.runtime.rows import PathRow
    from fer_keras.runtime.video_report import VideoReport


_EXAMPLES = """\
examples:
  python -m fer_keras.predict photo.jpg
  python -m fer_keras.predict holiday/ --model runs/NAME/export --output faces.csv
  python -m fer_keras.predict holiday/ more/ --model runs/NAME/export --output faces.jsonl \\
      --detector haar --threads 2 --precision int8
  python -m fer_keras.predict crops/ --model runs/NAME/export --detector none
  python -m fer_keras.predict talk.mp4 --output faces.csv --report talk.html
  python -m fer_keras.predict clips/*.mp4 --every 0.5s --output faces.jsonl
  python -m fer_keras.predict /data/faces --output-dir faces --processes 8
  python -m fer_keras.predict --list pictures.txt --output-dir faces --processes 8

output:
  One row per face, the largest face of a picture first: path, face (its number in the picture,
  from 0), box in pixels, dominant emotion, score (the detector's confidence: a probability for
  mtcnn, a weight for haar, 1 for none), unsure (the model would rather not say), label_set (the
  emotions that cannot be ruled out, joined by |; see the model's card) and the probability of
  every emotion. JSON Lines has the landmarks too. A picture without a face has one row with empty
  face fields, and a warning on stderr. An --output file appears when all pictures are done, in
  place of the old one.

videos:
  One row per face and frame that is read. Where there is a video among the paths, the columns frame
  (from 0), time_s and track (the person's number) follow after face, the probabilities are smoothed
  over time (--half-life), and those of the frame alone stand at the end as raw_EMOTION. --report
  draws one video's emotions over time, with small pictures of the faces unless --no-images. Videos
  in folders are passed over: name them. A model of clips scores the frames so far as a clip, in the
  columns of the emotions, and this frame as it sees it by itself, in raw_EMOTION; it takes videos
  only (docs/video.md).

pictures:
  JPEG, PNG, BMP and WebP, at most 16 megapixels and 8 MiB each. Folders are read with all their
  subfolders in the order of the names, passing over hidden files and files of other types.

many pictures:
  --output-dir takes them by the million: Parquet files with the columns of the CSV and one more,
  error, for pictures that could not be read. Interrupted, the same command goes on. docs/bulk.md
  has more, also on clusters.

exit code:
  0  every picture and video was read, with or without a face; with --output-dir also where some
     could not be read: their rows say why
  2  nothing was done (a path is missing, a folder is empty, the model cannot be used), or some
     files could not be read: each is named on stderr, the rows of the others are written
"""


@dataclass
class _Counts:
    pictures: int = 0
    faces: int = 0
    without_face: int = 0
    unreadable: int = 0
    videos: int = 0
    frames: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None takes the command line's.

    Returns:
        Exit code: 0, or 2 where some files could not be read.

    Raises:
        FerKerasError: Nothing could be done; no output file was written.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    output: Path | None = arguments.output
    if arguments.output_dir is not None:
        return _predict_in_bulk(arguments)
    if not arguments.paths or arguments.list is not None or arguments.beam_flag:
        parser.error("expected PATH..., or --output-dir with PATH... or --list")
    paths, passed_over = find_pictures(arguments.paths)
    has_videos = any(map(is_video, paths))
    if arguments.report is not None and (len(paths) > 1 or not has_videos):
        raise ConfigError(
            f"--report: expected one video, received {len(paths)} files. Run it for each video"
        )
    if arguments.report is not None and not arguments.report.parent.is_dir():
        raise ConfigError(
            f"--report: the folder does not exist. Create it first: {arguments.report.parent}"
        )

    # Imported only now, so that --help and a wrong path are answered at once.
    from fer_keras.opencv import cv2
    from fer_keras.runtime.recognizer import Recognizer
    from fer_keras.runtime.rows import table_format, write_path_csv, write_path_jsonl
    from fer_keras.runtime.sources import quiet_ffmpeg
    from fer_keras.runtime.video_report import VideoReport

    chosen = table_format(output, arguments.format)
    quiet_ffmpeg()
    recognizer = Recognizer(
        arguments.model,
        detector=arguments.detector,
        threads=arguments.threads,
        precision=arguments.precision,
    )
    if recognizer.input_kind == "clip":
        _only_videos(paths, recognizer)
    # OpenCV has one thread count for the whole process, so it is the command that sets it.
    cv2.setNumThreads(arguments.threads)

    counts = _Counts()
    names = [str(name) for name in recognizer.classes_]
    report = None if arguments.report is None else VideoReport(names, not arguments.no_images)
    with _open_output(output) as stream:
        rows = _rows(recognizer, paths, counts, arguments, report)
        if chosen == "csv":
            write_path_csv(stream, rows, names, has_videos)
        else:
            write_path_jsonl(stream, rows, names)
    if report is not None and not counts.unreadable:
        report.write(arguments.report, paths[0].name, _report_facts(recognizer, arguments, counts))
    print(_summary(counts, passed_over, output, arguments.report), file=sys.stderr)
    return 2 if counts.unreadable else 0


def _only_videos(paths: Sequence[Path], recognizer: "Recognizer") -> None:
    pictures = [path for path in paths if not is_video(path)]
    if pictures:
        raise ConfigError(
            f"the model reads clips of {recognizer.manifest['clip_frames']} frames of a face: "
            f"expected videos, received {len(pictures)} pictures, the first is {pictures[0]}"
        )


def _predict_in_bulk(arguments: argparse.Namespace) -> int:
    if not arguments.paths and arguments.list is None:
        raise ConfigError("--output-dir: expected PATH... or --list, received neither")
    for option in ("output", "format", "report"):
        if getattr(arguments, option) is not None:
            raise ConfigError(f"--output-dir writes Parquet files. Leave out --{option}")
    if any(map(is_video, arguments.paths)):
        raise ConfigError("--output-dir: expected pictures, received a video. Use --output")
    total, passed_over = bulk.predict_in_bulk(arguments)
    counts = _Counts(**asdict(total))
    print(_summary(counts, passed_over, arguments.output_dir, None), file=sys.stderr)
    return 0


def is_video(path: Path) -> bool:
    """Whether a path is read as a video, by its name."""
    from fer_keras.runtime.sources import VIDEO_SUFFIXES

    return path.suffix.lower() in VIDEO_SUFFIXES


def find_pictures(paths: Iterable[Path]) -> tuple[list[Path], int]:
    """The picture and video files that paths name, folders with all the pictures below them.

    Args:
        paths: Files and folders.

    Returns:
        The files, each once: in the order given, those of a folder sorted by path; and how many
        other files the folders hold.

    Raises:
        DataError: A path does not exist, or a folder holds no picture.
    """
    from fer_keras.decode import IMAGE_SUFFIXES
    from fer_keras.runtime.shards import visible_files

    found: list[Path] = []
    passed_over = 0
    for path in paths:
        if path.is_dir():
            visible = sorted(map(Path, visible_files(path)))
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
                f"expected a picture, a video or a folder, found nothing. Check the path: {path}"
            )
        else:
            found.append(path)
    return list(dict.fromkeys(found)), passed_over


def _rows(
    recognizer: "Recognizer",
    paths: Sequence[Path],
    counts: _Counts,
    arguments: argparse.Namespace,
    report: "VideoReport | None",
) -> "Iterator[PathRow]":
    """A row for every face, and one without a face for what has none."""
    from tqdm import tqdm

    from fer_keras.runtime.rows import PathRow, printable

    hidden = not sys.stderr.isatty() or (len(paths) == 1 and is_video(paths[0]))
    with tqdm(paths, unit="file", file=sys.stderr, disable=hidden) as progress:
        for path in progress:
            shown = printable(path)
            faces_before = counts.faces
            try:
                if is_video(path):
                    yield from _video_rows(recognizer, path, counts, arguments, report)
                else:
                    faces = recognizer.recognize(path)
                    counts.pictures += 1
                    counts.faces += len(faces)
                    for number, face in enumerate(faces):
                        yield PathRow(shown, number, face)
            except DataError as error:
                counts.unreadable += 1
                tqdm.write(f"error: {error}", file=sys.stderr)
                continue
            if counts.faces == faces_before:
                counts.without_face += 1
                tqdm.write(f"warning: no face found: {shown}", file=sys.stderr)
                yield PathRow(shown)


def _video_rows(
    recognizer: "Recognizer",
    path: Path,
    counts: _Counts,
    arguments: argparse.Namespace,
    report: "VideoReport | None",
) -> "Iterator[PathRow]":
    from tqdm import tqdm

    from fer_keras.runtime.rows import PathRow, printable
    from fer_keras.runtime.sources import VideoFile
    from fer_keras.runtime.stream import Stream

    every_frames, every_s = arguments.every
    source = VideoFile(path, every_frames, every_s)
    stream = Stream(
        source,
        recognizer,
        detect_every=arguments.detect_every,
        half_life_s=arguments.half_life,
    )
    bar = tqdm(total=source.num_frames, unit="frame", leave=False, disable=not sys.stderr.isatty())
    with bar, stream:
        for moment in stream:
            if moment.frame is None:
                continue
            if report is not None:
                report.add(moment.frame, moment.faces)
            counts.frames += 1
            counts.faces += len(moment.faces)
            bar.update()
            for number, face in enumerate(moment.faces):
                yield PathRow(printable(path), number, face.result, moment.frame, face)
    counts.videos += 1
    # A header may be a frame off; a damaged file ends far earlier.
    if source.num_frames and stream.num_frames < 0.95 * source.num_frames - 1:
        tqdm.write(
            f"warning: {stream.num_frames} of {source.num_frames} frames could be read; the video "
            f"is cut off or damaged: {printable(path)}",
            file=sys.stderr,
        )


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


def _summary(counts: _Counts, passed_over: int, output: Path | None, report: Path | None) -> str:
    read = [f"{counts.pictures} picture{_s(counts.pictures)}"] if counts.pictures else []
    if counts.videos:
        of_videos = f"of {counts.videos} video{_s(counts.videos)}"
        read.append(f"{counts.frames} frame{_s(counts.frames)} {of_videos}")
    where = " and ".join(read) or "0 pictures"
    parts = [f"{counts.faces} face{_s(counts.faces)} in {where}"]
    if counts.without_face:
        parts.append(f"{counts.without_face} without a face")
    if counts.unreadable:
        parts.append(f"{counts.unreadable} unreadable")
    if passed_over:
        parts.append(f"{passed_over} file{_s(passed_over)} of other types passed over")
    written = [str(path) for path in (output, report) if path is not None]
    return ", ".join(parts) + (f" -> {', '.join(written)}" if written else "")


def _report_facts(
    recognizer: "Recognizer", arguments: argparse.Namespace, counts: _Counts
) -> list[str]:
    name = recognizer.manifest.get("name") or Path(arguments.model or "").stem
    return [
        f"Model {name}, detector {arguments.detector}, {counts.frames} frames read, smoothed with "
        f"a half-life of {arguments.half_life:g} s."
    ]


def _s(number: int) -> str:
    return "" if number == 1 else "s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.predict",
        description="Read the facial expressions in pictures and videos into CSV or JSON Lines.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="picture, video, or folder of pictures"
    )
    parser.add_argument(
        "--model",
        metavar="DIR",
        help="export folder with manifest.json, or a .tflite file with labels.txt beside it "
        "(default: the shipped model)",
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
        "--threads", type=positive, default=1, metavar="N", help="processor threads (default: 1)"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "float16", "dynamic", "int8"),
        help="which file of the export folder (default: float32)",
    )
    bulk.add_arguments(parser)
    videos = parser.add_argument_group("videos")
    videos.add_argument(
        "--report", type=Path, metavar="FILE.html", help="draw one video's emotions over time"
    )
    videos.add_argument("--no-images", action="store_true", help="no pictures in the report")
    videos.add_argument(
        "--every",
        type=every,
        default=(1, 0.0),
        metavar="N",
        help="read every N-th frame, or a frame every so many seconds: 0.5s (default: every frame)",
    )
    videos.add_argument(
        "--detect-every",
        type=positive,
        default=5,
        metavar="N",
        help="look for faces in every N-th frame that is read, follow them in between (default: 5)",
    )
    videos.add_argument(
        "--half-life",
        type=seconds,
        default=0.2,
        metavar="SECONDS",
        help="of the smoothing over time; 0 for none (default: 0.2)",
    )
    return parser


if __name__ == "__main__":
    run_command(main)
