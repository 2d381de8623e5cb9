"""RAF-DB by DDAMFN++: the same network, trained by sharpness-aware minimisation; for a GPU.

Source: the DDAMFN++ program of the authors of Zhang et al. 2023, 92.34 % on the test split of
RAF-DB: SAM with a radius of 0.05 around Adam at 5e-4, 0.9 times that every epoch, 60 epochs of
batches of 128. What differs:

- They start from a backbone trained on MS-Celeb-1M faces, which is not shipped
  (`network.weights` takes it, docs/ddamfn.md); for random weights the attention loss grows over the
  first 500 steps.
- They cut the faces out anew by five landmarks of their RetinaFace:
  `python -m fer_keras.data crop --size 112` does it by the project's detectors.
- Their second pass moves the statistics of batch norm once more; here it does not, as its authors
  have it.
- They choose the epoch on the test split; here a tenth of train chooses.

Command: python -m fer_keras.train --exp rafdb_ddamfn_pp
"""

from fer_keras.config import based_on

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
