"""CTBC by the difference of embeddings that an emotion encoder gives, in ten folds of two stages.

Source, network and recipe: `affectnet_small_disentangled`; no figure is given in text. The encoder
of each fold is trained on the same fold (`ctbc_emotion_encoder`): it saw none of its test subjects.
Command: python -m fer_keras.train --exp ctbc_disentangled
"""

from fer_keras.config import based_on

experiment = based_on(
    "ctbc_difference",
    name="ctbc_disentangled",
    network={"options": {"encoder": "ctbc_emotion_encoder"}},
)
