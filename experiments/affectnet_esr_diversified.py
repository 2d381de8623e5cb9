"""AffectNet in eight classes by ESR-9 with attention, grown and kept diverse; for a GPU.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381): 60.02 % on the validation split is the best
of their ESR and MA-Net. The stages are those of `affectnet_esr`; a new branch has to look elsewhere
than the old ones do. What differs: what `ferplus_esr_diversified` says of the diversity.
Command: python -m fer_keras.train --exp affectnet_esr_diversified
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
    name="affectnet_esr_diversified",
    dataset=DatasetConfig(name="affectnet", image_size=96, channels=3, per_class=5000),
    augmentation="standard",
    network=NetworkConfig("esr", {"num_branches": 9, "attention": True}),
    method=MethodConfig(
        "branch_ensemble",
        {"diversity": ["spatial_attention", "channel_attention"], "diversity_weight": 1.0},
    ),
    training=TrainingConfig(
        epochs=20,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.1,
        nesterov=False,
        schedule="step",
        decay_epochs=10,
        decay_rate=0.5,
        warmup_epochs=0.0,
        weight_decay=0.0,
    ),
    growth=GrowthConfig(first=1, first_epochs=50, old_rate=0.1),
)
