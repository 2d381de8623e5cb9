"""RAF-DB by a diversified ESR-9 that comes from AffectNet; for a GPU.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381), 89.99 % on the test split; the recipe for
fine-tuning is that of Siqueira et al. 2020 (AAAI) for FER+. Starts from
`affectnet_esr_diversified`, which is trained first where there is no run of it; classes are matched
by their names. Rates and epochs are those of `ferplus_esr_transfer`; augmentation and ImageNet's
normalisation are those of their program for RAF-DB. For another start, or none: --set
network.weights=PATH (or nothing after the equals sign).
Command: python -m fer_keras.train --exp rafdb_esr_diversified
"""

from fer_keras.config import Deviation, based_on, deviations_of

experiment = based_on(
    "rafdb_esr",
    name="rafdb_esr_diversified",
    dataset={"per_class": 0},
    augmentation="diversified_rafdb_96",
    network={
        "options": {"attention": True, "normalisation": "imagenet"},
        "weights": "affectnet_esr_diversified",
    },
    method={
        "options": {
            "diversity": ["spatial_attention", "channel_attention"],
            "diversity_weight": 1.0,
        }
    },
)
deviations = (
    *deviations_of("affectnet_esr"),
    Deviation(
        "choice of the epoch", "the test split", "a tenth of train", "test is for the last figure"
    ),
)
