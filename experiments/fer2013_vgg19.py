"""FER2013 by the VGG19 of the public baseline, trained from scratch.

Source: WuJie1010/Facial-Expression-Recognition.Pytorch (VGG19, 44x44x3, 250 epochs of 128).
The source tests with ten crops of 48-pixel pictures: `python -m fer_keras.evaluate RUN
--split test --ten-crop 48`. Faces are then 48 / 44 times as large as in training.
Command: python -m fer_keras.train --exp fer2013_vgg19
"""

from fer_keras.config import DatasetConfig, Deviation, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="fer2013_vgg19",
    dataset=DatasetConfig(name="fer2013", image_size=44, channels=3),
    augmentation="light",
    network=NetworkConfig("vgg19"),
    training=TrainingConfig(
        epochs=250,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.01,
        momentum=0.9,
        nesterov=False,
        warmup_epochs=0.0,
        weight_decay=5e-3,
        clip_value=0.1,
    ),
)
deviations = (
    Deviation(
        "augmentation",
        "a random 44 of the 48 pixels; mirrored",
        "resized to 44 pixels, shifted by up to a tenth, a little light; mirrored",
        "`light` is the policy of the other runs; --set augmentation=crop is near theirs",
    ),
    Deviation(
        "schedule",
        "0.01 to epoch 80, then 0.9 of it every 5 epochs, to 0.0003",
        "a cosine from 0.01 to 0",
        "the same range, smoothly",
    ),
    Deviation(
        "weight decay",
        "5e-4, part of the gradient, on all parameters",
        "5e-3, beside the gradient, not on biases and batch norm",
        "Keras' meaning; with momentum 0.9 theirs acts as ten times as much",
    ),
    Deviation(
        "choice of the epoch", "PrivateTest", "PublicTest", "PrivateTest is for the last figure"
    ),
)
