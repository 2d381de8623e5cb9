"""CK+ in eight classes by ESR-4, grown on a frozen base, in ten subject-disjoint folds.

Source: Siqueira et al. 2020 (AAAI), section 4.1: 89.4 ± 2.2 % in ten folds by subject, with the
base and the old branches frozen as branches are added (their level 3). What differs: a tenth of the
epochs (2000, then 1000 a branch, halved every 250); all folds but two are trained on at every
stage, where the source leaves out one fold for each branch; scaled to 0..1, not by the mean of all
pictures, those of the test among them; `standard` augmentation.
Command: python -m fer_keras.train --exp ckplus_esr4
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
    name="ckplus_esr4",
    dataset=DatasetConfig(name="ckplus", image_size=96, split="folds", folds=10, fold=-1),
    augmentation="standard",
    network=NetworkConfig("esr", {"variant": "ckplus", "num_branches": 4}),
    method=MethodConfig("branch_ensemble"),
    training=TrainingConfig(
        epochs=100,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.1,
        nesterov=False,
        schedule="step",
        decay_epochs=25,
        decay_rate=0.5,
        warmup_epochs=0.0,
        weight_decay=0.0,
    ),
    growth=GrowthConfig(first=1, first_epochs=200, old_rate=0.0),
)
