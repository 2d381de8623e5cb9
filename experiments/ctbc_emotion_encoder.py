"""CTBC by an emotion encoder beside a frozen identity encoder: the first stage, in ten folds.

Source, network and recipe: `affectnet_small_emotion_encoder`. A fold of `ctbc_disentangled` starts
from a run of the same fold, which saw none of its test subjects.
Command: python -m fer_keras.train --exp ctbc_emotion_encoder
"""

from fer_keras.config import based_on

experiment = based_on(
    "affectnet_small_emotion_encoder",
    name="ctbc_emotion_encoder",
    dataset={"name": "ctbc", "split": "folds", "folds": 10, "fold": -1},
)
