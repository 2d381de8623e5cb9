"""CK+ in seven classes by the VGG19 of the public baseline, in ten subject-disjoint folds.

Source: WuJie1010/Facial-Expression-Recognition.Pytorch, which states 94.646 % by folds that share
people; `ckplus_resnet18` says what differs.
Command: python -m fer_keras.train --exp ckplus_vgg19
"""

from fer_keras.config import based_on

experiment = based_on(
    "fer2013_vgg19",
    name="ckplus_vgg19",
    dataset={"name": "ckplus7", "split": "folds", "folds": 10, "fold": -1},
    training={"epochs": 60, "batch_size": 32},
)
