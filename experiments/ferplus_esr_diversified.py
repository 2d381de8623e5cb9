"""FER+ by nine branches with attention that are kept from looking at the same places and channels.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381): gamma 10 and weight 1, as there, on the last
gates of each branch. What differs: everything `ferplus_esr` says of itself; the diversity is
`-log det` (one of the source's options; its program uses `-det`) of a matrix with ones on the
diagonal, where the source's has zeros, with which nine branches become more alike; channels are
compared with channels, where its program for FER+ compares places twice; vectors are scaled to
length 1, without which the similarity of 512 channels is 0 from the start.
Command: python -m fer_keras.train --exp ferplus_esr_diversified
"""

from fer_keras.config import based_on

experiment = based_on(
    "ferplus_esr",
    name="ferplus_esr_diversified",
    network={"options": {"attention": True}},
    method={
        "options": {
            "diversity": ["spatial_attention", "channel_attention"],
            "diversity_weight": 1.0,
        }
    },
)
