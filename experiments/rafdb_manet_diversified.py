"""RAF-DB by a diversified MA-Net; for a GPU.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381): gamma 10 and weight 1 on the maps of the four
quarters, their pooled features and those of the two branches. What differs: `-log det` in place of
`-det`, vectors of length 1 (without which the similarity of 512 channels is 0 from the start), and
what `rafdb_manet` says of itself. 89.99 % on the test split is the best of their ESR and MA-Net.
Command: python -m fer_keras.train --exp rafdb_manet_diversified
"""

from fer_keras.config import based_on

experiment = based_on(
    "rafdb_manet",
    name="rafdb_manet_diversified",
    method={
        "options": {
            "diversity": ["quadrant_maps", "quadrant_features", "branch_features"],
            "diversity_weight": 1.0,
        }
    },
)
