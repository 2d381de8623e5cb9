"""RAF-DB by DDAMFN++: the same network, trained by sharpness-aware minimisation; for a GPU.

Source: the DDAMFN++ program of the authors of Zhang et al. 2023, 92.34 % on the test split of
RAF-DB: SAM with a radius of 0.05 around Adam at 5e-4, 0.9 times that every epoch, 60 epochs of
batches of 128.

Command: python -m fer_keras.train --exp rafdb_ddamfn_pp
"""

from fer_keras.config import Deviation, based_on, deviations_of

experiment = based_on(
    "affectnet7_ddamfn_pp",
    name="rafdb_ddamfn_pp",
    dataset={"name": "rafdb"},
    augmentation="ddamfn_rafdb_pp",
    training={
        "epochs": 60,
        "batch_size": 128,
        "learning_rate": 5e-4,
        "decay_rate": 0.9,
        "sampling": "shuffle",
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
    Deviation(
        "choice of the epoch",
        "the split that is reported",
        "the validation split",
        "test is for the last figure",
    ),
)
