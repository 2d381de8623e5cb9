"""FER2013: 35,887 grey faces of 48 x 48 pixels in seven classes, as one csv.

Source: Goodfellow et al., "Challenges in Representation Learning: A report on three machine
learning contests", ICONIP 2013. The official protocol selects on PublicTest (here `validation`)
and reports accuracy on PrivateTest (here `test`).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fer_keras.data.datasets.pixel_csv import (
    PixelTable,
    find_csv,
    missing_split_notes,
    read_pixel_csv,
)
from fer_keras.data.samples import SPLITS, DatasetInfo, Example, SourceContent

_CLASS_NAMES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")

INFO = DatasetInfo(
    name="fer2013",
    title="FER2013, 35,887 grey faces of 48 x 48 pixels in 7 classes",
    class_names=_CLASS_NAMES,
    codes=dict(enumerate(_CLASS_NAMES)),
    official_counts={
        "train": dict(zip(_CLASS_NAMES, (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True)),
        "validation": dict(zip(_CLASS_NAMES, (467, 56, 496, 895, 653, 415, 607), strict=True)),
        "test": dict(zip(_CLASS_NAMES, (491, 55, 528, 879, 594, 416, 626), strict=True)),
    },
    splits=SPLITS,
    licence=(
        "Images collected from the web for a 2013 Kaggle challenge; no redistribution licence is "
        "known. For research; neither the pixels nor pictures of them may be passed on."
    ),
    citation=(
        "Goodfellow et al., Challenges in Representation Learning: A report on three machine "
        "learning contests, ICONIP 2013"
    ),
    how_to_get=(
        "1. Sign in at kaggle.com and open the competition 'Challenges in Representation Learning: "
        "Facial Expression Recognition Challenge'.\n"
        "2. Accept its rules and download fer2013.tar.gz (or icml_face_data.csv).\n"
        "3. Put the file in the folder fer2013 of your data folder, and point FER_KERAS_DATA at "
        "the data folder. It is found as fer2013.csv or icml_face_data.csv, plain or as .gz, .zip, "
        ".tar.gz, as fer2013.zip, .tar.gz or .tgz, and as Kaggle's archive.zip."
    ),
    crops="cut out by OpenCV's face cascade, 48 x 48 pixels (Goodfellow et al. 2013)",
)


def find(folder: Path) -> Path | None:
    """The csv in a data folder, plain or packed; None without any."""
    return find_csv(folder) or find_csv(folder / INFO.name)


def source_files(source: Path) -> tuple[Path, ...]:
    """The files a prepared copy depends on."""
    return (source,)


def read(source: Path) -> SourceContent:
    """All examples of a FER2013 csv.

    Args:
        source: The csv, plain or packed.

    Returns:
        The official splits; a copy without PrivateTest rows has two, and a note says so.

    Raises:
        DataError: The file is unreadable, a row is wrong, or Training or PublicTest is missing.
    """
    table = read_pixel_csv(source)
    splits: dict[str, Iterable[Example]] = {}
    for split in SPLITS:
        rows = np.flatnonzero(table.splits == split)
        if len(rows):
            splits[split] = _examples(table, rows, source.name)
    return SourceContent(INFO.class_names, splits, missing_split_notes(source, splits))


def _examples(table: PixelTable, rows: np.ndarray, file_name: str) -> Iterator[Example]:
    for row in rows:
        yield Example(
            image=table.pixels[row][..., np.newaxis],
            label=int(table.codes[row]),
            source=f"{file_name}#{row}",
        )
