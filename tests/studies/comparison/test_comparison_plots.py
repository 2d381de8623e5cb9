"""The pictures of a comparison stay readable with few models and long names."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from fer_keras.studies.comparison.plots import plot_disagreement
from fer_keras.studies.comparison.scores import Pair


def test_names_leave_room_for_the_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Any] = []
    module = "fer_keras.studies.comparison.plots.save_figure"
    monkeypatch.setattr(module, lambda figure, path: figures.append(figure))
    names = ["cross_entropy seed 0 source=faces", "cross_entropy seed 0 source=faces epochs=2"]
    pair = Pair(names[0], names[1], 12, 40, 3, 0.01, 0.01)
    plot_disagreement(names, [pair], Path("unused.png"), title="folder, validation")
    (figure,) = figures
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2"]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        f"{names[0]}  1", f"{names[1]}  2",
    ]  # fmt: skip
    shown = {text.get_text() for text in axes.texts}
    assert {"12*", "40*"} <= shown
    # A row is as high as its text and more; nothing lies on the title.
    box = axes.get_tightbbox()
    assert axes.get_window_extent().height / len(names) > 0.3 * figure.dpi
    assert box.y1 <= figure._suptitle.get_window_extent().y0
