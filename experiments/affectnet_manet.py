"""AffectNet in eight classes by MA-Net; for a GPU.

Source: Zhao et al. 2021 (IEEE TIP): 60.29 % on the validation split, on which the epoch was chosen
too. Their weights to start from: --set network.weights=FILE (docs/published-weights.md).
Command: python -m fer_keras.train --exp affectnet_manet
"""

from fer_keras.config import DatasetConfig, Deviation, based_on, deviations_of

experiment = based_on(
    "ferplus_manet",
    name="affectnet_manet",
    dataset=DatasetConfig(name="affectnet", image_size=224, channels=3),
    training={"epochs": 20, "batch_size": 256, "decay_epochs": 5, "sampling": "balanced"},
)
deviations = (
    *deviations_of("ferplus_manet"),
    Deviation(
        "sampling",
        "not stated",
        "classes with equal chance",
        "their loss of 2.1 to the end tells that the training was balanced in some way",
    ),
)
