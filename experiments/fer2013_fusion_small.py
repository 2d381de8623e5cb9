"""FER2013 by the eighth-width VGG19 and ResNet18 together, on two CPU cores.

Source: `fer2013_fusion` on `fer2013_vgg19_small` and `fer2013_resnet18_small`, which are trained
first where there is no finished run of them.
Command: python -m fer_keras.train --exp fer2013_fusion_small
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="fer2013_fusion_small",
    dataset=DatasetConfig(name="fer2013", image_size=44, channels=3, split="held_out"),
    network=NetworkConfig("fusion", {"bases": ["fer2013_vgg19_small", "fer2013_resnet18_small"]}),
    training=TrainingConfig(epochs=15, learning_rate=0.003, weight_decay=0.0, warmup_epochs=0.0),
)
