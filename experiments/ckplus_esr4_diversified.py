"""CK+ in eight classes by a diversified ESR-4, in ten subject-disjoint folds.

Source: Siqueira et al. 2020 (AAAI), section 4.1: 89.4 ± 2.2 % in ten folds by subject, with the
base and the old branches frozen as branches are added (their level 3). The diversity is that of
Heidari and Iosifidis 2022 (arXiv:2210.09381), who give no figure for CK+.
Command: python -m fer_keras.train --exp ckplus_esr4_diversified
"""

from fer_keras.config import based_on, deviations_of

experiment = based_on(
    "ckplus_esr4",
    name="ckplus_esr4_diversified",
    network={"options": {"attention": True}},
    method={
        "options": {
            "diversity": ["spatial_attention", "channel_attention"],
            "diversity_weight": 1.0,
        }
    },
)
deviations = deviations_of("ckplus_esr4")
