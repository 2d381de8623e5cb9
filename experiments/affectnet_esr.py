"""AffectNet in eight classes by ESR-9, grown one branch after the other; for a GPU.

Source: Siqueira et al. 2020 (AAAI), section 4.2: 59.3 % on the validation split, on which epochs
were chosen too. 50 epochs of the first branch, 20 of each later one, from the best checkpoint
before it; the new branch at 0.1, base and old branches at 0.01, both halved every ten epochs; at
most 5000 pictures of each class, drawn anew for each stage.
Command: python -m fer_keras.train --exp affectnet_esr
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
    name="affectnet_esr",
    dataset=DatasetConfig(name="affectnet", image_size=96, channels=3, per_class=5000),
    augmentation="esr",
    network=NetworkConfig("esr", {"num_branches": 9}),
    method=MethodConfig("branch_ensemble"),
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
deviations = (
    Deviation(
        "crop of a face",
        "rows and columns of its box exchanged",
        "the box as AffectNet states it",
        "an oversight, harmless only for boxes near the diagonal",
    ),
    Deviation(
        "batch norm of the branches at validation",
        "statistics of the batch",
        "moving statistics",
        "their list of branches is not part of the module, so eval() never reaches it",
    ),
    Deviation(
        "scheduler",
        "stepped before each epoch, PyTorch 1.0",
        "the rates of the epochs as that version has them",
        "later versions would drop one epoch early",
    ),
    Deviation("enlarging", "linear", "cubic", "dataset.enlarge=linear is theirs; ours blurs less"),
)
