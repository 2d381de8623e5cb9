"""The camera command without a screen: rows, video, interrupts, what is refused."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_models import BRIGHT, CLASS_NAMES, DARK, LEFT, write_export

from fer_keras import camera
from fer_keras.common.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_export(tmp_path_factory.mktemp("models") / "export"))


@pytest.fixture(autouse=True)
def _no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty pictures of 320 x 240 whose centre is bright, then dark, then bright on the left."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(30):
        picture = np.full((240, 320), 128, np.uint8)
        picture[60:180, 100:220] = cv2.resize((BRIGHT, DARK, LEFT)[i // 10], (120, 120))
        cv2.imwrite(str(frames / f"{i:03d}.png"), picture)
    return frames


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def arguments(export: str, folder: Path, *more: str) -> list[str]:
    return ["--source", str(folder), "--model", export, "--box", "120", "--fps", "5", *more]


def test_rows_on_the_terminal(
    export: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert camera.main(arguments(export, folder)) == 0
    captured = capsys.readouterr()
    rows = read_csv(captured.out)
    assert list(rows[0]) == [
        "frame", "time_s", "track", "face_source", "x", "y", "width", "height", "dominant",
        "score", "unsure", "label_set", *CLASS_NAMES, *(f"raw_{name}" for name in CLASS_NAMES),
        "yaw", "pitch", "roll", "quality",
        "valence", "arousal",
    ]  # fmt: skip
    assert [int(row["frame"]) for row in rows] == list(range(30))
    assert [rows[i]["dominant"] for i in (5, 15, 25)] == ["happiness", "sadness", "surprise"]
    assert {row["x"] for row in rows} == {"100.0"}
    assert rows[7]["time_s"] == "1.400"
    assert "no screen, so there is no window" in captured.err
    summary = captured.err.splitlines()[-1]
    assert summary.startswith("30 frames, 30 faces, 1 track, ")
    assert "ms each: decode" in summary
    assert "classify" in summary


def test_files_and_video(export: str, folder: Path, tmp_path: Path) -> None:
    output, video = tmp_path / "faces.jsonl", tmp_path / "shown.mp4"
    more = ["--output", str(output), "--video", str(video), "--max-frames", "20", "--mirror"]
    assert camera.main(arguments(export, folder, *more)) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == 20
    assert rows[12].keys() >= {"frame", "time_s", "track", "face_source", "box", "emotions"}
    # In pixels of the source, whatever is mirrored and scaled on the screen.
    assert rows[0]["box"] == [100.0, 60.0, 120.0, 120.0]
    capture = cv2.VideoCapture(str(video))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 20
    assert capture.get(cv2.CAP_PROP_FPS) == 5
    ok, first = capture.read()
    assert ok
    assert first.shape[0] > 480
    assert first.shape[1] > 640
    # The panel's bars, on the right of the picture.
    assert first[:400, 645:].std() > 20


def test_nothing_is_lost_by_another_run(export: str, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "faces.csv"
    more = ["--output", str(output), "--max-frames", "3"]
    assert camera.main(arguments(export, folder, *more)) == 0
    with pytest.raises(ConfigError, match=r"--append: .*faces\.csv"):
        camera.main(arguments(export, folder, *more))
    assert camera.main(arguments(export, folder, *more, "--append")) == 0
    assert [row["frame"] for row in read_csv(output.read_text())] == ["0", "1", "2"] * 2
    output.write_text("other,columns\n")
    with pytest.raises(ConfigError, match="columns"):
        camera.main(arguments(export, folder, *more, "--append"))
    assert output.read_text() == "other,columns\n"


@pytest.mark.parametrize("promise", ["--no-images", "--no-storage"])
def test_no_images_means_none(
    promise: str, export: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="--no-images"):
        camera.main(arguments(export, folder, promise, "--video", "x.mp4"))
    assert camera.main(arguments(export, folder, promise, "--output", "rows.csv")) == 0
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "rows.csv"])


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (["--output", "x.txt"], ConfigError, "ending in .csv or .jsonl"),
        (["--video", "x.gif"], ConfigError, "ending in .mp4"),
        (["--source", "missing.mp4"], DataError, "Check the path"),
        (["--source", "77"], DataError, "camera cannot be opened"),
        (["--box", "3"], ConfigError, "at least 16"),
    ],
)
def test_what_cannot_be_used_is_refused(
    export: str, folder: Path, more: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        camera.main(arguments(export, folder, *more))


@pytest.mark.parametrize(
    "more", [["--half-life", "-1"], ["--fps", "0"], ["--detect-every", "0"], ["--half-life", "nan"]]
)
def test_wrong_numbers_are_refused(more: list[str]) -> None:
    with pytest.raises(SystemExit):
        camera.main(more)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_cleanly_and_keeps_the_rows(
    export: str, folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "faces.jsonl"
    slow = (
        "import signal, sys, time\n"
        # A shell starts its background jobs, these tests perhaps among them, with SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from fer_keras import camera; from fer_keras.common.errors import run_command\n"
        "from fer_keras.runtime.recognizer import Recognizer\n"
        "crop = Recognizer.crop_faces\n"
        "def slowly(*arguments): time.sleep(0.3); return crop(*arguments)\n"
        "Recognizer.crop_faces = slowly\n"
        "run_command(lambda: camera.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", slow, *arguments(export, folder, "--output", str(output))]
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    end = time.monotonic() + 60
    while time.monotonic() < end and not (output.exists() and output.read_text()):
        time.sleep(0.1)
    started.send_signal(number)
    _, messages = started.communicate(timeout=30)
    assert started.returncode == 130
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert 0 < len(rows) < 30
    assert f"{len(rows)} frame" in messages.splitlines()[-1]
    assert "Traceback" not in messages


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, fer_keras.camera\n"
        "heavy = {'cv2', 'numpy', 'tensorflow', 'keras', 'tqdm'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_all_frames_have_a_row(export: str, tmp_path: Path, suffix: str) -> None:
    frames, output = tmp_path / "grey", tmp_path / f"faces.{suffix}"
    frames.mkdir()
    for i in range(6):
        cv2.imwrite(str(frames / f"{i:03d}.png"), np.full((240, 320, 3), 128, np.uint8))
    more = ["--source", str(frames), "--model", export, "--detector", "haar", "--fps", "5"]
    assert camera.main([*more, "--output", str(output), "--all-frames"]) == 0
    text = output.read_text()
    rows = read_csv(text) if suffix == "csv" else [json.loads(x) for x in text.splitlines()]
    assert [int(row["frame"]) for row in rows] == list(range(6))
    assert {row["face_source"] for row in rows} == {"none"}
    assert not any(row[key] for row in rows for key in ("track", "dominant", "score"))
