"""RAF-DB by an ESR-9 that comes from AffectNet, fine-tuned branch after branch; for a GPU.

Source: the recipe of Siqueira et al. 2020 (AAAI) for FER+; they give no figure for RAF-DB. Starts
from `affectnet_esr`, which is trained first where there is no run of it; classes are matched by
their names. Branch after branch joins the loss: base and first branch at 0.1, the others at 0.02,
times 0.75 every ten epochs, 100 epochs and 60 for each later branch. For another start, or none:
--set network.weights=PATH (or nothing after the equals sign).
Command: python -m fer_keras.train --exp rafdb_esr
"""

from fer_keras.config import DatasetConfig, based_on

experiment = based_on(
    "ferplus_esr_transfer",
    name="rafdb_esr",
    dataset=DatasetConfig(name="rafdb", image_size=96, channels=3),
)
