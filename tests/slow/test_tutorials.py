"""The tutorials are run as they are written, page by page, in a folder of their own.

Left out is only what needs a camera, another machine or a network; each with its reason.
"""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_keras.data.datasets.synthetic_faces import make_identity
from fer_keras.data.drawn_faces.face_drawing import draw_face

_ROOT = Path(__file__).parents[2]
_TUTORIALS = sorted((_ROOT / "docs" / "tutorials").glob("*.md"))
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What a line has in it -> why it is not run here.
_LEFT_OUT = {
    "fer_keras.camera": "needs a camera; tests/test_camera.py",
    "pip ": "needs a package index",
    "git clone": "needs a network",
    "python3 -m venv": "needs a package index",
    "scp ": "needs another machine; the test copies",
    "--peer": "needs the file of another package; tests/test_compare.py",
    "ferplus_cel": "needs FER+",
    "--dataset ferplus": "needs FER+",
    "dataset.source=MY_FOLDER": "a name for the reader to fill in",
}
_UNITS: dict[str, dict[int, float]] = {
    "happiness": {6: 1.0, 12: 1.0},
    "neutral": {},
    "surprise": {1: 1.0, 2: 1.0, 5: 1.0, 26: 1.0},
}
# Enough for a validation part with every class, and few enough for a minute.
_PEOPLE = 30


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of the code blocks of a page that can be run."""
    return _BLOCK.findall(page.read_text("utf-8"))


def commands(text: str) -> list[str]:
    """The commands of a bash block, without comments and with continued lines joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def draw_photos(folder: Path, people: int = _PEOPLE) -> None:
    """Photos of drawn people, in folders of their expressions."""
    for name, units in _UNITS.items():
        (folder / name).mkdir(parents=True)
        for subject in range(people):
            picture = draw_face(make_identity(7, subject), units, None, 160)[0]
            cv2.imwrite(str(folder / name / f"person_{subject:02}.jpg"), picture[:, :, ::-1])


class Workshop:
    """A folder in which commands run as a reader would run them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        python = Path(sys.executable).parent
        kept = {name: value for name, value in os.environ.items() if name != "FER_KERAS_DATA"}
        self._environment = kept | {
            "PATH": f"{python}{os.pathsep}{kept.get('PATH', '')}",
            "PYTHONPATH": str(_ROOT),
            "HOME": str(folder / "home"),
            "FER_KERAS_CACHE": str(folder / "cache"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        }
        # The tutorials are written for a checkout, with the environment that its README makes.
        # The whole of it: Python finds its packages by the pyvenv.cfg beside bin.
        (folder / ".venv").symlink_to(python.parent)
        (folder / "saved_models").symlink_to(_ROOT / "saved_models")
        draw_photos(folder / "photos")
        shutil.copyfile(folder / "photos" / "happiness" / "person_00.jpg", folder / "photo.jpg")

    def run(self, command: str) -> str:
        """Run one command; its failure is the test's."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def train(self, run: str) -> None:
        """A run that a page takes for granted."""
        if not (self.folder / run / "result.json").is_file():
            self.run(
                "python -m fer_keras.train --exp cross_entropy --data photos "
                f"--run-dir {shlex.quote(run)}"
            )


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """One for each page: pages that stand alone give their runs the same names."""
    return Workshop(tmp_path)


def _faces(workshop: Workshop) -> None:
    """The folder of faces that own-data.md makes, and finetune.md takes for granted."""
    if not (workshop.folder / "faces").exists():
        workshop.run("python -m fer_keras.data crop photos --out faces --size 112")


def _people_of(workshop: Workshop) -> None:
    """The table of attributes that a reader makes of `predictions_validation.csv`."""
    with (workshop.folder / "runs" / "mine" / "predictions_validation.csv").open() as stream:
        sources = [row["source"] for row in csv.DictReader(stream)]
    lines = [f"{source},{'left' if i % 2 else 'right'}" for i, source in enumerate(sources)]
    (workshop.folder / "people.csv").write_text("\n".join(["source,side", *lines]) + "\n")


def _model_on_the_pi(workshop: Workshop) -> None:
    home = workshop.folder / "home"
    shutil.copytree(workshop.folder / "runs" / "mine" / "export", home / "model")


# What a reader has before a line: the line's words -> what makes it.
_BEFORE: dict[str, Callable[[Workshop], None]] = {
    "--csv people.csv": _people_of,
    "dataset.source=faces": _faces,
    "fer_keras.benchmark ~/model": _model_on_the_pi,
}


@pytest.mark.parametrize("page", _TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs_as_written(page: Path, workshop: Workshop) -> None:
    text = page.read_text("utf-8")
    for run in ("runs/A", "runs/B"):
        if run in text:
            workshop.train(run)
    if "runs/mine" in text and "--run-dir runs/mine" not in text:
        workshop.train("runs/mine")
    done = 0
    for language, block in blocks(page):
        for command in [block] if language == "python" else commands(block):
            if any(words in command for words in _LEFT_OUT):
                continue
            for words, prepare in _BEFORE.items():
                if words in command:
                    prepare(workshop)
            if language == "python":
                (workshop.folder / "block.py").write_text(command)
                command = "python block.py"
            workshop.run(command)
            done += 1
    assert done, f"{page.name}: nothing of it was run"


def test_every_tutorial_has_something_to_run() -> None:
    for page in _TUTORIALS:
        lines = [line for _, block in blocks(page) for line in commands(block)]
        assert [line for line in lines if not any(words in line for words in _LEFT_OUT)], page.name


def test_a_line_that_fails_is_noticed(workshop: Workshop) -> None:
    with pytest.raises(AssertionError, match="Unknown command"):
        workshop.run("python -m fer_keras trian")
    assert np.any(cv2.imread(str(workshop.folder / "photo.jpg")))
