"""FER+ by the majority label of the ten annotators.

Source: Barsoum et al. 2016 (ICMI), scheme MV; validated on the majority label, as they do.
Command: python -m fer_keras.train --exp ferplus_majority
Cost: 40 epochs, 18 minutes on two CPU cores that other work shared.
Result: 0.8437 on PublicTest = validation, majority label (n 3,199, seed 0, epoch chosen on it).
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig

experiment = Experiment(
    name="ferplus_majority",
    dataset=DatasetConfig(name="ferplus", label_rule="majority"),
    augmentation="standard",
    method=MethodConfig("label_distribution", {"scheme": "majority"}),
)
