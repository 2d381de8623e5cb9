"""FER2013 by the ResNet18 of the public baseline, trained from scratch.

Source: WuJie1010/Facial-Expression-Recognition.Pytorch (ResNet18, 44x44x3, 250 epochs of 128), with
its pooling of the first 4x4 positions of the last 6x6 map.
The source tests with ten crops of 48-pixel pictures: `python -m fer_keras.evaluate RUN
--split test --ten-crop 48`. Faces are then 48 / 44 times as large as in training.
Command: python -m fer_keras.train --exp fer2013_resnet18
"""

from fer_keras.config import NetworkConfig, based_on, deviations_of

experiment = based_on(
    "fer2013_vgg19",
    name="fer2013_resnet18",
    network=NetworkConfig("resnet18", {"pooling": "valid4"}),
)
deviations = deviations_of("fer2013_vgg19")
