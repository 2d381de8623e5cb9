"""FER+ by nine branches with attention that are kept from looking at the same places and channels.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381): gamma 10 and weight 1, as there, on the last
gates of each branch. What differs: everything `ferplus_esr` says of itself; the diversity is
`-log det` (one of the source's options; its program uses `-det`) of a matrix with ones on the
diagonal, where the source's has zeros, with which nine branches become more alike; channels are
compared with channels, where its program for FER+ compares places twice; vectors are scaled to
length 1, without which the similarity of 512 channels is 0 from the start.
Command: python -m fer_keras.train --exp ferplus_esr_diversified
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ferplus_esr_diversified",
    dataset=DatasetConfig(name="ferplus", label_rule="majority", image_size=96, channels=3),
    augmentation="standard",
    network=NetworkConfig("esr", {"num_branches": 9, "attention": True}),
    method=MethodConfig(
        "branch_ensemble",
        {"diversity": ["spatial_attention", "channel_attention"], "diversity_weight": 1.0},
    ),
    training=TrainingConfig(
        epochs=100,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.02,
        nesterov=False,
        schedule="step",
        decay_epochs=10,
        decay_rate=0.75,
        warmup_epochs=0.0,
        weight_decay=0.0,
    ),
)
