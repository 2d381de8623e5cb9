"""Valence and arousal of AffectNet by two neurons on each branch of a trained ESR-9; for a GPU.

Source: Siqueira et al. 2020 (AAAI), section 4.4: RMSE 0.36 and 0.33 on the validation split. Starts
from `affectnet_esr`, which is trained first where there is no run of it; all but the new neurons is
frozen. What differs: all branches at once, four epochs in place of two for each branch, and faces
without a rating count for nothing.
Command: python -m fer_keras.train --exp affectnet_esr_valence_arousal
"""

from fer_keras.config import GrowthConfig, MethodConfig, based_on

experiment = based_on(
    "affectnet_esr",
    name="affectnet_esr_valence_arousal",
    network={"options": {"valence_arousal": True}, "weights": "affectnet_esr"},
    method=MethodConfig("valence_arousal"),
    training={
        "epochs": 4,
        "learning_rate": 0.01,
        "layer_rates": {"*": 0.0, "*_valence_arousal": 1.0},
        "schedule": "constant",
        "decay_rate": 0.1,
        "select_by": "val_loss",
    },
    growth=GrowthConfig(),
)
