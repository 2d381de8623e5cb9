"""RAF-DB by a diversified ESR-9 that comes from AffectNet; for a GPU.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381), 89.99 % on the test split; the recipe for
fine-tuning is that of Siqueira et al. 2020 (AAAI) for FER+. Starts from
`affectnet_esr_diversified`, which is trained first where there is no run of it; classes are matched
by their names. Branch after branch joins the loss: base and first branch at 0.1, the others at
0.02, times 0.75 every ten epochs, 100 epochs and 60 for each later branch. For another start, or
none: --set network.weights=PATH (or nothing after the equals sign).
Command: python -m fer_keras.train --exp rafdb_esr_diversified
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
    name="rafdb_esr_diversified",
    dataset=DatasetConfig(name="rafdb", image_size=96, channels=3),
    augmentation="standard",
    network=NetworkConfig(
        "esr", {"num_branches": 9, "attention": True}, weights="affectnet_esr_diversified"
    ),
    method=MethodConfig(
        "branch_ensemble",
        {"diversity": ["spatial_attention", "channel_attention"], "diversity_weight": 1.0},
    ),
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
