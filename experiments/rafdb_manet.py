"""RAF-DB by MA-Net; for a GPU.

Source: Zhao et al. 2021 (IEEE TIP): 88.40 % on the test split, on which the epoch was chosen too.
Here a tenth of train chooses it. Their weights to start from: --set network.weights=FILE
(docs/published-weights.md).
Command: python -m fer_keras.train --exp rafdb_manet
"""

from fer_keras.config import DatasetConfig, based_on, deviations_of

experiment = based_on(
    "ferplus_manet",
    name="rafdb_manet",
    dataset=DatasetConfig(name="rafdb", image_size=224, channels=3),
)
deviations = deviations_of("ferplus_manet")
