"""FER2013 by plain cross-entropy: the baseline that the word-vector runs are compared with.

Source: the usual recipe for FER2013 (Goodfellow et al. 2013), on the network of this project.
Command: python -m fer_keras.train --exp cross_entropy
Cost: 40 epochs, 17 minutes on two CPU cores that other work shared.
Result: 0.6645 on PublicTest = validation (n 3,589, seed 0, epoch chosen on it).
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig

experiment = Experiment(
    name="cross_entropy",
    dataset=DatasetConfig(name="fer2013"),
    augmentation="standard",
    method=MethodConfig("cross_entropy"),
)
