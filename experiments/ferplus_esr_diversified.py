"""FER+ by nine branches with attention that are kept from looking at the same places and channels.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381): gamma 10 and weight 1, as there, on the last
gates of each branch.
Command: python -m fer_keras.train --exp ferplus_esr_diversified
"""

from fer_keras.config import based_on, deviations_of

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
deviations = deviations_of("ferplus_esr")
