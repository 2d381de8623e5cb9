"""RAF-DB by DDAMFN with two attention heads at 112 pixels, from random weights; for a GPU.

Source: Zhang et al. 2023 (Electronics 12(17)), 91.35 % on the test split of RAF-DB, with the recipe
of their program: SGD at 0.01, a tenth of it every 10 epochs, 40 epochs of batches of 256.
What differs:

- They start from a backbone trained on MS-Celeb-1M faces, which is not shipped
  (`network.weights` takes it, docs/ddamfn.md); for random weights the attention loss grows over the
  first 500 steps.
- Their weight decay of 1e-4 is part of the gradient, where the momentum of 0.9 makes ten times as
  much of it; Keras' stands beside the gradient, so it is 1e-3, and spares biases and batch norm.
- They choose the epoch on the test split; here a tenth of train chooses.

Command: python -m fer_keras.train --exp rafdb_ddamfn
"""

from fer_keras.config import DatasetConfig, based_on

experiment = based_on(
    "ferplus_ddamfn",
    name="rafdb_ddamfn",
    dataset=DatasetConfig(name="rafdb", image_size=112, channels=3),
    augmentation="ddamfn_rafdb",
    training={"epochs": 40},
)
