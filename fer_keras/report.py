"""One page about a run: `python -m fer_keras.report RUN`.

Everything that is known about a trained model in one file that opens offline, in a light or a dark
theme, and prints. It reads the run folder and the studies of its model, no model and no data set,
and so takes seconds. With `--pictures` it also shows pictures of the data set, which is why that is
off by default: a report is there to be passed on, and most data sets are not.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer_keras.common.errors import DataError, run_command
from fer_keras.common.files import write_text
from fer_keras.common.html_page import png_uri
from fer_keras.common.installed import TRAINING, require
from fer_keras.common.progress import progress
from fer_keras.common.quiet import load_keras
from fer_keras.reporting.run_page import sections
from fer_keras.reporting.run_page.content import Content, read_run
from fer_keras.reporting.run_page.page import build_report
from fer_keras.tracking.tracker import Tracker, read_run_id

_EXAMPLES = """examples:
  python -m fer_keras.report runs/NAME
  python -m fer_keras.report runs/NAME --study runs/study-robustness-DATE --output page.html
  python -m fer_keras.report runs/NAME --pictures     with faces of the data set, for yourself

Studies of the same model in folders beside the run are found by the sha256 of the model file.
"""


def mistaken_pictures(content: Content) -> dict[int, str]:
    """Reads the pictures of the surest mistakes from the data set of the run.

    Args:
        content: Of the run.

    Returns:
        Row of the validation split -> data URI.

    Raises:
        DataError: The data set is not on this machine, or is another one than the run saw.
    """
    from fer_keras.common.opencv import cv2
    from fer_keras.evaluation.run_data import run_samples

    samples, _ = run_samples(content.run_dir, "validation")
    uris = {}
    for row in sections.confident_mistakes(content):
        index = int(row["index"])
        if index >= len(samples) or samples.facts["sha256"][index] != row["sha256"]:
            raise DataError(
                "The data set is not the one that the predictions are about. Evaluate the run "
                f"again first: {content.run_dir}"
            )
        pixels = np.ascontiguousarray(np.asarray(samples.images[index])[:, :, ::-1])
        uris[index] = png_uri(bytes(cv2.imencode(".png", pixels)[1]))
    return uris


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.report",
        description="Write one self-contained HTML page about a run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument(
        "--study", type=Path, action="append", default=[], metavar="DIR",
        help="folder of a study; may be given several times (default: those beside the run)",
    )  # fmt: skip
    parser.add_argument(
        "--pictures", action="store_true",
        help="show the pictures of the surest mistakes and the heatmaps over pictures of the data "
        "set; such a page may be passed on only where they may, and MLflow does not get it",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="FILE",
        help="default: report.html (report_with_pictures.html) in the run folder",
    )  # fmt: skip
    parser.add_argument("--no-mlflow", action="store_true", help="leave the MLflow run as it is")
    arguments = parser.parse_args(argv)
    require("python -m fer_keras.report", *TRAINING)
    load_keras()

    with progress("writing the page"):
        content = read_run(arguments.run, arguments.study)
        pictures = mistaken_pictures(content) if arguments.pictures else None
        default = "report_with_pictures.html" if arguments.pictures else "report.html"
        path: Path = arguments.output or arguments.run / default
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, build_report(content, pictures))
    found = ", ".join(f"{study.name} ({study.model})" for study in content.studies)
    print(f"studies: {found or 'none of this model found'}")
    if not arguments.pictures and not arguments.no_mlflow and _store(arguments.run, path):
        print("stored in the MLflow run")
    print(f"written to {path} ({path.stat().st_size / 1000:,.0f} kB)")
    return 0


def _store(run_dir: Path, path: Path) -> bool:
    run_id = read_run_id(run_dir)
    if not run_id:
        return False
    tracker = Tracker()
    tracker.attach(run_id)
    tracker.artifact(path)
    return tracker.active


if __name__ == "__main__":
    run_command(main)
