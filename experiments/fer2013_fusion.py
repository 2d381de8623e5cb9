"""FER2013 by VGG19 and ResNet18 together: a 14 -> 7 layer on the logits of both.

Source: the network "Multiple" on the public baselines of FER2013 (WuJie1010/Facial-Expression-
Recognition.Pytorch), without a figure of its own. The two are trained first (`fer2013_vgg19`,
`fer2013_resnet18`) and frozen; the layer starts as their mean. PublicTest chose the epochs of the
two, half of it trains the layer and the other half chooses its epoch and is what is reported: all
three look better there than they are. All ways to join the two, cross-fitted: `python -m
fer_keras.study fusion RUN RUN`.
Command: python -m fer_keras.train --exp fer2013_fusion
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="fer2013_fusion",
    dataset=DatasetConfig(name="fer2013", image_size=44, channels=3, split="held_out"),
    network=NetworkConfig("fusion", {"bases": ["fer2013_vgg19", "fer2013_resnet18"]}),
    training=TrainingConfig(epochs=15, learning_rate=0.003, weight_decay=0.0, warmup_epochs=0.0),
)
