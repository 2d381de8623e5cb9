"""FER+ by cross-entropy against the distribution of the annotators' votes.

Source: Barsoum et al. 2016 (ICMI), scheme CEL; validated on the majority label, as they do.
Command: python -m fer_keras.train --exp ferplus_cel
Cost: 24 epochs, 16 minutes on two free CPU cores (36 on busy ones).
Result: 0.8546 on PublicTest = validation, majority label (n 3,199, seed 0, epoch chosen on it).
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig

experiment = Experiment(
    name="ferplus_cel",
    dataset=DatasetConfig(name="ferplus", label_rule="crossentropy"),
    augmentation="light",
    method=MethodConfig("label_distribution", {"scheme": "cross_entropy"}),
)
