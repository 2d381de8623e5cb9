"""Data sets of drawn pictures in the exact layouts of the official ones."""

from pathlib import Path

import cv2
import numpy as np

SIZE = (6, 8)  # height, width


def pixels(seed: int) -> np.ndarray:
    """The RGB pixels that `draw` writes for a seed."""
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def draw(path: Path, seed: int) -> None:
    """Writes a small picture; a PNG keeps its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels(seed)[..., ::-1])


# Subject, sequence, number of the first frame, number of frames, emotion code or None.
CKPLUS_SEQUENCES = (
    ("S005", "001", 1, 6, 3),
    ("S010", "001", 1, 3, None),
    ("S010", "002", 1, 5, 7),
    ("S010", "004", 12, 4, 1),
    ("S011", "001", 1, 4, 2),
    ("S011", "003", 1, 4, 4),
    ("S014", "002", 1, 4, 6),
    ("S999", "018", 1, 3, 5),
)


def write_ckplus(root: Path) -> Path:
    """CK+ as its authors send it: seven emotions, one unlabelled sequence, landmarks and FACS."""
    seed = 0
    for subject, sequence, first, count, code in CKPLUS_SEQUENCES:
        place, stem = f"{subject}/{sequence}", f"{subject}_{sequence}"
        for number in range(first, first + count):
            draw(root / "cohn-kanade-images" / place / f"{stem}_{number:08}.png", seed)
            landmarks = root / "Landmarks" / place / f"{stem}_{number:08}_landmarks.txt"
            landmarks.parent.mkdir(parents=True, exist_ok=True)
            landmarks.write_text("   2.0e+02   3.0e+02\n")
            seed += 1
        last = f"{stem}_{first + count - 1:08}"
        (root / "FACS" / place).mkdir(parents=True)
        (root / "FACS" / place / f"{last}_facs.txt").write_text(
            "   9.0000000e+00   2.0000000e+00\n"
        )
        # Unlabelled sequences have an empty folder here.
        (root / "Emotion" / place).mkdir(parents=True)
        if code is not None:
            text = f"   {code}.0000000e+00\n"
            (root / "Emotion" / place / f"{last}_emotion.txt").write_text(text)
    (root / "cohn-kanade-images" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return root


def write_ck48(root: Path) -> Path:
    """The repackaging CK+48: three frames of one sequence for each of seven emotions."""
    folders = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
    for place, folder in enumerate(folders):
        for frame in (15, 16, 17):
            name = f"S{10 + place // 2:03}_{place + 1:03}_{frame:08}.png"
            draw(root / folder / name, 100 * place + frame)
    return root
