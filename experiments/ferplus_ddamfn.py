"""FER+ by DDAMFN with two attention heads at 112 pixels, from random weights; for a GPU.

Source: Zhang et al. 2023 (Electronics 12(17)), 90.74 % on the test split of FER+, with the recipe
of their program: SGD at 0.01, a tenth of it every 10 epochs, 80 epochs of batches of 256, the
attention loss of the program with weight 0.1.

Command: python -m fer_keras.train --exp ferplus_ddamfn
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
    name="ferplus_ddamfn",
    dataset=DatasetConfig(name="ferplus", label_rule="majority", image_size=112, channels=3),
    augmentation="ddamfn_ferplus",
    network=NetworkConfig("ddamfn", {"num_heads": 2}),
    method=MethodConfig("attention_diversity", {"weight": 0.1, "warmup_steps": 500}),
    training=TrainingConfig(
        epochs=80,
        batch_size=256,
        optimizer="sgd",
        nesterov=False,
        learning_rate=0.01,
        schedule="step",
        decay_epochs=10,
        decay_rate=0.1,
        warmup_epochs=0.0,
        weight_decay=1e-3,
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
    Deviation(
        "weight decay",
        "1e-4, part of the gradient, on all parameters",
        "1e-3, beside the gradient, not on biases and batch norm",
        "Keras' meaning; with momentum 0.9 theirs acts as ten times as much",
    ),
    Deviation(
        "choice of the epoch",
        "the split that is reported",
        "the validation split",
        "test is for the last figure",
    ),
    Deviation("enlarging", "linear", "cubic", "dataset.enlarge=linear is theirs"),
)
