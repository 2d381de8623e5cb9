"""CTBC by the difference of embeddings that an emotion encoder gives, in ten folds of two stages.

Source, network and recipe: `affectnet_small_disentangled`; no figure is given in text. The encoder
of each fold is trained on the same fold (`ctbc_emotion_encoder`): it saw none of its test subjects.
Command: python -m fer_keras.train --exp ctbc_disentangled
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="ctbc_disentangled",
    dataset=DatasetConfig(
        name="ctbc",
        image_size=224,
        channels=3,
        split="folds",
        folds=10,
        fold=-1,
        neutral="same_subject",
    ),
    network=NetworkConfig("difference_of_embeddings", {"encoder": "ctbc_emotion_encoder"}),
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
