"""AffectNet in eight classes by MA-Net; for a GPU.

Source: Zhao et al. 2021 (IEEE TIP): 60.29 % on the validation split, on which the epoch was chosen
too. What differs: no pre-training on MS-Celeb-1M (--set network.weights=PATH.keras starts from
weights that you have); classes are drawn with equal chance, as the source's loss of 2.1 to the end
tells that its training was balanced in some way; `standard` augmentation in place of random crops;
weight decay as in `ferplus_manet`.
Command: python -m fer_keras.train --exp affectnet_manet
"""

from fer_keras.config import DatasetConfig, based_on

experiment = based_on(
    "ferplus_manet",
    name="affectnet_manet",
    dataset=DatasetConfig(name="affectnet", image_size=224, channels=3),
    training={"epochs": 20, "batch_size": 256, "decay_epochs": 5, "sampling": "balanced"},
)
