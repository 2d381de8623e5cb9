"""FER+ by five narrow branches that are kept from looking alike, for two CPU cores.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381); the size and the recipe are those of
`ferplus_esr_small`, of which only the weight of the diversity differs.
Command: python -m fer_keras.train --exp ferplus_esr_small_diversified
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ferplus_esr_small_diversified",
    dataset=DatasetConfig(name="ferplus", label_rule="majority"),
    augmentation="standard",
    network=NetworkConfig(
        "esr",
        {"num_branches": 5, "width": 0.125, "padding": "same", "attention": True},
    ),
    method=MethodConfig(
        "branch_ensemble",
        {"diversity": ["spatial_attention", "channel_attention"], "diversity_weight": 0.1},
    ),
    training=TrainingConfig(epochs=6),
)
