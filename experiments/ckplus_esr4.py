"""CK+ in eight classes by ESR-4, grown on a frozen base, in ten subject-disjoint folds.

Source: Siqueira et al. 2020 (AAAI), section 4.1: 89.4 ± 2.2 % in ten folds by subject, with the
base and the old branches frozen as branches are added (their level 3).
Command: python -m fer_keras.train --exp ckplus_esr4
"""

from fer_keras.config import (
    DatasetConfig,
    Deviation,
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
deviations = (
    Deviation(
        "epochs",
        "2000, then 1000 a branch, halved every 250",
        "200, then 100, halved every 25",
        "ten folds on two cores",
    ),
    Deviation(
        "folds of a stage",
        "one is left out for each branch",
        "all but two are trained on at every stage",
        "one for the choice of the epoch and one for the test are enough",
    ),
    Deviation(
        "people",
        "dealt in sorted order into the folds",
        "folds with like shares of the classes",
        "some classes have 18 sequences; 28 of 118 people fall into the same fold",
    ),
    Deviation(
        "neutral picture",
        "the fourth from the end of a sequence",
        "the first",
        "the fourth from the end shows the expression already",
    ),
    Deviation(
        "scaling",
        "mean and deviation of all pictures, those of the test among them",
        "0..1",
        "nothing of the test may be known",
    ),
    Deviation(
        "augmentation",
        "jitter 0.5, 30 degrees, shift 0.1, scale to 1.25",
        "`standard`",
        "chosen before theirs was there; --set augmentation=esr",
    ),
)
