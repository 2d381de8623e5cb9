"""FER+ by a diversified ESR-9 that comes from AffectNet; for a GPU.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381), 89.34 % on the test split; the recipe for
fine-tuning is that of Siqueira et al. 2020 (AAAI) for FER+. Starts from
`affectnet_esr_diversified`, which is trained first where there is no run of it; classes are matched
by their names. Rates and epochs are those of `ferplus_esr_transfer`. For another start, or none:
--set network.weights=PATH (or nothing after the equals sign).
Command: python -m fer_keras.train --exp ferplus_esr_transfer_diversified
"""

from fer_keras.config import based_on, deviations_of

experiment = based_on(
    "ferplus_esr_transfer",
    name="ferplus_esr_transfer_diversified",
    network={"options": {"attention": True}, "weights": "affectnet_esr_diversified"},
    method={
        "options": {
            "diversity": ["spatial_attention", "channel_attention"],
            "diversity_weight": 1.0,
        }
    },
)
deviations = deviations_of("ferplus_esr_transfer")
