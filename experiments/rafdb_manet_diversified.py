"""RAF-DB by a diversified MA-Net; for a GPU.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381): gamma 10 and weight 1 on the maps of the four
quarters, their pooled features and those of the two branches. 89.99 % on the
test split is the best of their ESR and MA-Net.
Command: python -m fer_keras.train --exp rafdb_manet_diversified
"""

from fer_keras.config import based_on, deviations_of

experiment = based_on(
    "rafdb_manet",
    name="rafdb_manet_diversified",
    augmentation="diversified_rafdb",
    network={"options": {"second_chain": "up", "normalisation": "imagenet"}},
    method={
        "options": {
            "diversity": ["quadrant_maps", "quadrant_features", "branch_features"],
            "diversity_weight": 1.0,
        }
    },
)
deviations = deviations_of("rafdb_manet")
