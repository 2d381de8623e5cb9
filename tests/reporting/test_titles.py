"""Titles of plots stand inside their pictures."""

from pathlib import Path

import pytest

from fer_keras.reporting import plots

_LONG = (
    "synthetic_faces validation (majority): 87.5% of 12,755, balanced 82.5%, seed 0, by word2vec"
)


@pytest.mark.parametrize(("width", "columns"), [(3.5, 1), (5.6, 1), (8.0, 3)])
def test_long_titles_are_broken(tmp_path: Path, width: float, columns: int) -> None:
    figure = plots.new_figure(width, 4)
    grid = figure.subplots(1, columns, squeeze=False).ravel()
    for axes in grid:
        axes.plot([0, 1], [1000, 2000])
        axes.set_title(_LONG, loc="left", fontsize=11)
    figure.suptitle(_LONG, x=0.01, ha="left", fontsize=12)
    plots.save_figure(figure, tmp_path / "plot.png")
    right = [axes._left_title.get_window_extent().x1 for axes in grid]
    # Before the next one begins, or the picture ends.
    ends = [axes.get_window_extent().x0 for axes in grid[1:]] + [figure.bbox.x1]
    assert all(a <= b for a, b in zip(right, ends, strict=True))
    assert figure._suptitle.get_window_extent().x1 <= figure.bbox.x1
    assert " ".join(figure._suptitle.get_text().split()) == _LONG


def test_short_titles_stay_on_their_line(tmp_path: Path) -> None:
    figure = plots.new_figure(5.6, 4)
    axes = figure.subplots()
    axes.set_title("fer2013 validation: 65.3% of 3,589", loc="left", fontsize=11)
    plots.save_figure(figure, tmp_path / "plot.png")
    assert "\n" not in axes._left_title.get_text()
