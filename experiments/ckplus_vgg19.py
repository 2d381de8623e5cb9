"""CK+ in seven classes by the VGG19 of the public baseline, in ten subject-disjoint folds.

Source: WuJie1010/Facial-Expression-Recognition.Pytorch, which states 94.646 % by folds that share
people; `ckplus_resnet18` says what differs.
Command: python -m fer_keras.train --exp ckplus_vgg19
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="ckplus_vgg19",
    dataset=DatasetConfig(
        name="ckplus7", image_size=44, channels=3, split="folds", folds=10, fold=-1
    ),
    augmentation="light",
    network=NetworkConfig("vgg19"),
    training=TrainingConfig(
        epochs=60,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.01,
        momentum=0.9,
        nesterov=False,
        warmup_epochs=0.0,
        weight_decay=5e-3,
        clip_value=0.1,
    ),
)
