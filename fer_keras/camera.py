"""Expressions from a camera, a video or a stream: `python -m fer_keras.camera --source 0`.

With a screen a window shows what is found; rows for every face and frame go to a file.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from fer_keras.common.arguments import (
    add_engine,
    add_least,
    add_prior,
    face_pixels,
    positive,
    rate,
    seconds,
    words,
)
from fer_keras.common.errors import ConfigError, run_command
from fer_keras.common.installed import require
from fer_keras.runtime.stream.session import (
    STILL_S,
    _outputs,
    _publisher,
    _Session,
    _summary,
    _terminated_as_interrupted,
)

_EXAMPLES = """\
examples:
  python -m fer_keras.camera                                       the first camera
  python -m fer_keras.camera --source talk.mp4 --output faces.csv
  python -m fer_keras.camera --source rtsp://192.168.0.7/live --no-window --output faces.jsonl
  python -m fer_keras.camera --source frames/ --fps 10 --video shown.mp4
  python -m fer_keras.camera --detector haar --precision int8 --detect-every 10     a small board

window:
  q or Esc ends, space pauses, m mirrors, s saves a snapshot, n takes a new neutral face (models
  that compare with one: look neutral until the bar is full).

output:
  One row per face and frame: frame, time_s (seconds from the first frame), track (the person's
  number), face_source (detected, or tracked from an earlier frame), box in pixels of the source,
  dominant, score (the detector's, or where tracked the likeness to what was detected), unsure,
  label_set, the smoothed probability of every emotion, the frame's own as raw_EMOTION, and yaw,
  pitch and roll of the head in degrees and quality, 0 to 1 (docs/usage.md).
  --all-frames: a frame without a face has a row too, with face_source none and empty face fields.
  JSON Lines have the landmarks too. Without a window and without --output
  the rows go to the terminal. Rows are
  written as they come; Ctrl-C ends cleanly and keeps them.

smart home:
  --mqtt HOST tells a broker how many faces there are and the expression of the largest one, in the
  manner of Home Assistant's discovery; no picture and no probability (docs/smart-home.md).

pictures:
  Nothing is written unless you ask by --video or by the key s; --no-storage refuses both.
  --blur-faces covers the faces that are found (docs/law.md).

exit code:
  0  the end of the file, --max-frames, q, or Ctrl-C on a camera     130  Ctrl-C before a file's end
  2  the source, the model or an option cannot be used, a video is cut off, or pictures of a folder
     cannot be read; the rows of the others are kept
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None takes the command line's.

    Returns:
        Exit code: 0, 130 where a file was interrupted, or 2 where not all of it could be read.

    Raises:
        FerKerasError: Something cannot be used; rows that were written stay.
    """
    arguments = _parser().parse_args(argv)
    if arguments.no_images and arguments.video:
        raise ConfigError(
            "--no-images and --no-storage never write a picture, so they do not go with --video"
        )
    if arguments.mqtt:
        require("python -m fer_keras.camera --mqtt", "paho")

    # Imported only now, so that --help and a wrong option are answered at once.
    from fer_keras.common.opencv import cv2
    from fer_keras.common.quiet import without_log_lines
    from fer_keras.runtime.faces.centre_box import CentreBoxDetector
    from fer_keras.runtime.recognizer import Recognizer
    from fer_keras.runtime.stream.sources import open_source, quiet_ffmpeg
    from fer_keras.runtime.stream.stream import Stream

    quiet_ffmpeg()
    source = open_source(arguments.source, arguments.fps)
    with without_log_lines():
        recognizer = Recognizer(
            arguments.model,
            detector=CentreBoxDetector(arguments.box) if arguments.box else arguments.detector,
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
    # OpenCV has one thread count for the whole process, so it is the command that sets it.
    cv2.setNumThreads(arguments.threads)
    is_fixed = arguments.box or arguments.detector == "none"
    interrupted = False
    with ExitStack() as stack:
        window, recorder, rows = _outputs(stack, arguments, source, recognizer)
        publisher = _publisher(stack, arguments, recognizer)
        stream = Stream(
            source,
            recognizer,
            # A box that stays where it is must not be carried along by what moves in it.
            # A face that comes must be covered in its first frame.
            detect_every=1 if is_fixed or arguments.blur_faces else arguments.detect_every,
            half_life_s=arguments.half_life,
            neutral_s=arguments.neutral_seconds,
            identities=arguments.identities,
            still_s=None if arguments.may_stand_still else STILL_S,
        )
        stack.enter_context(stream)
        session = _Session(stream, arguments, window, recorder, rows, publisher)
        try:
            with _terminated_as_interrupted():
                session.run()
        except KeyboardInterrupt:
            interrupted = True
    print(_summary(stream, session.people, arguments), file=sys.stderr)
    if session.num_unreadable:
        return 2
    if session.broken_off:
        print(
            f"error: {stream.num_frames} of {source.num_frames} frames could be read, the rows of "
            f"these are kept; the video is cut off or damaged: {source.name}",
            file=sys.stderr,
        )
        return 2
    return 130 if interrupted and not source.live else 0


def _add_mqtt(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--mqtt", metavar="HOST[:PORT]", help="tell a smart home's broker what is seen")
    add(
        "--mqtt-name",
        metavar="NAME",
        help="of this camera in the smart home (default: fer_keras and the machine's name)",
    )
    add("--mqtt-user", metavar="NAME", help="its password is in FER_KERAS_MQTT_PASSWORD")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.camera",
        description="Read facial expressions from a camera, a video or a stream.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--source",
        default="0",
        metavar="SOURCE",
        help="camera number (default: 0), picamera2, libcamera:, gst:PIPELINE, video file, folder "
        "of pictures, rtsp:// or http:// address",
    )
    add("--model", metavar="DIR", help="export folder or .tflite file (default: the shipped model)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--detector",
        default="mtcnn",
        metavar="NAME",
        help="mtcnn (default), haar, yunet, blazeface",
    )
    where.add_argument(
        "--box",
        type=positive,
        metavar="PIXELS",
        help="no detector: a fixed box of this side in the middle (224 as in the DDAMFN project)",
    )
    add(
        "--min-face",
        type=face_pixels,
        metavar="PIXELS",
        help="find faces from this side on, in pixels of the source; small ones take time "
        "(default: a sixteenth of the longer side)",
    )
    add("--output", type=Path, metavar="FILE", help=".csv or .jsonl file for the rows")
    add("--all-frames", action="store_true", help="a row also for every frame without a face")
    add(
        "--identities",
        action="store_true",
        help="who comes back after an absence keeps the number, by the colours of the face and the "
        "hair; remembered in memory only",
    )
    add("--append", action="store_true", help="go on with an --output file that is there already")
    add("--format", choices=("csv", "jsonl"), help="default: by the name of FILE, else csv")
    add("--video", type=Path, metavar="FILE", help="write what is shown, .mp4 or .avi")
    add(
        "--snapshots",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="where the key s saves pictures (default: the current folder)",
    )
    add(
        "--no-images",
        "--no-storage",
        dest="no_images",
        action="store_true",
        help="never write a picture",
    )
    add(
        "--blur-faces",
        action="store_true",
        help="cover the faces in what is shown and saved; faces are looked for in every frame",
    )
    add("--no-window", action="store_true", help="no window, although there is a screen")
    add(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        help="show the picture as in a mirror (default: cameras only)",
    )
    _add_mqtt(parser)
    add("--max-frames", type=positive, metavar="N", help="end after so many frames")
    add(
        "--detect-every",
        type=positive,
        default=5,
        metavar="N",
        help="look for faces in every N-th frame, and at least every 0.5 s, follow them in between "
        "(default: 5)",
    )
    add(
        "--half-life",
        type=seconds,
        default=0.2,
        metavar="SECONDS",
        help="of the smoothing over time; 0 for none (default: 0.2)",
    )
    add(
        "--neutral-seconds",
        type=seconds,
        default=2.0,
        metavar="SECONDS",
        help="of looking at a neutral face, for models that compare with one (default: 2)",
    )
    add(
        "--fps",
        type=rate,
        default=25.0,
        metavar="N",
        help="how many pictures of a folder make a second (default: 25)",
    )
    add(
        "--may-stand-still",
        action="store_true",
        help="a live picture that does not change is no loss (screen casts, virtual cameras)",
    )
    add("--threads", type=positive, default=1, metavar="N", help="processor threads (default: 1)")
    add(
        "--precision",
        choices=("float32", "float16", "dynamic", "int8"),
        help="which file of the export folder (default: what its manifest says)",
    )
    add_least(parser)
    add_engine(parser)
    add_prior(parser)
    return parser


if __name__ == "__main__":
    run_command(main)
