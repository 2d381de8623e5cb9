"""CTBC by the difference of embeddings, leaving out one of its ten subjects after the other.

Source: as for `affectnet_small_difference`, whose network and recipe these are; no figure is given
in text. Here every person's own neutral face is known: it stands beside each of their pictures.
Command: python -m fer_keras.train --exp ctbc_difference
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="ctbc_difference",
    dataset=DatasetConfig(
        name="ctbc",
        image_size=224,
        channels=3,
        split="folds",
        folds=10,
        fold=-1,
        neutral="same_subject",
    ),
    network=NetworkConfig("difference_of_embeddings", {"encoder": "mobilenet_v3_large"}),
    training=TrainingConfig(
        epochs=30,
        batch_size=32,
        optimizer="adam",
        learning_rate=1e-3,
        schedule="constant",
        warmup_epochs=0.0,
        weight_decay=0.0,
        cached_embeddings=1,
    ),
)
