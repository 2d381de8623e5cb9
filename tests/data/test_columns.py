"""Facts of a data set as mapped files."""

from pathlib import Path

import numpy as np
import pytest

from fer_keras.data import columns
from fer_keras.data.columns import ColumnWriter, read_columns


def test_columns_come_back_mapped_over_several_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_CHUNK_ROWS", 2)
    writer = ColumnWriter(tmp_path / "facts")
    rows = [
        {"source": f"{'x' * number}ä".encode(), "votes": np.array([number, 1]), "age": number / 2}
        for number in range(5)
    ]
    for row in rows:
        writer.add(row)
    writer.finish()
    read = read_columns(tmp_path / "facts")
    assert list(read) == ["source", "votes", "age"]
    assert all(isinstance(values, np.memmap) for values in read.values())
    assert read["source"].tolist() == ["ä", "xä", "xxä", "xxxä", "xxxxä"]
    assert read["votes"].tolist() == [[number, 1] for number in range(5)]
    assert read["age"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_a_writer_holds_no_more_than_a_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_CHUNK_ROWS", 3)
    writer = ColumnWriter(tmp_path / "facts")
    for number in range(7):
        writer.add({"label": number})
        assert len(writer._held["label"]) < 3
