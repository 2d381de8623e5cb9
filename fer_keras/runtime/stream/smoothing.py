"""Probabilities smoothed over time, each face for itself: fewer flickers, no made-up certainty.

Smoothing is in seconds, and another emotion is shown only when it is clearly more probable (by
0.1). So `dominant` may for moments not be the largest of the smoothed probabilities.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError

# Measured on drawn faces (benchmarks/stream.py): with both, a change is shown sooner and the shown
# emotion flips less often than with a longer half-life alone.
HALF_LIFE_S = 0.2
HYSTERESIS = 0.1


class ProbabilitySmoother:
    """Exponential smoothing in real time.

    After `half_life_s` the past counts half, whatever the frame rate and however irregular the
    times are: the weight of the past over a step of dt seconds is `0.5 ** (dt / half_life_s)`, the
    exact answer of the filter to an input that is constant over the step. A face begins with its
    first reading.

    Args:
        half_life_s: In seconds; 0 does not smooth.
        hysteresis: By how much another emotion's probability must exceed that of the one shown
            before `dominant` changes, 0..1; 0 always gives the most probable one.

    Raises:
        ConfigError: A number is negative or not finite.
    """

    def __init__(self, half_life_s: float = HALF_LIFE_S, hysteresis: float = HYSTERESIS) -> None:
        for name, value in (("half_life_s", half_life_s), ("hysteresis", hysteresis)):
            if not (np.isfinite(value) and value >= 0):
                raise ConfigError(f"{name}: expected 0 or more, received {value}")
        self._half_life_s = half_life_s
        self._hysteresis = hysteresis
        self._states: dict[int, tuple[float, npt.NDArray[np.float64]]] = {}
        self._dominant: dict[int, int] = {}

    def update(
        self,
        track: int,
        probabilities: npt.ArrayLike,
        time_s: float,
        num_classes: int | None = None,
    ) -> npt.NDArray[np.float64]:
        """Add a reading.

        Args:
            track: Number of the face.
            probabilities: `(classes,)`, sum 1; valence and arousal may follow them.
            time_s: When it was read; not before the last one (a step back counts as no time).
            num_classes: How many of them are probabilities; None for all.

        Returns:
            What was given, smoothed, float64.
        """
        new = np.asarray(probabilities, np.float64)
        if track in self._states and self._half_life_s > 0:
            last_s, past = self._states[track]
            past_weight = 0.5 ** (max(0.0, time_s - last_s) / self._half_life_s)
            new = past_weight * past + (1 - past_weight) * new
        self._states[track] = time_s, new
        best, shown = int(new[:num_classes].argmax()), self._dominant.get(track)
        if shown is None or new[best] - new[shown] > self._hysteresis:
            self._dominant[track] = best
        return new

    def dominant(self, track: int) -> int:
        """The emotion to show for a face that has been updated: its column."""
        return self._dominant[track]

    def drop(self, tracks: Iterable[int]) -> None:
        """Forget faces that are gone."""
        for track in tracks:
            self._states.pop(track, None)
            self._dominant.pop(track, None)
