"""RAF-DB by a diversified ESR-9 that comes from AffectNet; for a GPU.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381), 89.99 % on the test split; the recipe for
fine-tuning is that of Siqueira et al. 2020 (AAAI) for FER+. Starts from
`affectnet_esr_diversified`, which is trained first where there is no run of it; classes are matched
by their names. Branch after branch joins the loss: base and first branch at 0.1, the others at
0.02, times 0.75 every ten epochs, 100 epochs and 60 for each later branch. For another start, or
none: --set network.weights=PATH (or nothing after the equals sign).
Command: python -m fer_keras.train --exp rafdb_esr_diversified
"""

from fer_keras.config import based_on

experiment = based_on(
    "rafdb_esr",
    name="rafdb_esr_diversified",
    network={"options": {"attention": True}, "weights": "affectnet_esr_diversified"},
    method={
        "options": {
            "diversity": ["spatial_attention", "channel_attention"],
            "diversity_weight": 1.0,
        }
    },
)
