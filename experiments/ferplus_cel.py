"""FER+ by cross-entropy against the distribution of the annotators' votes.

Source: Barsoum et al. 2016 (ICMI), scheme CEL; validated on the majority label, as they do.
Command: python -m fer_keras.train --exp ferplus_cel
Cost: 40 epochs, 20 minutes on two CPU cores that other work shared.
Result: 0.8540 on PublicTest = validation, majority label (n 3,199, seed 0, epoch chosen on it).
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig

experiment = Experiment(
    name="ferplus_cel",
    dataset=DatasetConfig(name="ferplus", label_rule="crossentropy"),
    augmentation="standard",
    method=MethodConfig("label_distribution", {"scheme": "cross_entropy"}),
)
