"""Drawn faces in motion by the mean score of single frames: the control that knows no order.

Source: ours. All four courses hold the same frames, so whatever this learns, it is right in one
clip of four. What the other `synthetic_clips` experiments have above it is what the order tells.
Command: python -m fer_keras.train --exp synthetic_clips_frame
Cost: 25 epochs, 4 minutes on one CPU core beside other work, after those of `synthetic_faces`.
Result: 0.2500 of clips on validation (n 400, seed 0), as it must be.
"""

from fer_keras.config import NetworkConfig, based_on

experiment = based_on(
    "synthetic_clips_lstm",
    name="synthetic_clips_frame",
    network=NetworkConfig("clip_mean", {"encoder": "synthetic_faces", "train_encoder": False}),
)
