"""A tenth of AffectNet by the difference of embeddings: a frozen MobileNetV3-Large sees two faces.

Source: the public program jerry940100/Facial-Expression-Recognition: 33.6 % on AffectNet's
validation pictures (chance: 12.5). Who is shown is unknown there and the source does not say which
neutral face it takes; here it is a random one of train, and another picture of the person where
persons are known, as on the built-in faces. The source's encoder has ImageNet weights, which
--set network.options.encoder_weights=imagenet fetches; without it the encoder is random. Every
picture is encoded once, so the 30 epochs take seconds. The source's learning rate is not stated.
Command: python -m fer_keras.train --exp affectnet_small_difference
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="affectnet_small_difference",
    dataset=DatasetConfig(name="affectnet_small", image_size=224, channels=3, neutral="auto"),
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
