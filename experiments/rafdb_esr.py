"""RAF-DB by an ESR-9 that comes from AffectNet, fine-tuned branch after branch; for a GPU.

Source: the recipe of Siqueira et al. 2020 (AAAI) for FER+; they give no figure for RAF-DB. Starts
from `affectnet_esr`, which is trained first where there is no run of it; classes are matched by
their names. Branch after branch joins the loss: base and first branch at 0.1, the others at 0.02,
times 0.75 every ten epochs, 100 epochs and 60 for each later branch. For another start, or none:
--set network.weights=PATH (or nothing after the equals sign).
Command: python -m fer_keras.train --exp rafdb_esr
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    GrowthConfig,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="rafdb_esr",
    dataset=DatasetConfig(name="rafdb", image_size=96, channels=3),
    augmentation="standard",
    network=NetworkConfig("esr", {"num_branches": 9}, weights="affectnet_esr"),
    method=MethodConfig("branch_ensemble"),
    training=TrainingConfig(
        epochs=60,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.1,
        layer_rates={"branch*": 0.2, "branch1_*": 1.0},
        nesterov=False,
        schedule="step",
        decay_epochs=10,
        decay_rate=0.75,
        warmup_epochs=0.0,
        weight_decay=0.0,
    ),
    growth=GrowthConfig(first=1, first_epochs=100),
)
