import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.labels import EMOTIONS
from fer_keras.data.__main__ import main
from fer_keras.data.crop import crop as crop_module
from fer_keras.data.crop.crop import CropSettings, crop_folder, draw_faces
from fer_keras.data.crop.crop_table import COLUMNS, STATUSES, output_stems
from fer_keras.data.datasets.synthetic_faces import make_identity
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.data.load import load_samples
from fer_keras.runtime.faces import Face
from fer_keras.runtime.faces.align import TEMPLATE

GREY = 150


def _photo(*subjects: int) -> np.ndarray:
    """A grey photo of 240 x 360 pixels with drawn faces side by side, the first one larger."""
    photo = np.full((240, 360, 3), GREY, np.uint8)
    for place, subject in enumerate(subjects):
        side = 200 if place == 0 else 130
        left = 5 if place == 0 else 220
        photo[20 : 20 + side, left : left + side] = draw_face(
            make_identity(0, subject), {}, None, side
        )[0]
    return photo


def _save(path: Path, photo: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), photo[..., ::-1])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """One of each kind, in the layout with splits."""
    root = tmp_path / "photos"
    _save(root / "train" / "happy" / "one.jpg", _photo(0))
    _save(root / "train" / "happy" / "two.png", _photo(1, 2))
    _save(root / "train" / "sad" / "none.png", _photo())
    _save(root / "train" / "sad" / "one.webp", _photo(3))
    (root / "train" / "sad" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    _save(root / "test" / "sad" / "one.bmp", _photo(4))
    (root / "train" / "sad" / "Thumbs.db").write_bytes(b"x")
    _save(root / "train" / "sad" / "._one.png", _photo(4))
    return root


def _rows(out: Path) -> dict[str, list[dict[str, str]]]:
    with (out / "crops.csv").open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        assert tuple(reader.fieldnames or ()) == COLUMNS
        found: dict[str, list[dict[str, str]]] = {}
        for row in reader:
            assert row["status"] in STATUSES
            found.setdefault(row["path"], []).append(row)
    return found


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _read(path: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(path)))[..., ::-1]


def test_every_photo_is_accounted_for(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["crop", str(photos), "--out", str(out), "--size", "64"]) == 2
    rows = _rows(out)
    assert {path: [row["status"] for row in found] for path, found in rows.items()} == {
        "test/sad/one.bmp": ["kept"],
        "train/happy/one.jpg": ["kept"],
        "train/happy/two.png": ["largest_kept"],
        "train/sad/broken.png": ["unreadable"],
        "train/sad/none.png": ["no_face"],
        "train/sad/one.webp": ["kept"],
    }
    outputs = {row["output"] for found in rows.values() for row in found if row["output"]}
    assert outputs == {
        "pictures/test/sad/one.png",
        "pictures/train/happy/one.png",
        "pictures/train/happy/two.png",
        "pictures/train/sad/one.png",
    }
    assert _files(out) == outputs | {"crops.csv", "settings.json"}
    assert "cut off" in rows["train/sad/broken.png"][0]["reason"]
    two = rows["train/happy/two.png"][0]
    assert two["faces"] == "2"
    assert float(two["x"]) + float(two["width"]) < 210
    assert rows["train/sad/none.png"][0]["faces"] == "0"
    printed = capsys.readouterr()
    lines = [line.split() for line in printed.out.splitlines()]
    assert ["train/happy", "2", "2", "1", "0", "0", "100.0"] in lines
    assert ["train/sad", "3", "1", "0", "1", "1", "50.0"] in lines
    assert ["total", "6", "4", "1", "1", "1", "80.0"] in lines
    assert "2 other files passed over" in printed.out
    assert [line for line in printed.err.splitlines() if "broken.png" in line]


