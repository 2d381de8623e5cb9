"""FER+ by five narrow branches with attention at 48 pixels, for two CPU cores.

Source: Siqueira et al. 2020 (AAAI); the size and the recipe are ours. An eighth of the channels, 48
grey pixels and padded convolutions, so that the last maps are 6x6 as they are of 96 pixels; five
branches of nine. The likeness of the branches is measured and not trained: the control of
`ferplus_esr_small_diversified`.
Command: python -m fer_keras.train --exp ferplus_esr_small
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ferplus_esr_small",
    dataset=DatasetConfig(name="ferplus", label_rule="majority"),
    augmentation="standard",
    network=NetworkConfig(
        "esr",
        {"num_branches": 5, "width": 0.125, "padding": "same", "attention": True},
    ),
    method=MethodConfig(
        "branch_ensemble",
        {"diversity": ["spatial_attention", "channel_attention"], "diversity_weight": 0.0},
    ),
    training=TrainingConfig(epochs=6),
)
