"""FER2013Plus of Kaggle by DDAMFN with four attention heads, as a student project trained it.

Source: the project's figures of eight trainings with 2 and 4 heads, learning rates 0.01 and 0.001,
batches of 64 and 32, with and without augmentation, on plain pictures and on pictures with the
detected box and landmarks drawn in. Best on validation 77.10 % (balanced 76.70 %, epoch 3) plain
and 76.67 % (76.11 %, epoch 5) processed; 81.67 % and 82.62 % on test. All eight in one command:
docs/ddamfn.md. The network and the rest of the recipe are those of Zhang et al. 2023 for FER+.
How many validation pictures are augmented copies of training pictures depends on the copy of the
data set: `python -m fer_keras.data audit fer2013plus` counts them.

Command: python -m fer_keras.train --exp fer2013plus_ddamfn
"""

from fer_keras.config import DatasetConfig, based_on, deviations_of

experiment = based_on(
    "ferplus_ddamfn",
    name="fer2013plus_ddamfn",
    dataset=DatasetConfig(name="fer2013plus", image_size=112, channels=3),
    network={"options": {"num_heads": 4}},
    training={"batch_size": 64},
)
deviations = deviations_of("ferplus_ddamfn")