def test_aligned_crops_have_their_landmarks_on_the_template(photos: Path, tmp_path: Path) -> None:
    rows, _ = crop_folder(photos, tmp_path / "out", CropSettings(size=112))
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["align"] is True
    detector = crop_module.build_detector("mtcnn")
    for row in rows:
        if not row["output"]:
            continue
        crop = _read(tmp_path / "out" / row["output"])
        assert crop.shape == (112, 112, 3)
        faces = detector.detect(np.pad(crop, ((60, 60), (60, 60), (0, 0)), mode="edge"))
        assert faces[0].landmarks is not None
        assert np.abs(faces[0].landmarks - 60 - TEMPLATE).mean() < 5


def test_box_crops_show_the_colours_of_the_photo(photos: Path, tmp_path: Path) -> None:
    settings = CropSettings(align=False, size=96, margin=0.25)
    rows, _ = crop_folder(photos, tmp_path / "out", settings)
    row = next(row for row in rows if row["path"] == "test/sad/one.bmp")
    x, y, width, height = (float(row[key]) for key in ("x", "y", "width", "height"))
    half = 0.75 * max(width, height)
    border = 200
    padded = np.pad(_photo(4), ((border, border), (border, border), (0, 0)), mode="edge")
    left, top = round(x + width / 2 - half) + border, round(y + height / 2 - half) + border
    expected = cv2.resize(
        padded[top : top + round(2 * half), left : left + round(2 * half)],
        (96, 96),
        interpolation=cv2.INTER_AREA,
    )
    crop = _read(tmp_path / "out" / row["output"])
    # One pixel of rounding shows at the edges of the drawing.
    assert np.abs(crop.astype(int) - expected).mean() < 4
    assert np.abs(np.roll(crop, 6, axis=0).astype(int) - expected).mean() > 8


