"""What the figures show, read off the figures themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.common.metrics import reliability_bins
from fer_keras.reporting import bars, plots

NOWHERE = Path("figure.png")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were made, in the place of files."""
    made: list[Any] = []
    for module in (plots, bars):
        monkeypatch.setattr(module, "save_figure", lambda figure, path: made.append(figure))
    return made


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def labels(ticks: Any) -> list[str]:
    return [label.get_text() for label in ticks]


def test_a_confusion_matrix_has_true_rows_and_predicted_columns(figures: list[Any]) -> None:
    plots.plot_confusion_matrix([[3, 1], [0, 0]], ["anger", "fear"], NOWHERE, title="T")
    axes = figures[0].axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0.75, 0.25], [0, 0]])
    # A class that does not occur has no shares.
    assert [(text.get_position(), text.get_text()) for text in axes.texts] == [
        ((0, 0), "75.0%\n3"),
        ((1, 0), "25.0%\n1"),
    ]
    assert labels(axes.get_xticklabels()) == ["anger", "fear"]
    assert labels(axes.get_yticklabels()) == ["anger  (n = 4)", "fear  (n = 0)"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted", "True")


def test_titles_of_few_classes_are_not_cut(tmp_path: Path) -> None:
    """The rows' names and the bar of colours left no room above the matrix of three classes."""
    title = "folder validation (hard): 88.9% of 9, balanced 88.9%"
    made: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        save = plots.save_figure

        def keep(figure: Any, path: Path) -> None:
            save(figure, path)
            made.append(figure)

        patch.setattr(plots, "save_figure", keep)
        names = ["neutral", "happiness", "surprise"]
        plots.plot_confusion_matrix(np.eye(3), names, tmp_path / "matrix.png", title=title)
        bins = reliability_bins([0.95, 0.92, 0.65], [True, False, True], 10)
        plots.plot_reliability(bins, tmp_path / "reliability.png", title=title)
    for figure in made:
        assert figure._suptitle.get_text().replace("\n", " ") == title
        extent = figure._suptitle.get_window_extent()
        assert 0 <= extent.x0 < extent.x1 <= figure.bbox.x1


def test_a_reliability_diagram_has_the_accuracy_of_each_bin(figures: list[Any]) -> None:
    bins = reliability_bins([0.95, 0.92, 0.65], [True, False, True], 10)
    plots.plot_reliability(bins, NOWHERE, note="n 3")
    upper, lower = figures[0].axes
    heights = {round(bar.get_x() + bar.get_width() / 2, 2): bar.get_height()
               for bar in upper.containers[0]}  # fmt: skip
    assert heights == {0.65: 1.0, 0.95: 0.5}
    gaps = {container.get_label(): container[0].get_height() for container in upper.containers[1:]}
    assert gaps == {
        "Too sure": pytest.approx(0.935 - 0.5), "Not sure enough": pytest.approx(0.65 - 1),
    }  # fmt: skip
    assert sum(bar.get_height() for bar in lower.containers[0]) == 3
    assert texts(upper) == []
    assert texts(lower) == ["n 3"]


def test_curves_are_those_of_the_metrics(figures: list[Any], tmp_path: Path) -> None:
    rows = [
        {"epoch": 1, "loss": 2.0, "val_loss": 1.5, "accuracy": 0.2, "val_accuracy": 0.3},
        {"epoch": 2, "loss": 1.0, "val_loss": 1.2, "accuracy": 0.5, "val_accuracy": 0.6},
        {"epoch": 3, "loss": 0.5, "val_loss": None, "accuracy": 0.7, "val_accuracy": 0.55},
    ]
    file = tmp_path / "metrics.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plots.plot_curves(file, NOWHERE)
    loss, accuracy = figures[0].axes
    by_label = {line.get_label(): line for line in loss.lines}
    np.testing.assert_array_equal(by_label["Training"].get_xydata(), [[1, 2], [2, 1], [3, 0.5]])
    np.testing.assert_array_equal(by_label["Validation"].get_ydata(), [1.5, 1.2, np.nan])
    np.testing.assert_array_equal(accuracy.lines[-1].get_xydata(), [[2, 0.6]])
    legend = [text.get_text() for text in accuracy.get_legend().get_texts()]
    assert legend == ["Training", "Validation", "Best: 60.0% (epoch 2)"]
    file.write_text("")
    with pytest.raises(DataError, match="'epoch' for each epoch"):
        plots.plot_curves(file, NOWHERE)


def test_a_usual_learning_rate_is_written_out(figures: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    rows = [{"epoch": i, "loss": 1.0, "learning_rate": 0.01 / i} for i in (1, 2, 3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plots.plot_curves(file, NOWHERE)
    figures[0].draw_without_rendering()
    assert figures[0].axes[2].yaxis.get_offset_text().get_text() == ""


def test_the_curves_of_one_epoch_are_points_with_ticks_that_differ(
    figures: list[Any], tmp_path: Path
) -> None:
    file = tmp_path / "metrics.jsonl"
    row = {"epoch": 1, "loss": 0.74, "accuracy": 0.1367, "val_accuracy": 0.1404}
    file.write_text(json.dumps({**row, "learning_rate": 7.3e-6}) + "\n")
    plots.plot_curves(file, NOWHERE)
    _, accuracy, rate = figures[0].axes
    assert rate.lines[0].get_marker() == "o"
    assert [tick for tick in rate.get_xticks() if tick % 1 == 0] == list(rate.get_xticks())
    figures[0].draw_without_rendering()
    ticks = [label.get_text() for label in accuracy.get_yticklabels()]
    assert len(set(ticks)) == len(ticks) > 1


def test_risk_is_what_accuracy_leaves(figures: list[Any]) -> None:
    kept, accuracy = np.array([0.01, 0.5, 1.0]), np.array([0.0, 0.9, 0.8])
    plots.plot_risk_coverage({"Keras": (kept, accuracy)}, NOWHERE, chosen=(0.5, 0.9), target=0.95)
    curve, target, point = figures[0].axes[0].lines
    # The first few answers say nothing yet.
    np.testing.assert_allclose(curve.get_xydata(), [[0.5, 0.1], [1.0, 0.2]])
    np.testing.assert_allclose(target.get_ydata(), [0.05, 0.05])
    np.testing.assert_allclose(point.get_xydata(), [[0.5, 0.1]])


def test_intervals_lie_around_their_shares(figures: list[Any]) -> None:
    groups = {
        "ours": {"clean": (0.8, 0.7, 0.9), "dark": (0.4, 0.3, 0.6)},
        "theirs": {"dark": (0.2, 0.1, 0.25)},
    }
    plots.plot_intervals(groups, NOWHERE, note="accuracy")
    axes = figures[0].axes[0]
    found = {}
    for container in axes.containers:
        points, _, (whiskers,) = container
        ends = [tuple(segment[:, 0]) for segment in whiskers.get_segments()]
        found[container.get_label()] = (list(points.get_xdata()), ends)
    assert found["ours"][0] == [0.8, 0.4]
    np.testing.assert_allclose(found["ours"][1], [(0.7, 0.9), (0.3, 0.6)])
    np.testing.assert_allclose(found["theirs"][1], [(0.1, 0.25)])
    # What was not measured for a group leaves its row to the others.
    assert round(float(axes.containers[1][0].get_ydata()[0])) == 1
    assert labels(axes.get_yticklabels()) == ["clean", "dark"]


def test_panels_share_colours_and_a_legend(figures: list[Any]) -> None:
    first = plots.Line("ours", (0.9, 0.5), (0.8, 0.4), (0.95, 0.6))
    second = plots.Line("theirs", (0.7, 0.6))
    panels = [
        plots.Panel("blur", ("0", "1"), (first, second)),
        plots.Panel("dark", ("0", "1"), (second,), (0.5, 1)),
    ]
    plots.plot_panels(panels, NOWHERE, columns=3)
    blur, dark, corner = figures[0].axes
    assert [list(line.get_ydata()) for line in blur.lines] == [[0.9, 0.5], [0.7, 0.6]]
    assert blur.lines[1].get_color() == dark.lines[0].get_color() != blur.lines[0].get_color()
    assert len(blur.collections) == 1
    assert len(dark.collections) == 0
    assert dark.get_ylim() == (0.5, 1)
    assert labels(corner.get_legend().get_texts()) == ["ours", "theirs"]


def test_a_sheet_shows_every_picture_in_its_row(figures: list[Any]) -> None:
    grey = np.full((4, 4, 1), 7, np.uint8)
    colour = np.full((4, 4, 3), (1, 2, 3), np.uint8)
    rows = [("ours", [grey, colour], ["a", "b"]), ("theirs", [colour], ["c"])]
    plots.plot_pictures(rows, NOWHERE)
    axes = figures[0].axes[0]
    assert [tuple(image.get_array()[0, 0]) for image in axes.images] == [
        (7, 7, 7), (1, 2, 3), (1, 2, 3),
    ]  # fmt: skip
    tops = [image.get_extent()[3] for image in axes.images]
    assert tops[0] == tops[1] < tops[2]
    assert sorted(texts(axes)) == ["a", "b", "c", "ours", "theirs"]


def test_histograms_count_each_group(figures: list[Any]) -> None:
    numbers = {"right": np.array([0.0, 0.0, 1.0]), "wrong": np.array([1.0])}
    plots.plot_histograms([[("m", numbers)]], NOWHERE)
    axes = figures[0].axes[0]
    assert labels(axes.get_legend().get_texts()) == ["right (3)", "wrong (1)"]
    for values, container in zip(numbers.values(), axes.containers, strict=True):
        heights = np.array([bar.get_height() for bar in container])
        widths = np.array([bar.get_width() for bar in container])
        assert (heights * widths).sum() == pytest.approx(1)
        assert (heights * widths)[-1] == pytest.approx((values == 1).mean())


def test_bars_and_cosines_show_their_numbers(figures: list[Any]) -> None:
    bars.plot_bars({"loss": {"a": 0.5, "b": 2.0}, "ms": {"b": 3.0}}, NOWHERE)
    loss, ms = figures[0].axes
    assert [bar.get_width() for bar in loss.patches] == [0.5, 2.0]
    # In the row of its own name.
    assert [(text.get_position(), text.get_text()) for text in ms.texts] == [((3.0, 1), " 3.000")]
    bars.plot_cosines({"m": np.array([[1.0, -0.25], [-0.25, 1.0]])}, ["x", "y"], NOWHERE)
    axes = figures[1].axes[0]
    assert texts(axes) == ["1.00", "-.25", "-.25", "1.00"]
    np.testing.assert_array_equal(axes.images[0].get_array(), [[1, -0.25], [-0.25, 1]])
