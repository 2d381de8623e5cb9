"""AffectNet without contempt by DDAMFN++: sharpness-aware minimisation; for a GPU.

Source: the DDAMFN++ program of the authors of Zhang et al. 2023, 67.36 % on AffectNet's validation
pictures: SAM with a radius of 0.05 around Adam at 1e-5, 0.98 times that every epoch, 200 epochs of
batches of 256, a twentieth of every picture erased.
The validation split chooses the epoch and measures it, as in the source. The rate of 1e-5 is one
for trained weights: from random ones take more.

Command: python -m fer_keras.train --exp affectnet7_ddamfn_pp
"""

from fer_keras.config import Deviation, based_on, deviations_of

experiment = based_on(
    "affectnet7_ddamfn",
    name="affectnet7_ddamfn_pp",
    augmentation="ddamfn_affectnet_pp",
    training={
        "epochs": 200,
        "learning_rate": 1e-5,
        "decay_rate": 0.98,
        "sam_rho": 0.05,
        "sam_statistics": "twice",
    },
)
deviations = (
    *deviations_of("affectnet7_ddamfn"),
    Deviation(
        "faces",
        "cut out anew by five landmarks of their RetinaFace",
        "as the data set has them",
        "`python -m fer_keras.data crop --size 112` does it by the detectors here",
    ),
)
