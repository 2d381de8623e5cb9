"""CTBC by ViT_SE, leaving out one of its ten subjects after the other.

Source: experiment A of the public program jerry940100/Facial-Expression-Recognition: ten folds, of
which it does not say whether they share subjects; here they do not. No figure is given in text. The
network and the recipe are those of `affectnet_small_vit_se`.
Command: python -m fer_keras.train --exp ctbc_vit_se
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="ctbc_vit_se",
    dataset=DatasetConfig(
        name="ctbc", image_size=224, channels=3, split="folds", folds=10, fold=-1
    ),
    network=NetworkConfig("vit_se", {"gate": "sigmoid"}),
    training=TrainingConfig(
        epochs=30,
        batch_size=32,
        optimizer="adam",
        learning_rate=5e-5,
        schedule="constant",
        warmup_epochs=3.0,
        weight_decay=0.0,
    ),
)
