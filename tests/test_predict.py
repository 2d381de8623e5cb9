"""The predict command: rows, files, folders, what is missing and what cannot be read."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_models import BRIGHT, CLASS_NAMES, DARK, LEFT, write_export

from fer_keras import predict
from fer_keras.common.errors import ConfigError, DataError, ModelFileError
from fer_keras.data.datasets.synthetic_faces import make_identity
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.runtime.stream import rows


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_export(tmp_path_factory.mktemp("models") / "export"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three ready crops in a tree, with files that are no pictures."""
    folder = tmp_path / "pictures"
    (folder / "b" / ".thumbnails").mkdir(parents=True)
    cv2.imwrite(str(folder / "z.png"), LEFT)
    cv2.imwrite(str(folder / "a.JPG"), BRIGHT)
    cv2.imwrite(str(folder / "b" / "ü, x.png"), DARK)
    cv2.imwrite(str(folder / "b" / ".thumbnails" / "t.png"), DARK)
    (folder / "._z.png").write_bytes(b"macOS")
    (folder / "notes.txt").write_text("no picture")
    return folder


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_of_a_folder(
    export: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "faces.csv"
    arguments = [str(pictures), "--model", export, "--detector", "none", "--output", str(output)]
    assert predict.main(arguments) == 0
    text = output.read_bytes().decode()
    assert text.splitlines()[0] == ",".join(
        [
            "path,face,x,y,width,height,dominant,score,unsure,label_set",
            *CLASS_NAMES,
            "yaw,pitch,roll,quality,valence,arousal",
        ]
    )
    assert "\r" not in text
    rows = read_csv(text)
    names = [str(Path(row["path"]).relative_to(pictures)) for row in rows]
    assert names == ["a.JPG", "b/ü, x.png", "z.png"]
    assert [row["dominant"] for row in rows] == ["happiness", "sadness", "surprise"]
    for row in rows:
        assert (row["face"], row["x"], row["width"], row["score"]) == ("0", "0.0", "24.0", "1.0000")
        assert (row["unsure"], row["label_set"]) == ("false", row["dominant"])
        probabilities = [float(row[name]) for name in CLASS_NAMES]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert CLASS_NAMES[int(np.argmax(probabilities))] == row["dominant"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"3 faces in 3 pictures, 1 file of other types passed over -> {output}" in captured.err
    assert sorted(os.listdir(tmp_path)) == ["faces.csv", "pictures"]


def test_jsonl_with_landmarks(export: str, tmp_path: Path) -> None:
    picture, landmarks, _ = draw_face(make_identity(0, 3), {}, None, 240)
    path, output = tmp_path / "face.png", tmp_path / "faces.jsonl"
    cv2.imwrite(str(path), picture[:, :, ::-1])
    arguments = [str(path), "--model", export, "--output", str(output), "--precision", "int8"]
    assert predict.main([*arguments, "--threads", "2"]) == 0
    (row,) = [json.loads(line) for line in output.read_text().splitlines()]
    assert (row["path"], row["face"]) == (str(path), 0)
    assert len(row["box"]) == 4
    assert np.abs(np.array(row["landmarks"]) - landmarks).max() < 20
    assert list(row["emotions"]) == list(CLASS_NAMES)
    assert row["dominant"] == max(row["emotions"], key=row["emotions"].get)
    assert 0.7 < row["score"] <= 1


def test_picture_without_a_face(
    export: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wall.png"
    cv2.imwrite(str(path), np.full((200, 300, 3), 90, np.uint8))
    assert predict.main([str(path), "--model", export]) == 0
    captured = capsys.readouterr()
    (row,) = read_csv(captured.out)
    assert row.pop("path") == str(path)
    assert set(row.values()) == {""}
    assert f"warning: no face found: {path}" in captured.err
    assert "0 faces in 1 picture, 1 without a face" in captured.err
    assert predict.main([str(path), "--model", export, "--format", "jsonl"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row == {"path": str(path), **dict.fromkeys(row.keys() - {"path"})}
    assert row.keys() == {
        "path", "face", "box", "landmarks", "emotions", "dominant", "score", "unsure", "label_set",
        "track", "pose", "quality", "valence", "arousal",
    }  # fmt: skip


def test_faces_of_low_quality_are_left_out(
    export: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "sharp.png"), noise)
    cv2.imwrite(str(tmp_path / "blurred.png"), cv2.GaussianBlur(noise, (0, 0), 3))
    words = [str(tmp_path), "--model", export, "--detector", "none", "--format", "jsonl"]
    assert predict.main([*words, "--min-quality", "0.8"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {Path(row["path"]).name: row["face"] for row in rows}
    assert found == {"blurred.png": None, "sharp.png": 0}
    with pytest.raises(SystemExit):
        predict.main([*words, "--min-quality", "2"])
    assert "expected a number in 0..1, received '2'" in capsys.readouterr().err


def test_unreadable_pictures_are_named_and_the_others_kept(
    export: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (pictures / "z.png").read_bytes()
    (pictures / "cut.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "text.jpg").write_text("no picture")
    output = tmp_path / "faces.csv"
    arguments = [str(pictures), "--model", export, "--detector", "none", "--output", str(output)]
    assert predict.main(arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert [Path(line.rsplit(": ", 1)[1]).name for line in errors] == ["cut.png", "text.jpg"]
    assert len(read_csv(output.read_text())) == 3


def test_a_link_in_a_circle_and_litter_do_not_end_the_command(
    export: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "self").symlink_to("self")
    (pictures / "__MACOSX").mkdir()
    (pictures / "__MACOSX" / "a.png").write_bytes(b"macOS")
    assert predict.main([str(pictures), "--model", export, "--detector", "none"]) == 2
    captured = capsys.readouterr()
    assert len(read_csv(captured.out)) == 3
    assert f"error: cannot be read (Too many levels of symbolic links): {pictures}/self" in (
        captured.err
    )
    assert "3 faces in 3 pictures, 1 unreadable" in captured.err


def test_files_and_folders_in_the_order_given(pictures: Path) -> None:
    found, passed_over = predict.find_pictures([pictures / "z.png", pictures, pictures / "b"])
    assert [path.name for path in found] == ["z.png", "a.JPG", "ü, x.png"]
    assert passed_over == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.png", r"found nothing.*missing\.png"),
        ("empty", "holds no picture.*empty"),
        ("missing.mp4", r"found nothing.*missing\.mp4"),
    ],
)
def test_nothing_is_done_when_a_path_is_wrong(
    export: str, pictures: Path, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    output = tmp_path / "faces.csv"
    with pytest.raises(DataError, match=message):
        predict.main(
            [str(pictures), str(tmp_path / name), "--model", export, "--output", str(output)]
        )
    assert not output.exists()


def test_pictures_are_drawn_where_a_missing_folder_is_made(
    export: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = tmp_path / "new" / "drawn"
    words = [str(pictures), "--model", export, "--detector", "none", "--save-images", str(drawn)]
    assert predict.main(words) == 0
    assert capsys.readouterr().err.rstrip().endswith(f"-> {drawn}")
    names = [str(path.relative_to(drawn)) for path in sorted(drawn.rglob("*.*"))]
    assert names == ["a.JPG", "b/ü, x.png", "z.png"]
    shown = cv2.imdecode(np.fromfile(drawn / "b" / "ü, x.png", np.uint8), cv2.IMREAD_COLOR)
    # The dark picture is 24 pixels high and shown with 480, with the label of its face on it.
    assert shown.shape[0] > 480
    assert shown.shape[1] > shown.shape[0]
    inside = shown[60:440, 40:440]
    assert inside.max() < 60
    assert shown[:30, :150].max() > 150


def test_drawings_never_replace_the_pictures(export: str, pictures: Path) -> None:
    before = {path: path.read_bytes() for path in pictures.rglob("*.*") if path.is_file()}
    words = [str(pictures), "--model", export, "--detector", "none"]
    with pytest.raises(ConfigError, match="expected a folder apart from the pictures"):
        predict.main([*words, "--save-images", str(pictures)])
    assert {path: path.read_bytes() for path in before} == before


def test_wrong_output_and_model(export: str, pictures: Path, tmp_path: Path) -> None:
    given = [str(pictures), "--model", export]
    with pytest.raises(ConfigError, match=r"\.csv or \.jsonl"):
        predict.main([*given, "--output", str(tmp_path / "faces.xlsx")])
    with pytest.raises(ConfigError, match="received a folder"):
        predict.main([*given, "--output", str(tmp_path)])
    with pytest.raises(ConfigError, match="unknown face detector"):
        predict.main([*given, "--detector", "yolo"])
    with pytest.raises(ModelFileError, match="no model found"):
        predict.main([str(pictures), "--model", str(tmp_path / "none")])
    with pytest.raises(SystemExit):
        predict.main([*given, "--threads", "0"])


def test_old_output_survives_a_failure(
    export: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "faces.csv"
    output.write_text("old")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rows, "write_path_csv", fail)
    with pytest.raises(OSError, match="No space"):
        predict.main([str(pictures), "--model", export, "--output", str(output)])
    assert output.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["faces.csv", "pictures"]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "fer_keras.predict", *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", ["predict", "camera --no-window --source"])
def test_a_closed_standard_output_is_told(command: str, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), BRIGHT)
    line = f"{sys.executable} -m fer_keras.{command} {tmp_path / 'photo.png'} >&-"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("INFO")]
    assert said == [
        "error: The standard output is closed, and the rows go there. Add --output FILE."
    ]


def test_command_line() -> None:
    # Processor time, because other programs may share the processor.
    before = os.times()
    helped = run("--help")
    after = os.times()
    seconds = after.children_user + after.children_system
    seconds -= before.children_user + before.children_system
    assert helped.returncode == 0
    assert "examples:" in helped.stdout
    assert seconds < 1
    wrong = run("missing.png", "--model", "missing")
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert len(wrong.stderr.splitlines()) == 1
    assert wrong.stderr.startswith("error: ")


def test_threads_reach_recognizer_and_opencv(
    export: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(cv2, "setNumThreads", seen.append)
    assert predict.main([str(pictures / "z.png"), "--model", export, "--threads", "2"]) == 0
    assert seen == [2]
