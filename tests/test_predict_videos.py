"""Videos in the predict command: rows over time, beside pictures, the report page."""

import csv
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import BRIGHT, CLASS_NAMES, DARK, LEFT, write_export

from fer_keras import predict
from fer_keras.common.errors import ConfigError

FPS = 10


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_export(tmp_path_factory.mktemp("models") / "export"))


def write_video(path: Path, pictures: list[Any]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (96, 96))
    for picture in pictures:
        writer.write(np.repeat(cv2.resize(picture, (96, 96))[..., None], 3, axis=2))
    writer.release()
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two seconds bright, two seconds dark, two seconds bright on the left."""
    return write_video(tmp_path / "a <b> & c.avi", [BRIGHT] * 20 + [DARK] * 20 + [LEFT] * 20)


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_row_per_face_and_frame(
    export: str, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "faces.csv"
    arguments = [str(video), "--model", export, "--detector", "none", "--output", str(output)]
    assert predict.main([*arguments, "--detect-every", "1"]) == 0
    rows = read_csv(output.read_text())
    assert list(rows[0]) == [
        "path", "face", "frame", "time_s", "track", "face_source", "x", "y", "width", "height",
        "dominant", "score", "unsure", "label_set", *CLASS_NAMES,
        *(f"raw_{name}" for name in CLASS_NAMES), "yaw", "pitch", "roll", "quality",
        "valence", "arousal",
    ]  # fmt: skip
    assert [int(row["frame"]) for row in rows] == list(range(60))
    assert [float(row["time_s"]) for row in rows] == [i / FPS for i in range(60)]
    assert {row["track"] for row in rows} == {"1"}
    assert {row["face_source"] for row in rows} == {"detected"}
    assert [rows[i]["dominant"] for i in (5, 30, 55)] == ["happiness", "sadness", "surprise"]
    # A half-life after the change the smoothed one is half way, the raw one is there.
    assert float(rows[20]["raw_sadness"]) > 0.99
    assert 0.1 < float(rows[20]["sadness"]) < 0.4
    assert "60 faces in 60 frames of 1 video" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("every", "frames"), [("20", [0, 20, 40]), ("1.5s", [0, 15, 30, 45]), ("1", list(range(60)))]
)
def test_every_so_many(
    export: str, video: Path, every: str, frames: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(video), "--model", export, "--detector", "none", "--format", "jsonl"]
    assert predict.main([*arguments, "--every", every]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["frame"] for row in rows] == frames
    assert sum(rows[-1]["raw_emotions"].values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("every", ["0", "-1", "s", "0s", "1m", "1.5", "nan", ""])
def test_every_is_checked(video: Path, every: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        predict.main([str(video), f"--every={every}"])
    assert "--every" in capsys.readouterr().err


def test_pictures_and_videos_in_one_table(
    export: str, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "z.png"
    cv2.imwrite(str(picture), LEFT)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"x" * 1000)
    arguments = [str(picture), str(damaged), str(video), "--model", export, "--detector", "none"]
    assert predict.main([*arguments, "--every", "30"]) == 2
    captured = capsys.readouterr()
    rows = read_csv(captured.out)
    assert [(row["frame"], row["dominant"]) for row in rows] == [
        ("", "surprise"), ("0", "happiness"), ("30", "sadness"),
    ]  # fmt: skip
    assert rows[0]["raw_sadness"] == rows[0]["track"] == ""
    assert "error: the video cannot be read" in captured.err
    assert "3 faces in 1 picture and 2 frames of 1 video, 1 unreadable" in captured.err


def test_video_without_a_face(
    export: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "wall.avi", [np.full((24, 24), 90, np.uint8)] * 5)
    report = tmp_path / "report.html"
    assert predict.main([str(video), "--model", export, "--report", str(report)]) == 0
    captured = capsys.readouterr()
    (row,) = read_csv(captured.out)
    assert row.pop("path") == str(video)
    assert set(row.values()) == {""}
    assert "warning: no face found" in captured.err
    assert "No face was found" in report.read_text()


def test_a_cut_off_video_is_said_to_be_one(
    export: str, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = video.read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: len(whole) // 3])
    assert predict.main([str(cut), "--model", export, "--detector", "none"]) == 2
    captured = capsys.readouterr()
    assert 5 < len(captured.out.splitlines()) < 40
    assert re.search(r"error: \d+ of 60 frames could be read.*cut\.avi", captured.err)


def make_report(export: str, video: Path, path: Path, *options: str) -> str:
    arguments = [str(video), "--model", export, "--detector", "none", "--report", str(path)]
    assert predict.main([*arguments, "--output", str(path.with_suffix(".csv")), *options]) == 0
    return path.read_text()


def test_report_page(export: str, video: Path, tmp_path: Path) -> None:
    page = make_report(export, video, tmp_path / "report.html")
    # Self-contained: nothing is fetched, and the name of the file is text, not markup.
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http" not in page.replace("http-equiv", "")
    assert "a &lt;b&gt; &amp; c.avi" in page
    assert "<b>" not in page
    captions = re.findall(r"<figcaption>(\w+)<span>([\d:.]+)</span>", page)
    assert [name for name, _ in captions] == ["happiness", "sadness", "surprise"]
    starts = [float(at.split(":")[1]) for _, at in captions]
    assert np.abs(np.array(starts) - [0, 2.2, 4.2]).max() < 0.25
    assert page.count("data:image/jpeg;base64,") == 3
    (points,) = re.findall(r'data-points="([^"]+)"', page)
    data = json.loads(html.unescape(points))
    assert len(data["times"]) == 60
    assert [len(row) for row in data["shares"]] == [60] * 4
    assert max(abs(sum(column) - 100) for column in zip(*data["shares"], strict=True)) <= 2
    assert data["shares"][CLASS_NAMES.index("happiness")][10] > 95


def test_report_without_pictures(export: str, video: Path, tmp_path: Path) -> None:
    page = make_report(export, video, tmp_path / "report.html", "--no-images")
    assert "data:image" not in page
    assert page.count("<figcaption>") == 3


def test_no_storage_refuses_a_report_with_pictures(
    export: str, video: Path, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    with pytest.raises(ConfigError, match="--no-storage: the report shows small pictures"):
        make_report(export, video, path, "--no-storage")
    assert not path.exists()
    assert "data:image" not in make_report(export, video, path, "--no-storage", "--no-images")


def test_report_wants_one_video(export: str, video: Path, tmp_path: Path) -> None:
    picture = tmp_path / "z.png"
    cv2.imwrite(str(picture), LEFT)
    for paths in ([picture], [video, picture]):
        with pytest.raises(ConfigError, match="--report: expected one video"):
            predict.main([*map(str, paths), "--model", export, "--report", "r.html"])


def test_missing_folders_are_made(export: str, video: Path, tmp_path: Path) -> None:
    output, report = tmp_path / "a" / "b" / "faces.csv", tmp_path / "c" / "r.html"
    words = [str(video), "--model", export, "--output", str(output), "--report", str(report)]
    assert predict.main(words) == 0
    assert output.is_file()
    assert report.is_file()


def test_videos_are_not_drawn_as_pictures(export: str, video: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    with pytest.raises(ConfigError, match=rf"camera --source {video} --video"):
        predict.main([str(video), "--model", export, "--save-images", str(drawn)])
    assert not drawn.exists()


@pytest.mark.parametrize("table", ["csv", "jsonl"])
def test_all_frames_have_a_row(
    export: str, tmp_path: Path, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = write_video(tmp_path / "grey.avi", [np.full((96, 96), 128, np.uint8)] * 12)
    arguments = [str(grey), "--model", export, "--detector", "haar", "--format", table]

    def rows(*more: str) -> list[dict[str, Any]]:
        assert predict.main([*arguments, *more]) == 0
        out = capsys.readouterr().out
        return read_csv(out) if table == "csv" else [json.loads(x) for x in out.splitlines()]

    assert len(rows()) == 1
    found = rows("--all-frames", "--every", "2")
    assert [int(row["frame"]) for row in found] == [0, 2, 4, 6, 8, 10]
    assert {row["face_source"] for row in found} == {"none"}
    places = {"path", "frame", "time_s", "face_source"}
    assert not any(value for row in found for key, value in row.items() if key not in places)
    assert float(found[3]["time_s"]) == 0.6
