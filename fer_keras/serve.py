"""Answers requests with the expressions in pictures: `python -m fer_keras.serve`."""

import argparse
import sys
from collections.abc import Sequence

from fer_keras.common.arguments import (
    TOKEN_VARIABLE,
    add_least,
    add_listening,
    add_prior,
    face_pixels,
    positive,
    rate,
    read_token,
    words,
)
from fer_keras.common.errors import run_command
from fer_keras.common.installed import require
from fer_keras.runtime.server.settings import Limits, Settings

_DEFAULTS = Limits()

_EXAMPLES = f"""\
examples:
  python -m fer_keras.serve                                     on http://127.0.0.1:8000/docs
  curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' localhost:8000/v1/recognize
  curl -F picture=@a.jpg -F picture=@b.jpg localhost:8000/v1/recognize
  python -m fer_keras.serve --model runs/A/export --model runs/B/export --workers 2
  python -m fer_keras.serve --host 0.0.0.0 --token-file token.txt

routes:
  POST /v1/recognize   pictures -> their faces, as `Recognizer.recognize` gives them
  POST /v1/crops       pictures that are ready faces -> one face for each
  WS   /v1/stream      pictures of one camera, one a message -> tracked faces
  GET  /v1/models, /healthz, /metrics (Prometheus), /docs (every route, to be tried)

No picture is stored or logged. Others than this machine need a token, from --token-file or the
variable {TOKEN_VARIABLE}. What is over a limit is refused in one line of JSON. SIGTERM and Ctrl-C
finish what is under way. docs/server.md has clients in Python and JavaScript.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None takes the command line's.

    Returns:
        Exit code 0.

    Raises:
        FerKerasError: The model, the port or the token cannot be used, or the extra is missing.
    """
    arguments = _parser().parse_args(argv)
    settings = Settings(
        models=tuple(arguments.model),
        detector=arguments.detector,
        precision=arguments.precision,
        threads=arguments.threads,
        prior=arguments.prior,
        labels=tuple(words(arguments.labels)),
        min_face=arguments.min_face,
        min_quality=arguments.min_quality,
        min_score=arguments.min_score,
        host=arguments.host,
        port=arguments.port,
        token=read_token(arguments.token_file),
        origins=tuple(arguments.origin),
        workers=arguments.workers,
        limits=Limits(
            arguments.max_bytes,
            arguments.max_pixels,
            arguments.max_faces,
            arguments.max_requests,
            arguments.max_seconds,
        ),
    )
    require(
        "python -m fer_keras.serve",
        "fastapi", "fastapi_offline", "uvicorn", "websockets", "python_multipart",
        "prometheus_client",
    )  # fmt: skip
    # Imported only now, so that --help and a wrong option are answered at once.
    from fer_keras.runtime.server.run import open_port, serve

    listening = open_port(settings.host, settings.port)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{listening.getsockname()[1]}"
    serve(settings, listening, lambda: print(f"{address}/docs  Ctrl-C ends", flush=True))
    print("ended", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.serve",
        description="Answer requests with the facial expressions in pictures.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--model",
        action="append",
        default=[],
        metavar="DIR",
        help="export folder or .tflite file; again for another one, which clients choose by "
        "?model=NAME (default: the shipped model)",
    )
    add(
        "--detector",
        default="mtcnn",
        metavar="NAME",
        help="mtcnn (default), haar, yunet, blazeface",
    )
    add(
        "--min-face",
        type=face_pixels,
        metavar="PIXELS",
        help="find faces from this side on (default: as `Recognizer` does)",
    )
    add(
        "--precision",
        choices=("float32", "float16", "dynamic", "int8"),
        help="which file of the export folder (default: what its manifest says)",
    )
    add_least(parser)
    add_prior(parser)
    add("--threads", type=positive, default=1, metavar="N", help="of LiteRT (default: 1)")
    add("--workers", type=positive, default=1, metavar="N", help="processes (default: 1)")
    where = parser.add_argument_group("who may ask")
    add_listening(where, 8000)
    where.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="URL",
        help="a web page of another host that may ask, such as https://example.org",
    )
    limits = parser.add_argument_group("limits")
    for name, of in (
        ("bytes", "of one request, and of one frame"),
        ("pixels", "of one picture"),
        ("faces", "in one picture, and pictures in one request"),
        ("requests", "at a time in each process; an open stream is one"),
    ):
        default = getattr(_DEFAULTS, "body_bytes" if name == "bytes" else name)
        limits.add_argument(
            f"--max-{name}",
            type=positive,
            default=default,
            metavar="N",
            help=f"{of} (default: {default})",
        )
    limits.add_argument(
        "--max-seconds",
        type=rate,
        default=_DEFAULTS.seconds,
        metavar="N",
        help=f"until an answer, and between two frames (default: {_DEFAULTS.seconds:g})",
    )
    return parser


if __name__ == "__main__":
    run_command(main)
