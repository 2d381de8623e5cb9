"""Tables as csv: what is written is read, also after a spreadsheet has saved it."""

from pathlib import Path

from fer_keras.reporting.tables import read_csv, write_csv


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = [{"source": 'a, "b".png', "true": "été"}, {"source": "c\nd", "true": ""}]
    write_csv(tmp_path / "rows.csv", rows)
    assert read_csv(tmp_path / "rows.csv") == rows


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("source,true\r\na,b\r\n", encoding="utf-8-sig")
    assert read_csv(tmp_path / "rows.csv") == [{"source": "a", "true": "b"}]
