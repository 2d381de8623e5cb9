"""Drawn faces in motion by a transformer over the frames.

Source: the network is `clip_transformer`, recipe and data are ours; see `synthetic_clips_lstm`.
Command: python -m fer_keras.train --exp synthetic_clips_transformer
Cost: 25 epochs, 5 minutes on one CPU core beside other work, after those of `synthetic_faces`.
Result: 0.9275 of clips on validation (n 400, seed 0, epoch chosen on it); chance is 0.25.
"""

from fer_keras.config import NetworkConfig, based_on

experiment = based_on(
    "synthetic_clips_lstm",
    name="synthetic_clips_transformer",
    network=NetworkConfig(
        "clip_transformer", {"encoder": "synthetic_faces", "train_encoder": False}
    ),
)
