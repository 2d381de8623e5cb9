"""FER+ by a diversified MA-Net; for a GPU.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381): gamma 10 and weight 1 on the maps of the four
quarters, their pooled features and those of the two branches. 89.34 % on the
test split is the best of their ESR and MA-Net.
Command: python -m fer_keras.train --exp ferplus_manet_diversified
"""

from fer_keras.config import based_on, deviations_of

experiment = based_on(
    "ferplus_manet",
    name="ferplus_manet_diversified",
    dataset={"per_class": 5000},
    augmentation="esr",
    network={"options": {"second_chain": "up"}},
    method={
        "options": {
            "diversity": ["quadrant_maps", "quadrant_features", "branch_features"],
            "diversity_weight": 1.0,
        }
    },
    training={"batch_size": 32},
)
deviations = deviations_of("ferplus_manet")
