"""Drawn faces in motion by convolutions over space and time.

Source: the network is `clip_r2plus1d`, recipe and data are ours; see `synthetic_clips_lstm`.
Command: python -m fer_keras.train --exp synthetic_clips_r2plus1d
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="synthetic_clips_r2plus1d",
    dataset=DatasetConfig(name="synthetic_clips", image_size=48, clip_frames=12),
    network=NetworkConfig(
        "clip_r2plus1d",
        {"stem_filters": 8, "widths": [16, 32]},
    ),
    method=MethodConfig("clip_cross_entropy"),
    training=TrainingConfig(epochs=25, batch_size=32),
)
