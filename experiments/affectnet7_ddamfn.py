"""AffectNet without contempt by DDAMFN at 112 pixels, from random weights; for a GPU.

Source: Zhang et al. 2023 (Electronics 12(17)), 67.03 % on AffectNet's validation pictures, with the
recipe of their program: Adam at 1e-4, 0.6 times that every epoch, 40 epochs of batches of 256,
classes drawn with equal chance.
AffectNet has no public test split: the validation split chooses the epoch and measures it, as in
the source, so the figure is better than one on new pictures.

Command: python -m fer_keras.train --exp affectnet7_ddamfn
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
    name="affectnet7_ddamfn",
    dataset=DatasetConfig(name="affectnet7", image_size=112, channels=3),
    augmentation="ddamfn_affectnet",
    network=NetworkConfig("ddamfn", {"num_heads": 2}),
    method=MethodConfig("attention_diversity", {"weight": 0.1, "warmup_steps": 500}),
    training=TrainingConfig(
        epochs=40,
        batch_size=256,
        optimizer="adam",
        learning_rate=1e-4,
        schedule="exponential",
        decay_rate=0.6,
        warmup_epochs=0.0,
        weight_decay=0.0,
        sampling="balanced",
    ),
)
deviations = (
    Deviation(
        "start",
        "face recognition on MS-Celeb-1M",
        "random weights",
        "the file is not shipped; network.weights=FILE takes it",
    ),
    Deviation(
        "attention loss",
        "weight 0.1 from the first step",
        "grows to it over 500 steps",
        "from random weights it is forty times the cross-entropy",
    ),
    Deviation("enlarging", "linear", "cubic", "dataset.enlarge=linear is theirs"),
)
