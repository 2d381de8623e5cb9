"""FER+ by the Kullback-Leibler divergence from all votes of the annotators, single ones too.

Source: label distribution learning (Geng, IEEE TKDE 2016) on the votes of Barsoum et al. 2016
(ICMI); validated on the majority label, as they do.
Command: python -m fer_keras.train --exp ferplus_kl
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig

experiment = Experiment(
    name="ferplus_kl",
    dataset=DatasetConfig(name="ferplus", label_rule="distribution"),
    augmentation="standard",
    method=MethodConfig("label_distribution", {"scheme": "kl_divergence"}),
)
