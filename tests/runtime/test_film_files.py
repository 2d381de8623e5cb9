"""Films are told by their content, whatever they are called; a cut-off one ends with an error."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_models import BRIGHT, write_export

from fer_keras import camera, predict
from fer_keras.runtime.film_files import is_film
from fer_keras.runtime.stream.sources import VideoFile

FRAMES = 30
CODECS = {
    ".ts": "mp4v", ".mts": "mp4v", ".m2ts": "mp4v", ".3gp": "mp4v", ".asf": "mp4v", ".mpg": "PIM1",
    ".mkv": "mp4v", ".mp4": "mp4v", ".avi": "MJPG", ".webm": "VP80", ".flv": "FLV1", ".mov": "mp4v",
}  # fmt: skip


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_export(tmp_path_factory.mktemp("models") / "export"))


def write_film(path: Path, frames: int = FRAMES) -> Path:
    codec = cv2.VideoWriter.fourcc(*CODECS[path.suffix])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, 25, (96, 96))
    picture = cv2.resize(BRIGHT, (96, 96))
    for _ in range(frames):
        writer.write(np.repeat(picture[..., None], 3, axis=2))
    writer.release()
    return path


@pytest.mark.parametrize("suffix", CODECS)
def test_films_without_their_names(suffix: str, tmp_path: Path) -> None:
    film = write_film(tmp_path / f"film{suffix}")
    assert is_film(film)
    for name in ("film", "film.dat", "film.jpg"):
        assert is_film(Path(shutil.copy(film, tmp_path / name)))


def test_pictures_and_other_files_are_no_films(tmp_path: Path) -> None:
    picture = np.repeat(cv2.resize(BRIGHT, (96, 96))[..., None], 3, axis=2)
    for suffix in (".jpg", ".png", ".bmp", ".webp"):
        data = cv2.imencode(suffix, picture)[1].tobytes()
        for name in (f"a{suffix}", "a.mp4", "a"):
            (tmp_path / name).write_bytes(data)
            assert not is_film(tmp_path / name)
    for name, content in {"a.txt": b"words\n" * 400, "b.bin": bytes(5000), "c": b""}.items():
        (tmp_path / name).write_bytes(content)
        assert not is_film(tmp_path / name)
    # Damaged, but called a film: the message is about films.
    (tmp_path / "d.mp4").write_bytes(bytes(100))
    assert is_film(tmp_path / "d.mp4")
    assert not is_film(tmp_path / "missing.jpg")
    assert not is_film(tmp_path)


def test_predict_and_camera_read_what_camcorders_write(
    export: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = [write_film(tmp_path / "x.mts"), write_film(tmp_path / "y.3gp")]
    nameless = Path(shutil.copy(films[0], tmp_path / "film"))
    for film in (*films, nameless):
        arguments = ["--model", export, "--detector", "none"]
        assert predict.main([str(film), *arguments]) == 0
        assert f"{FRAMES} frames of 1 video" in capsys.readouterr().err
        assert camera.main(["--source", str(film), *arguments, "--no-window"]) == 0
        assert f"{FRAMES} frames, {FRAMES} faces" in capsys.readouterr().err


@pytest.mark.parametrize("every", ["1", "5", "0.2s"])
def test_a_film_that_is_cut_off_is_an_error_and_keeps_its_rows(
    every: str, export: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_film(tmp_path / "whole.avi", 100)
    data = whole.read_bytes()
    film = tmp_path / "cut.avi"
    film.write_bytes(data[: len(data) * 3 // 10])
    arguments = ["--model", export, "--detector", "none", "--every", every, "--output"]
    assert predict.main([str(whole), *arguments, str(tmp_path / "whole.csv")]) == 0
    capsys.readouterr()
    assert predict.main([str(film), *arguments, str(tmp_path / "cut.csv")]) == 2
    told = capsys.readouterr().err
    assert "rows of these are kept" in told
    assert "1 cut off" in told
    rows, expected = ((tmp_path / f"{name}.csv").read_text() for name in ("cut", "whole"))
    assert 2 < len(rows.splitlines()) < len(expected.splitlines()) / 2


def test_camera_says_that_a_film_is_cut_off(
    export: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_film(tmp_path / "whole.avi", 100).read_bytes()
    film = tmp_path / "cut.avi"
    film.write_bytes(data[: len(data) * 3 // 10])
    arguments = ["--source", str(film), "--model", export, "--detector", "none", "--no-window"]
    assert camera.main(arguments) == 2
    said = capsys.readouterr()
    assert "of 100 frames could be read" in said.err
    assert len(said.out.splitlines()) > 10
    # Who asks for fewer frames gets them.
    assert camera.main([*arguments, "--max-frames", "10"]) == 0


def test_films_of_uneven_rates_are_not_cut_off(tmp_path: Path) -> None:
    source = VideoFile(write_film(tmp_path / "a.avi", 100))
    assert not source.breaks_off(100, 3.96)
    # Half the frames, but the last one is where the film ends: a screen that seldom changed.
    assert not source.breaks_off(50, 3.9)
    assert source.breaks_off(50, 2.0)
