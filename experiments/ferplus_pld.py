"""FER+ by one label drawn from the annotators' votes at each step.

Source: Barsoum et al. 2016 (ICMI), scheme PLD; validated on the majority label, as they do.
Command: python -m fer_keras.train --exp ferplus_pld
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig

experiment = Experiment(
    name="ferplus_pld",
    dataset=DatasetConfig(name="ferplus", label_rule="probability"),
    augmentation="standard",
    method=MethodConfig("label_distribution", {"scheme": "probabilistic"}),
)
