"""FER+ by nine branches on a common base (ESR-9), each with its own cross-entropy.

Source: Siqueira et al. 2020 (AAAI), section 4.3: 87.15 % on the test split after pre-training on
AffectNet.
Command: python -m fer_keras.train --exp ferplus_esr
"""

from fer_keras.config import (
    DatasetConfig,
    Deviation,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ferplus_esr",
    dataset=DatasetConfig(name="ferplus", label_rule="majority", image_size=96, channels=3),
    augmentation="standard",
    network=NetworkConfig("esr", {"num_branches": 9}),
    method=MethodConfig("branch_ensemble"),
    training=TrainingConfig(
        epochs=100,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.02,
        nesterov=False,
        schedule="step",
        decay_epochs=10,
        decay_rate=0.75,
        warmup_epochs=0.0,
        weight_decay=0.0,
    ),
)
deviations = (
    Deviation("start", "AffectNet", "random weights", "`ferplus_esr_transfer` starts from it"),
    Deviation(
        "growth",
        "branch after branch, 100 and 60 epochs",
        "all branches at once, 100 epochs",
        "the control of `ferplus_esr_transfer`",
    ),
    Deviation(
        "rates",
        "0.1 for the new branch, 0.02 for the rest",
        "0.02 for all",
        "nine gradients meet in the base",
    ),
    Deviation(
        "augmentation",
        "jitter 0.5, 30 degrees, shift 0.1, scale to 1.25",
        "`standard`",
        "chosen before theirs was there; --set augmentation=esr",
    ),
    Deviation(
        "classes", "at most 5000 pictures of each", "all pictures", "--set dataset.per_class=5000"
    ),
)
