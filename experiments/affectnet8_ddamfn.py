"""AffectNet with its 8 classes by DDAMFN at 112 pixels, from random weights; for a GPU.

Source: Zhang et al. 2023 (Electronics 12(17)), 64.25 % on AffectNet's validation pictures, with the
recipe of their program: Adam at 1e-4, 0.6 times that every epoch, 40 epochs of batches of 256,
classes drawn with equal chance.
The validation split chooses the epoch and measures it, as in the source.

Command: python -m fer_keras.train --exp affectnet8_ddamfn
"""

from fer_keras.config import based_on, deviations_of

experiment = based_on(
    "affectnet7_ddamfn",
    name="affectnet8_ddamfn",
    dataset={"name": "affectnet"},
)
deviations = deviations_of("affectnet7_ddamfn")
