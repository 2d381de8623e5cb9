"""Shows a face's expression in the browser: `python -m fer_keras.web`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fer_keras.common.arguments import add_listening, face_pixels, read_token
from fer_keras.common.errors import ConfigError, run_command
from fer_keras.runtime.server.settings import LOOPBACK, check_token
from fer_keras.runtime.web import vendored

_EXAMPLES = """\
examples:
  python -m fer_keras.web build                            # once: fetch LiteRT.js and a detector
  python -m fer_keras.web                                  # serve the page on this machine
  python -m fer_keras.web --model runs/NAME/export         # with a model of your own
  python -m fer_keras.web --model runs/NAME/export --precision int8 --port 9000
  python -m fer_keras.web --host 0.0.0.0 --token-file token.txt         # also for a phone
  python -m fer_keras.web save --model runs/NAME/export --output site   # files for a web server

The page runs the model in the browser: no picture leaves it. The server answers GET and HEAD of
the page's own files, to this machine alone unless --host and a token say otherwise. The face
detector comes with `build`.
"""
# What a browser does with pages that are neither from its own machine nor encrypted.
_NO_CAMERA = (
    "It reads pictures there, but gets no camera without https: put a proxy with TLS before it, or "
    "take a tunnel (ssh -L)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None takes the command line's.

    Returns:
        Exit code 0.

    Raises:
        FerKerasError: The model cannot be used, or the files of LiteRT.js are missing.
    """
    arguments = _parser().parse_args(argv)
    output: Path | None = arguments.output
    if (output is not None) != (arguments.action == "save"):
        raise ConfigError("--output: expected with `save`, and only with it")
    if arguments.action == "build":
        vendored.build()
        for package in (*vendored.PACKAGES, vendored.DETECTOR):
            print(f"{package.name} {package.version} ({package.licence})")
        print(f"-> {vendored.VENDOR_FOLDER}")
        return 0
    # Before a model is read, which takes longer.
    token = read_token(arguments.token_file)
    check_token(arguments.host, token)
    vendored.read_vendored()

    # Imported only now, so that --help is answered at once.
    from fer_keras.common.quiet import without_log_lines
    from fer_keras.runtime.shipped import default_model
    from fer_keras.runtime.web.server import PageServer
    from fer_keras.runtime.web.site import build_site, save_site

    with without_log_lines():
        model = arguments.model or default_model()
        site = build_site(model, arguments.precision, arguments.min_face)
    if output is not None:
        save_site(site, output)
        print(f"{len(site)} files -> {output}")
        return 0
    with PageServer(site, arguments.port, arguments.host, token) as server:
        here = arguments.host in LOOPBACK
        where = "on this machine" if here else f"of your network. {_NO_CAMERA}"
        print(f"Open {server.url} in a browser {where}; Ctrl-C ends.", flush=True)
        server.serve_forever()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.web",
        description="Show a face's expression in the browser, with a model that runs in the page.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=("serve", "build", "save"),
        default="serve",
        help="serve the page (default), build: fetch LiteRT.js and the detector, save: write the "
        "page as a folder",
    )
    parser.add_argument(
        "--model",
        metavar="DIR",
        help="export folder with manifest.json, or a .tflite file with NAME.card.json beside it "
        "(default: the shipped model)",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "float16", "dynamic", "int8"),
        help="which file of the export folder (default: what the model is shipped as)",
    )
    parser.add_argument(
        "--min-face",
        type=face_pixels,
        metavar="PIXELS",
        help="find faces from this side on, in pixels of the picture; small ones take time "
        "(default: faces of about a fifth of the longer side)",
    )
    add_listening(parser, 8765)
    parser.add_argument("--output", type=Path, metavar="DIR", help="new folder for `save`")
    return parser


if __name__ == "__main__":
    run_command(main)
