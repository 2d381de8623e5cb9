"""FER2013 by an eighth-width ResNet18, with a recipe that fits two CPU cores.

Source: the network of `fer2013_resnet18` with an eighth of its channels. The recipe is ours: AdamW,
10 epochs in place of 250, wider warps. bfloat16 needs a CPU with avx512_bf16; without it set
training.precision=float32.
Command: python -m fer_keras.train --exp fer2013_resnet18_small
Cost: 10 epochs, 23 minutes on two CPU cores that other work shared.
Result: 0.5807 on PublicTest = validation (n 3,589, seed 0, epoch chosen on it).
"""

from fer_keras.config import NetworkConfig, based_on

experiment = based_on(
    "fer2013_vgg19_small",
    name="fer2013_resnet18_small",
    network=NetworkConfig("resnet18", {"width": 0.125, "pooling": "valid4"}),
)
