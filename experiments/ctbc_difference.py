"""CTBC by the difference of embeddings, leaving out one of its ten subjects after the other.

Source: as for `affectnet_small_difference`, whose network and recipe these are; no figure is given
in text. Here every person's own neutral face is known: it stands beside each of their pictures.
Command: python -m fer_keras.train --exp ctbc_difference
"""

from fer_keras.config import based_on

experiment = based_on(
    "affectnet_small_difference",
    name="ctbc_difference",
    dataset={
        "name": "ctbc",
        "split": "folds",
        "folds": 10,
        "fold": -1,
        "neutral": "same_subject",
    },
)
