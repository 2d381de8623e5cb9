"""FER+ by the votes, with a rectangle of another face pasted into half the pictures (CutMix).

Source: Yun et al., ICCV 2019, alpha 1; votes by the rule of Barsoum et al. 2016 (ICMI), scheme CEL.
Pictures and vote distributions are mixed alike, by the share of pixels.
Command: python -m fer_keras.train --exp ferplus_cutmix
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig

experiment = Experiment(
    name="ferplus_cutmix",
    dataset=DatasetConfig(name="ferplus", label_rule="crossentropy"),
    augmentation="cut_mix",
    method=MethodConfig("label_distribution", {"scheme": "cross_entropy"}),
)
