"""A tenth of AffectNet by the difference of embeddings that an emotion encoder gives: two stages.

Source: the public program jerry940100/Facial-Expression-Recognition, "disentangled difference of
embeddings": 38.04 % on AffectNet's validation pictures (chance: 12.5). The frozen encoder is that
of `affectnet_small_emotion_encoder`, of the newest finished run with the same seed in `runs`, which
is trained first where there is none. The fair controls are that run itself and, on the same
encoder, --set network.options.reads=face and --set network.options.hidden=[]; all of them in one
table: python -m fer_keras.study embeddings
Command: python -m fer_keras.train --exp affectnet_small_disentangled
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="affectnet_small_disentangled",
    dataset=DatasetConfig(name="affectnet_small", image_size=224, channels=3, neutral="auto"),
    network=NetworkConfig(
        "difference_of_embeddings", {"encoder": "affectnet_small_emotion_encoder"}
    ),
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
