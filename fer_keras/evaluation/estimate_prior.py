"""How frequent the classes are among pictures whose labels nobody knows, by what a model says.

Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
probabilities: a simple procedure", Neural Computation 14 (2002), section 2.2: expectation
maximisation finds the shares under which the probabilities of the pictures are the likeliest. It
takes for granted that faces of a class look as they did in training and that the probabilities are
calibrated; only how frequent the classes are may differ.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError, DataError

_TOLERANCE = 1e-6
_MOST_ROUNDS = 2000
_SEED = 0


def estimate_prior(
    probabilities: npt.ArrayLike, training_prior: Mapping[str, float], *, resamples: int = 200
) -> dict[str, Any]:
    """The shares of the classes, and how sure they are.

    Args:
        probabilities: `(n, classes)`, calibrated, for the shares in training; columns in the order
            of `training_prior`.
        training_prior: Label -> share among the training targets, above 0.
        resamples: Of the pictures with replacement, for the intervals (bootstrap).

    Returns:
        `shares`: label -> `share` and `interval`, the 2.5th and 97.5th percentile over the
        resamples, which do not cover that the assumptions may be wrong; `n`; `resamples`.

    Raises:
        DataError: There are no pictures.
        ConfigError: A class had no training target.
    """
    p = np.maximum(np.asarray(probabilities, np.float64), 1e-9)
    names = list(training_prior)
    prior = np.array([training_prior[name] for name in names])
    if not len(p):
        raise DataError("The shares of the classes: expected pictures. Received none.")
    absent = [name for name, share in training_prior.items() if share <= 0]
    if absent:
        raise ConfigError(
            f"The shares of the classes cannot be estimated: the model had no training target of "
            f"{', '.join(absent)}."
        )
    counts = np.ones((1, len(p)))
    if resamples:
        rng = np.random.default_rng(_SEED)
        drawn = rng.multinomial(len(p), np.full(len(p), 1 / len(p)), size=resamples)
        counts = np.concatenate([counts, drawn])
    shares = _maximised(p / prior, prior / prior.sum(), counts)
    low, high = np.percentile(shares[1:] if resamples else shares, (2.5, 97.5), axis=0)
    return {
        "shares": {
            name: {"share": float(shares[0, i]), "interval": [float(low[i]), float(high[i])]}
            for i, name in enumerate(names)
        },
        "n": len(p),
        "resamples": resamples,
    }


def _maximised(
    ratios: npt.NDArray[np.float64],
    start: npt.NDArray[np.float64],
    counts: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """The shares of every resample, `(resamples, classes)`.

    Args:
        ratios: `(n, classes)`, probability over the share in training.
        start: `(classes,)`, where to begin.
        counts: `(resamples, n)`, how often each picture is in a resample.
    """
    shares = np.tile(start, (len(counts), 1))
    total = counts.sum(axis=1, keepdims=True)
    for _ in range(_MOST_ROUNDS):
        # How likely each picture is under each resample's shares.
        likely = shares @ ratios.T
        renewed = shares * ((counts / likely) @ ratios) / total
        moved = np.abs(renewed - shares).max()
        shares = renewed
        if moved < _TOLERANCE:
            break
    return shares
