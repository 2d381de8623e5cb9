"""RAF-DB by DDAMFN with two attention heads at 112 pixels, from random weights; for a GPU.

Source: Zhang et al. 2023 (Electronics 12(17)), 91.35 % on the test split of RAF-DB, with the recipe
of their program: SGD at 0.01, a tenth of it every 10 epochs, 40 epochs of batches of 256.

Command: python -m fer_keras.train --exp rafdb_ddamfn
"""

from fer_keras.config import DatasetConfig, based_on, deviations_of

experiment = based_on(
    "ferplus_ddamfn",
    name="rafdb_ddamfn",
    dataset=DatasetConfig(name="rafdb", image_size=112, channels=3),
    augmentation="ddamfn_rafdb",
    training={"epochs": 40},
)
deviations = deviations_of("ferplus_ddamfn")
