"""AffectNet with its 8 classes by DDAMFN++: sharpness-aware minimisation; for a GPU.

Source: the DDAMFN++ program of the authors of Zhang et al. 2023, 65.04 % on AffectNet's validation
pictures: SAM with a radius of 0.05 around Adam at 1e-5, 0.98 times that every epoch, 200 epochs of
batches of 256, a twentieth of every picture erased. What differs:

- They start from a backbone trained on MS-Celeb-1M faces, which is not shipped
  (`network.weights` takes it, docs/ddamfn.md); for random weights the attention loss grows over the
  first 500 steps. The rate of 1e-5 is one for trained weights: from random ones take more.
- They cut the faces out anew by five landmarks of their RetinaFace:
  `python -m fer_keras.data crop --size 112` does it by the project's detectors.
- Their second pass moves the statistics of batch norm once more; here it does not, as its authors
  have it.
- AffectNet has no public test split: the validation split chooses the epoch and measures it, as in
  the source, so the figure is better than one on new pictures.

Command: python -m fer_keras.train --exp affectnet8_ddamfn_pp
"""

from fer_keras.config import based_on

experiment = based_on(
    "affectnet7_ddamfn_pp",
    name="affectnet8_ddamfn_pp",
    dataset={"name": "affectnet"},
)
