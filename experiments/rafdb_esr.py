"""RAF-DB by an ESR-9 that comes from AffectNet, fine-tuned branch after branch; for a GPU.

Source: the recipe of Siqueira et al. 2020 (AAAI) for FER+; they give no figure for RAF-DB. Starts
from `affectnet_esr`, which is trained first where there is no run of it; classes are matched by
their names. Rates and epochs are those of `ferplus_esr_transfer`. For another start, or none:
--set network.weights=PATH (or nothing after the equals sign).
Command: python -m fer_keras.train --exp rafdb_esr
"""

from fer_keras.config import DatasetConfig, Deviation, based_on, deviations_of

experiment = based_on(
    "ferplus_esr_transfer",
    name="rafdb_esr",
    dataset=DatasetConfig(name="rafdb", image_size=96, channels=3, per_class=5000),
)
deviations = (
    *deviations_of("affectnet_esr"),
    Deviation("choice of the epoch", "none for RAF-DB", "a tenth of train", "no validation split"),
)
