"""RAF-DB by MA-Net; for a GPU.

Source: Zhao et al. 2021 (IEEE TIP): 88.40 % on the test split, on which the epoch was chosen too.
What differs: no pre-training on MS-Celeb-1M (--set network.weights=PATH.keras starts from weights
that you have); a tenth of train chooses the epoch; `standard` augmentation in place of random
crops; weight decay as in `ferplus_manet`.
Command: python -m fer_keras.train --exp rafdb_manet
"""

from fer_keras.config import DatasetConfig, based_on

experiment = based_on(
    "ferplus_manet",
    name="rafdb_manet",
    dataset=DatasetConfig(name="rafdb", image_size=224, channels=3),
)
