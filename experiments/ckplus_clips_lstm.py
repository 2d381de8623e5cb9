"""CK+ as clips from the neutral face to the apex, in ten subject-disjoint folds.

Source: the network is that of jerry940100/Facial-Expression-Recognition for Oulu-CASIA, whose
results are given as pictures only; no figure to compare with. CK+ as sequences in seven classes:
Lucey et al., CVPR Workshops 2010.
Command: python -m fer_keras.train --exp ckplus_clips_lstm
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ckplus_clips_lstm",
    dataset=DatasetConfig(
        name="ckplus_sequences", split="folds", folds=10, fold=-1, clip_frames=12
    ),
    augmentation="standard",
    network=NetworkConfig("clip_lstm"),
    method=MethodConfig("clip_cross_entropy"),
    training=TrainingConfig(epochs=40, batch_size=16),
)
