"""Exports a run for use without Keras: `python -m fer_keras.export RUN`.

From `best.keras` a graph is built that goes from raw pixels to probabilities: network, one
temperature fitted on the validation split, softmax. It is written as SavedModel and as TFLite in
four precisions, and each file is compared with Keras on validation images. Unless all agree,
nothing is published. The manifest also gets the thresholds from which on an answer is sure and a
label is meant (`fer_keras.evaluation.thresholds`). All work happens in a temporary folder that
takes the place of the old export at the end.
"""

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.arguments import add_published_arguments, check_published_arguments
from fer_keras.common.errors import ConfigError, run_command
from fer_keras.common.installed import TRAINING, require_keras
from fer_keras.common.quiet import load_keras

_EXAMPLES = """examples:
  python -m fer_keras.export runs/word2vec-seed0                 -> runs/word2vec-seed0/export
  python -m fer_keras.export runs/word2vec-seed0 --output saved_models/word2vec
  python -m fer_keras.export runs/word2vec-seed0 --no-int8
  python -m fer_keras.export runs/word2vec-seed0 --formats onnx openvino
  python -m fer_keras.export runs/word2vec-seed0 --reject-accuracy 0.9
  python -m fer_keras.export ddamfn.pth --network ddamfn --labels rafdb --dataset rafdb

A run trained on JAX or PyTorch is exported in the same way: the export itself runs on TensorFlow.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.export",
        description="Export a run to SavedModel, TFLite and, if asked, ONNX and OpenVINO, checked "
        "against Keras.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run",
        type=Path,
        help="run folder with best.keras and experiment.json; with --network its authors' file",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="default: RUN/export; of a PyTorch file runs/NETWORK_FILE/export",
    )
    add_published_arguments(parser)
    parser.add_argument(
        "--dataset", default="", help="of a PyTorch file: whose validation split calibrates it"
    )
    parser.add_argument("--source", default="", help="file or folder of that data set")
    parser.add_argument(
        "--calibration-images", type=int, default=512, metavar="N", help="for int8; default: 512"
    )
    parser.add_argument(
        "--parity-images", type=int, default=1000, metavar="N", help="default: 1000"
    )
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="average over each picture and its mirror image: twice the time, some accuracy",
    )
    parser.add_argument("--no-int8", action="store_true", help="leave the int8 file out")
    parser.add_argument(
        "--formats",
        nargs="+",
        default=[],
        metavar="FORMAT",
        help="also onnx (opset 18) and openvino, in float32, each checked against Keras too",
    )
    parser.add_argument(
        "--reject-accuracy",
        type=float,
        default=0.95,
        metavar="SHARE",
        help="accuracy at which the answers that are not unsure aim; at most half of the answers "
        "become unsure (default: 0.95)",
    )
    arguments = parser.parse_args(argv)
    check_published_arguments(arguments)
    if bool(arguments.network) != bool(arguments.dataset):
        raise ConfigError("--network FAMILY --dataset NAME: expected both, of a PyTorch file")
    require_keras("python -m fer_keras.export", *TRAINING)
    # Before the first import of Keras and TensorFlow, which read these once.
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    load_keras()
    # Only now, so that --help is answered at once.
    from fer_keras.conversion.summary import report

    target = arguments.output or arguments.run / "export"
    with tempfile.TemporaryDirectory(prefix="fer_keras-") as temporary:
        run_dir = arguments.run
        if arguments.network:
            words = sys.argv[1:] if argv is None else list(argv)
            name = f"{arguments.network}_{arguments.run.name.partition('.')[0]}"
            target = arguments.output or Path("runs") / name / "export"
            run_dir = Path(temporary)
            _published(arguments, run_dir, shlex.join(["python", "-m", "fer_keras.export", *words]))
        manifest = _exported(run_dir, target, arguments)
    print(report(manifest))
    print(f"\nwritten to {target}")
    return 0


def _exported(run_dir: Path, target: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    from fer_keras.conversion.export_run import export_run

    return export_run(
        run_dir,
        target,
        calibration_images=arguments.calibration_images,
        parity_images=arguments.parity_images,
        int8=not arguments.no_int8,
        mirror=arguments.mirror,
        reject_accuracy=arguments.reject_accuracy,
        formats=arguments.formats,
    )


def _published(arguments: argparse.Namespace, folder: Path, command: str) -> None:
    """Makes the run folder of weights that were trained elsewhere."""
    from fer_keras.conversion.published import published_run

    published_run(
        arguments.run,
        folder,
        network=arguments.network,
        labels=arguments.labels,
        decision=arguments.decision,
        dataset=arguments.dataset,
        source=arguments.source,
        command=command,
    )


if __name__ == "__main__":
    run_command(main)
