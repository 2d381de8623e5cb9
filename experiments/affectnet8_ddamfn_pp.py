"""AffectNet with its 8 classes by DDAMFN++: sharpness-aware minimisation; for a GPU.

Source: the DDAMFN++ program of the authors of Zhang et al. 2023, 65.04 % on AffectNet's validation
pictures: SAM with a radius of 0.05 around Adam at 1e-5, 0.98 times that every epoch, 200 epochs of
batches of 256, a twentieth of every picture erased.
The validation split chooses the epoch and measures it, as in the source. The rate of 1e-5 is one
for trained weights: from random ones take more.

Command: python -m fer_keras.train --exp affectnet8_ddamfn_pp
"""

from fer_keras.config import based_on, deviations_of

experiment = based_on(
    "affectnet7_ddamfn_pp",
    name="affectnet8_ddamfn_pp",
    dataset={"name": "affectnet"},
)
deviations = deviations_of("affectnet7_ddamfn_pp")
