"""FER2013 by the eighth-width VGG19 and ResNet18 together, on two CPU cores.

Source: `fer2013_fusion` on `fer2013_vgg19_small` and `fer2013_resnet18_small`, which are trained
first where there is no finished run of them.
Command: python -m fer_keras.train --exp fer2013_fusion_small
"""

from fer_keras.config import based_on

experiment = based_on(
    "fer2013_fusion",
    name="fer2013_fusion_small",
    network={"options": {"bases": ["fer2013_vgg19_small", "fer2013_resnet18_small"]}},
)
