"""RAF-DB by erasing attention consistency, as published: ResNet-50 of VGGFace2 at 224; for a GPU.

Source: Zhang et al. 2022 (ECCV), EAC: 90.35 % on the test split, the epoch chosen there; Adam at
1e-4, 0.9 of it after every epoch, 60 epochs of batches of 32. The start is a file of yours:
--set network.options.encoder_weights=resnet50_ft_weight.pkl. Published noise:
--set dataset.label_list=noise01.txt --set method.options.erasing=independent
Command: python -m fer_keras.train --exp rafdb_eac
"""

from fer_keras.config import (
    DatasetConfig,
    Deviation,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="rafdb_eac",
    dataset=DatasetConfig(name="rafdb", image_size=224, channels=3, enlarge="linear"),
    augmentation="none",
    network=NetworkConfig("encoder_classifier", {"encoder": "resnet50_vggface2"}),
    method=MethodConfig(
        "attention_consistency", {"weight": 5.0, "fill": "imagenet", "noise": 30**0.5}
    ),
    training=TrainingConfig(
        epochs=60,
        batch_size=32,
        optimizer="adam",
        learning_rate=1e-4,
        schedule="exponential",
        decay_rate=0.9,
        warmup_epochs=0.0,
        weight_decay=0.0,
    ),
)
deviations = (
    Deviation(
        "start", "VGGFace2", "random weights", "not shipped; encoder_weights=FILE takes the .pkl"
    ),
    Deviation(
        "scaling",
        "ImageNet's mean and deviation, red first",
        "the mean of VGGFace2, blue first inside",
        "the start was trained so",
    ),
    Deviation("weight decay", "1e-4, part of the gradient", "none", "Adam divides it away"),
    Deviation(
        "choice of the epoch", "the test split", "a tenth of train", "test is for the last figure"
    ),
)
