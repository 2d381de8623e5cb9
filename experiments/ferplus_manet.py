"""FER+ by MA-Net: a branch for the four quarters of the face and one for many scales.

Source: Zhao et al. 2021 (IEEE TIP), whose recipe for RAF-DB this is, as they give none for FER+.
Faces of 48 pixels are enlarged to 224.
Command: python -m fer_keras.train --exp ferplus_manet
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
    name="ferplus_manet",
    dataset=DatasetConfig(name="ferplus", label_rule="majority", image_size=224, channels=3),
    augmentation="manet",
    network=NetworkConfig("manet", {"beta": 0.6}),
    method=MethodConfig("branch_ensemble", {"branch_weights": [0.6, 0.4]}),
    training=TrainingConfig(
        epochs=100,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.01,
        nesterov=False,
        schedule="step",
        decay_epochs=15,
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
        "the data are withdrawn; network.weights=FILE takes the authors' file",
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
