"""FER2013 by an eighth-width VGG19, with a recipe that fits two CPU cores.

Source: the network of `fer2013_vgg19` with an eighth of its channels. The recipe is ours: AdamW,
10 epochs in place of 250, wider warps. bfloat16 needs a CPU with avx512_bf16; without it set
training.precision=float32.
Command: python -m fer_keras.train --exp fer2013_vgg19_small
Cost: 10 epochs, 11 minutes on two CPU cores that other work shared.
Result: 0.5433 on PublicTest = validation (n 3,589, seed 0, epoch chosen on it).
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="fer2013_vgg19_small",
    dataset=DatasetConfig(name="fer2013", image_size=44, channels=3),
    augmentation="standard",
    network=NetworkConfig("vgg19", {"width": 0.125}),
    training=TrainingConfig(epochs=10, precision="mixed_bfloat16"),
)
