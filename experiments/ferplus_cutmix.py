"""FER+ by the votes, with a rectangle of another face pasted into half the pictures (CutMix).

Source: Yun et al., ICCV 2019, alpha 1; votes by the rule of Barsoum et al. 2016 (ICMI), scheme CEL.
Pictures and vote distributions are mixed alike, by the share of pixels.
Command: python -m fer_keras.train --exp ferplus_cutmix
"""

from fer_keras.config import based_on

experiment = based_on(
    "ferplus_cel",
    name="ferplus_cutmix",
    augmentation="cut_mix",
)
