"""Drawn faces in motion by convolutions over space and time.

Source: the network is `clip_r2plus1d`, recipe and data are ours; see `synthetic_clips_lstm`.
Command: python -m fer_keras.train --exp synthetic_clips_r2plus1d
"""

from fer_keras.config import NetworkConfig, based_on

experiment = based_on(
    "synthetic_clips_lstm",
    name="synthetic_clips_r2plus1d",
    network=NetworkConfig("clip_r2plus1d", {"stem_filters": 8, "widths": [16, 32]}),
)
