"""Drawn faces in motion by the mean score of single frames: the control that knows no order.

Source: ours. All four courses hold the same frames, so whatever this learns, it is right in one
clip of four. What the other `synthetic_clips` experiments have above it is what the order tells.
Command: python -m fer_keras.train --exp synthetic_clips_frame
Cost: 25 epochs, 4 minutes on one CPU core beside other work, after those of `synthetic_faces`.
Result: 0.2500 of clips on validation (n 400, seed 0), as it must be.
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="synthetic_clips_frame",
    dataset=DatasetConfig(name="synthetic_clips", image_size=48, clip_frames=12),
    network=NetworkConfig(
        "clip_mean",
        {"encoder": "synthetic_faces", "train_encoder": False},
    ),
    method=MethodConfig("clip_cross_entropy"),
    training=TrainingConfig(epochs=25, batch_size=32),
)
