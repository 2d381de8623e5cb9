"""Folders of your own with a class `none`: a yes or no of every emotion, and "none of them".

Source: Shu, Xu and Liu 2017 (EMNLP), for pictures. The folder `none` holds pictures without one of
the other classes: faces that show something else, and no faces.
Command: python -m fer_keras.train --exp none_of_them --data MY_FOLDER
Result: docs/methods.md compares it with `cross_entropy` on drawn faces.
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig

experiment = Experiment(
    name="none_of_them",
    dataset=DatasetConfig(name="folder"),
    augmentation="standard",
    method=MethodConfig("binary_cross_entropy", {"none_class": "none"}),
)