def test_all_faces_have_a_row_and_a_file_each(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    crop_folder(photos, out, CropSettings(faces="all", undetected="keep", size=32))
    rows = _rows(out)
    two = rows["train/happy/two.png"]
    assert [(row["status"], row["faces"], row["face_number"]) for row in two] == [
        ("kept", "2", "0"),
        ("kept", "2", "1"),
    ]
    assert [row["output"] for row in two] == [
        "pictures/train/happy/two_face0.png",
        "pictures/train/happy/two_face1.png",
    ]
    assert float(two[1]["x"]) > 210
    assert rows["train/sad/none.png"][0]["output"] == "pictures/train/sad/none_whole.png"
    before = (out / "crops.csv").read_text()
    crop_folder(photos, out, CropSettings(faces="all", undetected="keep", size=32))
    assert (out / "crops.csv").read_text() == before


def test_undetected_photos_are_kept_whole_and_marked(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    crop_folder(photos, out, CropSettings(undetected="keep", size=48))
    (row,) = _rows(out)["train/sad/none.png"]
    assert (row["status"], row["faces"], row["x"]) == ("whole_kept", "0", "")
    kept = _read(out / row["output"])
    assert kept.shape == (48, 48, 3)
    assert np.abs(kept.astype(int) - GREY).max() <= 1


def test_drawn_marks(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    crop_folder(photos, out, CropSettings(draw=True, size=224))
    rows = _rows(out)
    (row,) = rows["train/happy/two.png"]
    drawn = _read(out / row["output"]).astype(int)
    assert drawn.shape == (224, 224, 3)
    scale = np.array([224 / 360, 224 / 240])
    green = (drawn == (0, 255, 0)).all(axis=2)
    for name in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"):
        x, y = np.rint(np.array([float(row[f"{name}_x"]), float(row[f"{name}_y"])]) * scale)
        assert green[int(y), int(x)]
    red = (drawn == (255, 0, 0)).all(axis=2)
    left, top = float(row["x"]) * scale[0], float(row["y"]) * scale[1]
    assert abs(np.flatnonzero(red.any(axis=0))[0] - left) <= 2
    assert abs(np.flatnonzero(red.any(axis=1))[0] - top) <= 2
    # Only the largest face is marked.
    assert not red[:, 140:].any()
    assert "pictures/train/sad/none.png" not in _files(out)


def test_draw_faces_marks_every_face_given() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    faces = [Face((0, 0, 40, 40), None, 1.0), Face((100, 50, 100, 50), TEMPLATE[:, ::-1], 1.0)]
    marked = draw_faces(picture, faces, 100)
    assert marked[0, 0].tolist() == marked[39, 19].tolist() == [255, 0, 0]
    assert marked[50, 50].tolist() == marked[99, 99].tolist() == [255, 0, 0]
    assert (marked == (0, 255, 0)).all(axis=2).sum() >= 25
    assert not picture.any()


def test_an_interrupted_run_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    crop_folder(photos, whole, CropSettings())
    read: list[str] = []
    original = crop_module.read_image

    def stop_at_third(path: Path) -> np.ndarray:
        read.append(path.name)
        if len(read) == 3:
            raise KeyboardInterrupt
        return original(path)

    monkeypatch.setattr(crop_module, "read_image", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        crop_folder(photos, out, CropSettings())
    assert list(_rows(out)) == ["test/sad/one.bmp", "train/happy/one.jpg"]
    # What a kill in the middle of writing leaves: half a row, half a picture, one without its row.
    with (out / "crops.csv").open("a") as stream:
        stream.write('train/happy/two.png,largest_kept,"cut o')
    (out / "pictures" / "train" / "happy" / ".two.123.tmp.png").write_bytes(b"half")
    (out / "pictures" / "train" / "happy" / "two.png").write_bytes(b"half")
    read.clear()

    def count(path: Path) -> np.ndarray:
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(crop_module, "read_image", count)
    crop_folder(photos, out, CropSettings())
    assert read == ["two.png", "broken.png", "none.png", "one.webp"]
    assert (out / "crops.csv").read_text() == (whole / "crops.csv").read_text()
    assert _files(out) == _files(whole)
    for name in _files(whole):
        assert name == "settings.json" or (out / name).read_bytes() == (whole / name).read_bytes()


def test_mended_and_lost_pictures_are_done_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    crop_folder(photos, out, CropSettings())
    _save(photos / "train" / "sad" / "broken.png", _photo(5))
    (out / "pictures" / "test" / "sad" / "one.png").unlink()
    crop_folder(photos, out, CropSettings())
    rows = _rows(out)
    assert rows["train/sad/broken.png"][0]["status"] == "kept"
    assert (out / rows["test/sad/one.bmp"][0]["output"]).is_file()


def _foreign_out(out: Path, photos: Path) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("mine")


def _foreign_beside(out: Path, photos: Path) -> None:
    crop_folder(photos, out, CropSettings())
    (out / "thesis.txt").write_text("mine")


def _foreign_inside(out: Path, photos: Path) -> None:
    crop_folder(photos, out, CropSettings())
    (out / "pictures" / "train" / "happy" / "mine.png").write_text("mine")


def _other_settings(out: Path, photos: Path) -> None:
    crop_folder(photos, out, CropSettings(size=96))


def _photo_gone(out: Path, photos: Path) -> None:
    crop_folder(photos, out, CropSettings())
    (photos / "train" / "happy" / "one.jpg").unlink()


def _file_as_out(out: Path, photos: Path) -> None:
    out.write_text("mine")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (_foreign_out, "expected an empty or new folder"),
        (_file_as_out, "expected an empty or new folder"),
        (_foreign_beside, r"1 are not from this command.*thesis\.txt"),
        (_foreign_inside, r"1 are not from this command.*mine\.png"),
        (_other_settings, "other settings .size 96, now 112"),
        (_photo_gone, r"1 photos that are not in .* train/happy/one\.jpg"),
    ],
)
def test_other_content_is_refused_and_left_alone(
    photos: Path, tmp_path: Path, prepare: Callable[[Path, Path], None], message: str
) -> None:
    out = tmp_path / "out"
    prepare(out, photos)
    before = _files(out)
    with pytest.raises(DataError, match=message):
        crop_folder(photos, out, CropSettings())
    assert _files(out) == before


def test_source_and_out_stay_apart(photos: Path, tmp_path: Path) -> None:
    for out in (photos, photos / "faces", tmp_path):
        with pytest.raises(DataError, match="a folder apart from the source"):
            crop_folder(photos, out, CropSettings())
    assert not (photos / "faces").exists()
    with pytest.raises(DataError, match="expected a folder of photos"):
        crop_folder(tmp_path / "nowhere", tmp_path / "out", CropSettings())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no picture"):
        crop_folder(tmp_path / "empty", tmp_path / "out", CropSettings())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 8}, "--size"),
        ({"margin": -0.5}, "--margin"),
        ({"margin": float("nan")}, "--margin"),
        ({"margin": 0.1, "align": True}, "--no-align"),
        ({"draw": True, "align": True}, "--draw"),
        ({"align": True, "detector": "haar"}, "needs landmarks, .* 'haar'"),
        ({"detector": "mtcn"}, "Nearest: mtcnn"),
    ],
)
def test_settings_that_do_not_fit(
    photos: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        crop_folder(photos, tmp_path / "out", CropSettings(**settings))
    assert not (tmp_path / "out").exists()


def test_the_result_loads_as_a_data_set(tmp_path: Path) -> None:
    for subject in range(24):
        name = ("happy", "sad")[subject % 2]
        _save(tmp_path / "photos" / name / f"{subject}.png", _photo(subject))
    rows, _ = crop_folder(tmp_path / "photos", tmp_path / "out", CropSettings(size=48))
    kept = Counter(Path(row["path"]).parent.name for row in rows if row["output"])
    assert min(kept.values()) >= 10
    found: Counter[str] = Counter()
    for split in ("train", "validation", "test"):
        samples = load_samples(
            "folder", split, source=tmp_path / "out" / "pictures", cache_dir=tmp_path / "cache"
        )
        assert set(samples.class_names) <= set(EMOTIONS)
        found.update(samples.class_counts())
    assert found == {"happiness": kept["happy"], "sadness": kept["sad"]}


def test_flat_folders_and_awkward_names(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for name in ("a.jpg", "a.png", "b, c.png", 'quote".png', "neu\nzeile.png"):
        _save(root / name, _photo())
    os.rename(os.fsencode(root / "a.jpg"), os.fsencode(root) + b"/\xff.jpg")
    _save(root / "a.jpg", _photo())
    out = tmp_path / "out"
    settings = CropSettings(detector="none", size=16)
    rows, _ = crop_folder(root, out, settings)
    assert Counter(row["status"] for row in rows) == {"kept": 6}
    assert {row["path"]: row["output"] for row in rows} == {
        "\\xff.jpg": "pictures/\\xff.png",
        "a.jpg": "pictures/a.jpg.png",
        "a.png": "pictures/a.png.png",
        "b, c.png": "pictures/b, c.png",
        "neu\nzeile.png": "pictures/neu\nzeile.png",
        'quote".png': 'pictures/quote".png',
    }
    before = (out / "crops.csv").read_text()
    assert crop_folder(root, out, settings)[0] == rows
    assert (out / "crops.csv").read_text() == before


def test_clashing_names_are_refused() -> None:
    with pytest.raises(DataError, match=r"a\.png and a\.png\.jpg would clash"):
        output_stems(["a.jpg", "a.png", "a.png.jpg"])
    assert output_stems(["x/A.png", "x/a.jpg", "y/a.png"]) == {
        "x/A.png": "x/A.png",
        "x/a.jpg": "x/a.jpg",
        "y/a.png": "y/a",
    }


def test_links_are_passed_over_and_told(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    _save(root / "happy" / "one.png", _photo())
    (root / "again").symlink_to(root)
    (root / ".hidden").mkdir()
    rows, passed_over = crop_folder(root, tmp_path / "out", CropSettings(detector="none"))
    assert [row["path"] for row in rows] == ["happy/one.png"]
    assert [path.name for path in passed_over] == [".hidden", "again"]


def test_help_and_errors_of_the_command(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "fer_keras.data", "crop"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    assert "python -m fer_keras.data crop ~/photos --out ~/faces" in shown.stdout
    assert " tensorflow\n" not in shown.stderr
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    done = subprocess.run(
        [*command, str(photos), "--out", str(out)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: --out: expected an empty or new folder")
    assert "Traceback" not in done.stderr
