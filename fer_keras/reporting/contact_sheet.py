"""One picture with faces that a model reads rightly and wrongly, class by class."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_keras.common.decode import resize
from fer_keras.data.samples import Samples
from fer_keras.reporting import plots

# Faces of a class, on each side of the sheet.
_COLUMNS = 5
_PIXELS = 96
_GAP, _CAPTION = 8, 26


def plot_contact_sheet(
    samples: Samples, probabilities: npt.NDArray[np.floating], path: str | Path, *, title: str = ""
) -> None:
    """Draws a sheet of faces: on the left some that are read rightly, on the right mistakes.

    The faces on the left go from the surest to the least sure answer of their class. The mistakes
    are the surest ones. It holds pictures of the data set: pass it on only where those may.

    Args:
        samples: What was read; of a pair the second picture is shown, of a clip the first frame.
        probabilities: `(n, classes)` in their order.
        path: The PNG file to write.
        title: One line above the sheet.
    """
    labels, predicted = samples.labels, probabilities.argmax(axis=1)
    present = [i for i in range(len(samples.class_names)) if (labels == i).any()]
    step, row_height = _PIXELS + _GAP, _PIXELS + _CAPTION
    middle = _COLUMNS * step + 2 * _GAP
    width = middle + _COLUMNS * step
    canvas = np.full((row_height * len(present), width, 3), 255, np.uint8)
    figure = plots.new_figure(width / 72 + 1.6, len(canvas) / 72 + 0.7)
    axes = figure.subplots()
    for row, label in enumerate(present):
        right = np.flatnonzero((labels == label) & (predicted == label))
        wrong = np.flatnonzero((labels == label) & (predicted != label))
        right = right[np.argsort(-probabilities[right, label])]
        right = right[np.linspace(0, len(right) - 1, min(_COLUMNS, len(right))).astype(int)]
        wrong = wrong[np.argsort(-probabilities[wrong].max(axis=1))][:_COLUMNS]
        top = row * row_height
        count = int((labels == label).sum())
        name = f"{samples.class_names[label]}\n{int((predicted[labels == label] == label).sum())}"
        axes.text(
            -_GAP, top + _PIXELS / 2, f"{name} of {count}", ha="right", va="center", fontsize=9
        )
        for start, chosen, colour in ((0, right, plots.INK), (middle, wrong, plots.ORANGE)):
            for column, index in enumerate(chosen):
                left = start + column * step
                canvas[top : top + _PIXELS, left : left + _PIXELS] = _face(samples, int(index))
                answer = samples.class_names[predicted[index]]
                axes.text(
                    left + _PIXELS / 2, top + _PIXELS + 3,
                    f"{answer} {probabilities[index].max():.0%}",
                    ha="center", va="top", fontsize=7, color=colour,
                )  # fmt: skip
    axes.imshow(canvas)
    axes.text(0, -_GAP, "right", fontsize=9, color=plots.INK)
    axes.text(middle, -_GAP, "wrong, the surest first", fontsize=9, color=plots.ORANGE)
    axes.set_axis_off()
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    plots.save_figure(figure, path)


def _face(samples: Samples, index: int) -> npt.NDArray[np.uint8]:
    picture = np.asarray(samples.images[index])
    if picture.ndim == 4:
        picture = picture[1] if len(picture) == 2 else picture[0]
    return np.repeat(resize(picture, (_PIXELS, _PIXELS)), 3 // picture.shape[2], axis=2)
