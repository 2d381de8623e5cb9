"""CK+ in seven classes by the ResNet18 of the public baseline, in ten subject-disjoint folds.

Source: WuJie1010/Facial-Expression-Recognition.Pytorch: last three frames of each sequence at
44x44x3, 60 epochs of 32, learning rate .01, times .8 every epoch from the 20th on. It states
94.040 %, by folds in which 46 to 85 % of the tested people are trained on too (docs/data.md); here
nobody is on both sides, each fold's epoch is chosen on the next fold, and the tested fold is read
once.
What else differs: a cosine in place of the steps; decoupled weight decay; pictures are resized to
44 pixels and shifted by up to a tenth, where the source cuts a random 44 of 48.
Command: python -m fer_keras.train --exp ckplus_resnet18
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="ckplus_resnet18",
    dataset=DatasetConfig(
        name="ckplus7", image_size=44, channels=3, split="folds", folds=10, fold=-1
    ),
    augmentation="light",
    network=NetworkConfig("resnet18", {"pooling": "valid4"}),
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
