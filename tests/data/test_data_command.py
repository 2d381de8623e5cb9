import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.data.__main__ import main
from fer_keras.data.augmentation import policies as augment


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two splits of two classes with a copy across splits and one label conflict."""
    root = tmp_path / "pictures"
    seeds = {
        "train/happy": (0, 1, 2),
        "train/sad": (3, 4, 1),
        "val/happy": (0, 6),
        "val/sad": (7, 8),
    }
    for folder, numbers in seeds.items():
        (root / folder).mkdir(parents=True)
        for place, seed in enumerate(numbers):
            image = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
            cv2.imwrite(str(root / folder / f"{place}.png"), image)
    return root


def test_list_and_describe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "fer2013" in listed
    assert "FER_KERAS_DATA is not set" in listed
    assert main(["describe", "ferplus"]) == 0
    text = capsys.readouterr().out
    assert "7  contempt" in text
    assert "25060" in text
    assert "MIT" in text


def test_prepare_and_audit(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["folder", "--source", str(pictures), "--cache-dir", str(tmp_path / "cache")]
    assert main(["prepare", *options]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert Path(printed[0]).is_dir()
    assert printed[2].split() == ["train", "6"]
    assert main(["audit", *options]) == 0
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines()]
    assert ["happiness", "3", "2", "5"] in lines
    assert ["total", "6", "4", "10"] in lines
    assert ["validation", "in", "train", "1"] in lines
    assert "Label conflicts: 1 groups of identical images with different labels, 2 images" in text
    assert "train train/happy/1.png happiness; train train/sad/2.png sadness" in text


def test_audit_lists_unreadable_files(pictures: Path, tmp_path: Path) -> None:
    (pictures / "val" / "sad" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"1 pictures(.|\n)*val/sad/1\.png"):
        main(["audit", "folder", "--source", str(pictures), "--cache-dir", str(tmp_path / "c")])


def test_preview_writes_a_sheet(
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build_mirror(name: str, image_shape: tuple[int, ...]) -> object:
        assert (name, image_shape) == ("flip", (48, 48, 3))
        return lambda images, targets, seed: (images[:, :, ::-1], targets)

    # Stands for the Keras layers of the real policies, which take long to import.
    monkeypatch.setattr(augment, "build_policy", build_mirror)
    sheet = tmp_path / "sheet.png"
    options = ["folder", "--source", str(pictures), "--cache-dir", str(tmp_path / "cache")]
    assert main(["preview", *options, "--output", str(sheet)]) == 0
    assert capsys.readouterr().out.strip() == str(sheet)
    plain = cv2.imread(str(sheet))
    assert plain.std() > 10
    assert main(["preview", *options, "--samples", "1", "--output", str(sheet)]) == 0
    single = cv2.imread(str(sheet))
    # Several of each class below each other, in columns of the same width.
    assert plain.shape[0] > 1.5 * single.shape[0]
    assert plain.shape[1] == single.shape[1]
    augmented = [*options, "--samples", "1", "--augment", "flip"]
    assert main(["preview", *augmented, "--output", str(tmp_path / "new" / "sheet.png")]) == 0
    shown = cv2.imread(str(tmp_path / "new" / "sheet.png"))
    assert shown.shape[0] > 2 * single.shape[0]
    with pytest.raises(DataError, match=r"ends in \.png"):
        main(["preview", *options, "--output", str(tmp_path / "sheet.jpg")])


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "fer_keras.data", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_help_needs_no_heavy_import() -> None:
    done = _run("--help")
    assert done.returncode == 0
    assert "python -m fer_keras.data audit fer2013" in done.stdout
    for module in ("tensorflow", "keras", "sklearn", "matplotlib", "tensorflow_datasets"):
        assert f" {module}\n" not in done.stderr


def test_errors_are_one_line_and_exit_code_2() -> None:
    done = _run("audit", "fer2014")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: Unknown data set 'fer2014'. Nearest: fer2013")
    assert "Traceback" not in done.stderr
