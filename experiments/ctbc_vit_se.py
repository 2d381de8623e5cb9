"""CTBC by ViT_SE, leaving out one of its ten subjects after the other.

Source: experiment A of the public program jerry940100/Facial-Expression-Recognition: ten folds, of
which it does not say whether they share subjects; here they do not. No figure is given in text. The
network and the recipe are those of `affectnet_small_vit_se`.
Command: python -m fer_keras.train --exp ctbc_vit_se
"""

from fer_keras.config import based_on

experiment = based_on(
    "affectnet_small_vit_se",
    name="ctbc_vit_se",
    dataset={"name": "ctbc", "split": "folds", "folds": 10, "fold": -1},
)
