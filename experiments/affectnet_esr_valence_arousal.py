"""Valence and arousal of AffectNet by two neurons on each branch of a trained ESR-9; for a GPU.

Source: Siqueira et al. 2020 (AAAI), section 4.4: RMSE 0.36 and 0.33 on the validation split. Starts
from `affectnet_esr`, which is trained first where there is no run of it; all but the new neurons is
frozen. At most 5000 pictures of each quadrant of the plane.
Command: python -m fer_keras.train --exp affectnet_esr_valence_arousal
"""

from fer_keras.config import Deviation, GrowthConfig, MethodConfig, based_on, deviations_of

experiment = based_on(
    "affectnet_esr",
    name="affectnet_esr_valence_arousal",
    dataset={"per_class": 0, "per_quadrant": 5000},
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
deviations = (
    *deviations_of("affectnet_esr"),
    Deviation(
        "branches",
        "one after the other, two epochs each, with new pictures",
        "all at once, four epochs",
        "the new neurons do not see each other: only the pictures differ",
    ),
)
