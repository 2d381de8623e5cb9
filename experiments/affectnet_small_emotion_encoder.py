"""A tenth of AffectNet by an emotion encoder beside a frozen identity encoder: the first stage.

Source: the public program jerry940100/Facial-Expression-Recognition, the first stage of its
"disentangled" network, for which no figure is given: MobileNetV3-Large with ImageNet weights beside
a ResNet-50 trained on VGGFace2. Without those weights both start fresh:
--set network.options.encoder_weights=imagenet fetches the one,
--set network.options.identity_weights=resnet50_ft.npz reads the other from a file of yours.
Penalties that keep the person out of the embedding, ours:
--set method.name=disentanglement --set method.options.reversal=0.1
Command: python -m fer_keras.train --exp affectnet_small_emotion_encoder
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="affectnet_small_emotion_encoder",
    dataset=DatasetConfig(name="affectnet_small", image_size=224, channels=3),
    augmentation="light",
    network=NetworkConfig(
        "emotion_encoder", {"encoder": "mobilenet_v3_large", "identity": "resnet50_vggface2"}
    ),
    training=TrainingConfig(
        epochs=30, batch_size=32, optimizer="adam", learning_rate=1e-3, weight_decay=0.0
    ),
)
