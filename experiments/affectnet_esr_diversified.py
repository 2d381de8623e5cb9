"""AffectNet in eight classes by ESR-9 with attention, grown and kept diverse; for a GPU.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381): 60.02 % on the validation split is the best
of their ESR and MA-Net. The stages are those of `affectnet_esr`; a new branch has to look elsewhere
than the old ones do.
Command: python -m fer_keras.train --exp affectnet_esr_diversified
"""

from fer_keras.config import based_on, deviations_of

experiment = based_on(
    "affectnet_esr",
    name="affectnet_esr_diversified",
    network={"options": {"attention": True}},
    method={
        "options": {
            "diversity": ["spatial_attention", "channel_attention"],
            "diversity_weight": 1.0,
        }
    },
)
deviations = deviations_of("affectnet_esr")
