"""FER+ by any of the labels that three or more annotators in ten gave.

Source: Barsoum et al. 2016 (ICMI), scheme ML; validated on the majority label, as they do.
Command: python -m fer_keras.train --exp ferplus_ml
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig

experiment = Experiment(
    name="ferplus_ml",
    dataset=DatasetConfig(name="ferplus", label_rule="multi_target"),
    augmentation="standard",
    method=MethodConfig("label_distribution", {"scheme": "multi_label"}),
)
