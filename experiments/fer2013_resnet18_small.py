"""FER2013 by an eighth-width ResNet18, with a recipe that fits two CPU cores.

Source: the network of `fer2013_resnet18` with an eighth of its channels. The recipe is ours: AdamW,
10 epochs in place of 250, wider warps. bfloat16 needs a CPU with avx512_bf16; without it set
training.precision=float32.
Command: python -m fer_keras.train --exp fer2013_resnet18_small
Cost: 10 epochs, 23 minutes on two CPU cores that other work shared.
Result: 0.5807 on PublicTest = validation (n 3,589, seed 0, epoch chosen on it).
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="fer2013_resnet18_small",
    dataset=DatasetConfig(name="fer2013", image_size=44, channels=3),
    augmentation="standard",
    network=NetworkConfig("resnet18", {"width": 0.125, "pooling": "valid4"}),
    training=TrainingConfig(epochs=10, precision="mixed_bfloat16"),
)
