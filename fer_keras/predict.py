"""Reads the expressions in pictures and videos: `python -m fer_keras.predict PATH...`.

One row per face (in videos per face and frame) goes to a CSV or JSON Lines file or the terminal.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fer_keras.common.arguments import (
    add_engine,
    add_least,
    add_prior,
    every,
    face_pixels,
    positive,
    seconds,
    words,
)
from fer_keras.common.errors import ConfigError, run_command
from fer_keras.common.quiet import without_log_lines
from fer_keras.runtime.bulk import predict as bulk
from fer_keras.runtime.paths import (
    _Counts,
    _model_name,
    _only_videos,
    _open_output,
    _report_facts,
    _rows,
    _summary,
    find_pictures,
    is_video,
)

_EXAMPLES = """\
examples:
  python -m fer_keras.predict photo.jpg
  python -m fer_keras.predict photo.jpg --save-images annotated
  python -m fer_keras.predict holiday/ --model runs/NAME/export --output faces.csv
  python -m fer_keras.predict holiday/ more/ --model runs/NAME/export --output faces.jsonl \\
      --detector haar --threads 2 --precision int8
  python -m fer_keras.predict crops/ --model runs/NAME/export --detector none
  python -m fer_keras.predict photo.jpg --prior balanced:0.5
  python -m fer_keras.predict photo.jpg --prior happiness=0.3,neutral=0.6 --labels anger,happiness
  python -m fer_keras.predict talk.mp4 --output faces.csv --report talk.html
  python -m fer_keras.predict clips/*.mp4 --every 0.5s --output faces.jsonl
  python -m fer_keras.predict /data/faces --output-dir faces --processes 8
  python -m fer_keras.predict --list pictures.txt --output-dir faces --processes 8

output:
  One row per face, the largest face of a picture first: path, face (its number in the picture,
  from 0), box in pixels, dominant emotion, score (the detector's confidence: a probability for
  mtcnn, a weight for haar, 1 for none), unsure (the model would rather not say), label_set (the
  emotions that cannot be ruled out, joined by |; see the model's card), the probability of
  every emotion, then yaw, pitch and roll of the head in degrees (where landmarks are known) and
  quality, 0 to 1 (docs/usage.md). JSON Lines has the landmarks too. A picture without a face has
  one row with empty face fields, and a warning on stderr. An --output file appears when all
  pictures are done, in place of the old one. --save-images writes each picture again with the faces
  in it drawn, numbered as in the table. Missing folders are made.

prior:
  A model has learned how frequent every emotion is in its training, and answers as if it were a
  little less uneven, by default_prior in its manifest. --prior says how frequent they are where you
  look, --prior training takes the model as it is; --labels leaves emotions out. With shares of your
  own or --labels, unsure is said of turned heads alone, label_set is the dominant emotion: no
  thresholds are known for those. Options that take several words stand after PATH, or have commas
  (docs/prior.md).

videos:
  One row per face and frame that is read. Where there is a video among the paths, the columns frame
  (from 0), time_s, track (the person's number) and face_source follow after face, the probabilities
  are smoothed over time (--half-life), and those of the frame alone stand at the end as
  raw_EMOTION. face_source is detected, with the detector's score, or tracked from an earlier frame,
  with the likeness to what was detected there as the score (0.5 to 1); a face that is lost has no
  row. With --all-frames a frame without a face has one, with face_source none and empty face
  fields. Faces are looked for at least every 0.5 s of the video, and after a hard cut everybody has
  a new number. --report
  draws one video's emotions over time, with small pictures of the faces unless --no-images. Videos
  in folders are passed over: name them. A model of clips scores the frames so far as a clip, in the
  columns of the emotions, and this frame as it sees it by itself, in raw_EMOTION; it takes videos
  only (docs/video.md).

pictures:
  JPEG, AVIF and HEIC (with pip install 'fer_keras[heif]') of at most 64 megapixels, PNG, BMP and
  WebP of at most 16, and 32 MiB each. Folders are read with all their subfolders in the order of
  the names, passing over hidden files and files of other types. Whether a file that you name is a
  picture or a video is told by its content.

many pictures:
  --output-dir takes them by the million: Parquet files with the columns of the CSV and one more,
  error, for pictures that could not be read. Interrupted, the same command goes on. docs/bulk.md
  has more, also on clusters.

exit code:
  0  every picture and video was read, with or without a face; with --output-dir also where some
     pictures could not be read (their rows say why), but not where a folder could not
  2  nothing was done (a path is missing, a folder is empty, the model cannot be used), or some
     files could not be read, or a video not to its end: each is named on stderr, the rows of the
     others, and those until the end, are written
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None takes the command line's.

    Returns:
        Exit code: 0, or 2 where some files could not be read, or not to their end.

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
    counts = _Counts()

    def unreadable(error: OSError) -> None:
        counts.unreadable += 1
        print(f"error: cannot be read ({error.strerror}): {error.filename}", file=sys.stderr)

    paths, passed_over = find_pictures(arguments.paths, unreadable)
    videos = frozenset(filter(is_video, paths))
    if arguments.report is not None and (len(paths) > 1 or not videos):
        raise ConfigError(
            f"--report: expected one video, received {len(paths)} files. Run it for each video"
        )
    if arguments.no_storage and arguments.report is not None and not arguments.no_images:
        raise ConfigError(
            "--no-storage: the report shows small pictures of the faces. Add --no-images, or leave "
            "--report out"
        )
    if arguments.no_storage and arguments.save_images is not None:
        raise ConfigError("--no-storage: --save-images writes pictures. Leave one of them out")
    if arguments.save_images is not None and videos:
        first = next(path for path in paths if path in videos)
        raise ConfigError(
            "--save-images: expected pictures, received a video. Draw it by: python -m "
            f"fer_keras.camera --source {first} --video shown.mp4"
        )

    # Imported only now, so that --help and a wrong path are answered at once.
    from fer_keras.common.opencv import cv2
    from fer_keras.runtime.recognizer import Recognizer
    from fer_keras.runtime.stream.annotated import AnnotatedPictures
    from fer_keras.runtime.stream.rows import table_format, write_path_csv, write_path_jsonl
    from fer_keras.runtime.stream.sources import quiet_ffmpeg
    from fer_keras.runtime.stream.video_report import VideoReport

    chosen = table_format(output, arguments.format)
    quiet_ffmpeg()
    with without_log_lines():
        recognizer = Recognizer(
            arguments.model,
            detector=arguments.detector,
            threads=arguments.threads,
            precision=arguments.precision,
            prior=arguments.prior,
            labels=words(arguments.labels),
            min_face=arguments.min_face,
            min_quality=arguments.min_quality,
            min_score=arguments.min_score,
            engine=arguments.engine,
            device=arguments.device,
        )
    for note in recognizer.notes:
        print(f"note: {note}", file=sys.stderr)
    if recognizer.input_kind == "clip":
        _only_videos(paths, videos, recognizer)
    # OpenCV has one thread count for the whole process, so it is the command that sets it.
    cv2.setNumThreads(arguments.threads)

    names = [str(name) for name in recognizer.classes_]
    report = None if arguments.report is None else VideoReport(names, not arguments.no_images)
    annotated = None
    if arguments.save_images is not None:
        name = _model_name(recognizer, arguments)
        annotated = AnnotatedPictures(arguments.save_images, paths, name)
    with _open_output(output) as stream:
        rows = _rows(recognizer, paths, videos, counts, arguments, report, annotated)
        if chosen == "csv":
            write_path_csv(stream, rows, names, bool(videos))
        else:
            write_path_jsonl(stream, rows, names)
    if report is not None and not counts.unreadable:
        arguments.report.parent.mkdir(parents=True, exist_ok=True)
        report.write(arguments.report, paths[0].name, _report_facts(recognizer, arguments, counts))
    written = output, arguments.report, arguments.save_images
    print(_summary(counts, passed_over, *written), file=sys.stderr)
    return 2 if counts.unreadable or counts.broken_off else 0


def _predict_in_bulk(arguments: argparse.Namespace) -> int:
    if not arguments.paths and arguments.list is None:
        raise ConfigError("--output-dir: expected PATH... or --list, received neither")
    for option in ("output", "format", "report", "save_images"):
        if getattr(arguments, option) is not None:
            left_out = option.replace("_", "-")
            raise ConfigError(f"--output-dir writes Parquet files. Leave out --{left_out}")
    if any(map(is_video, arguments.paths)):
        raise ConfigError("--output-dir: expected pictures, received a video. Use --output")
    total, plan = bulk.predict_in_bulk(arguments)
    counts = _Counts(**asdict(total))
    counts.unreadable += plan.unreadable
    print(_summary(counts, plan.passed_over, arguments.output_dir), file=sys.stderr)
    # A picture has a row that says why; a folder has none.
    return 2 if plan.unreadable else 0


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
        help="export folder with manifest.json, or a .tflite file with NAME.card.json beside it "
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
        "--min-face",
        type=face_pixels,
        metavar="PIXELS",
        help="find faces from this side on, in pixels of the picture; small ones in large pictures "
        "take time (default: 48 in pictures, in videos a sixteenth of the longer side)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help=".csv or .jsonl file (default: the terminal)"
    )
    parser.add_argument(
        "--save-images",
        type=Path,
        metavar="DIR",
        help="write the pictures with boxes, labels and probabilities into this folder",
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
        help="which file of the export folder (default: what its manifest says)",
    )
    add_least(parser)
    add_engine(parser)
    add_prior(parser)
    bulk.add_arguments(parser)
    videos = parser.add_argument_group("videos")
    videos.add_argument(
        "--report", type=Path, metavar="FILE.html", help="draw one video's emotions over time"
    )
    videos.add_argument(
        "--all-frames", action="store_true", help="a row also for every frame without a face"
    )
    videos.add_argument(
        "--identities",
        action="store_true",
        help="who comes back after an absence or a cut keeps the number, by the colours of face "
        "and hair; remembered in memory only, for each video anew",
    )
    videos.add_argument("--no-images", action="store_true", help="no pictures in the report")
    videos.add_argument(
        "--no-storage", action="store_true", help="refuse to write anything that shows a picture"
    )
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
        help="look for faces in every N-th frame that is read, and at least every 0.5 s, follow "
        "them in between (default: 5)",
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
