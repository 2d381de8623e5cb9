"""FER+ by nine branches on a common base (ESR-9), each with its own cross-entropy.

Source: Siqueira et al. 2020 (AAAI), section 4.3: 87.15 % on the test split after pre-training on
AffectNet. What differs: no pre-training; all branches are trained at once and not added one after
the other; one learning rate for all layers (the source has 0.1 for the base and the first branch
and 0.02 for the others, and here nine gradients meet in the base); 100 epochs in place of 100 and
60 for each later branch; `standard` augmentation, whose warps are smaller than the source's.
Command: python -m fer_keras.train --exp ferplus_esr
"""

from fer_keras.config import (
    DatasetConfig,
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
