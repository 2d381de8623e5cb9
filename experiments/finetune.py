"""A trained network, adapted to a folder of your own pictures.

Source: ours. The network, its options and its input size are those of `network.weights`: a run
folder, a `.keras` file, an export or a shipped model. Classes are matched by name; what is new to
the network starts fresh. Three epochs train the classifier alone, then everything at a small rate,
the classifier ten times as fast.
Command: python -m fer_keras.train --exp finetune --set dataset.source=MY_FOLDER
--set network.weights=runs/NAME
Cost: 15 epochs on 240 pictures, 20 seconds on two busy CPU cores.
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="finetune",
    dataset=DatasetConfig(name="folder"),
    augmentation="light",
    network=NetworkConfig("as_weights", weights="ferplus"),
    training=TrainingConfig(
        epochs=15,
        batch_size=32,
        head_epochs=3,
        learning_rate=0.002,
        layer_rates={"*": 0.1, "*logits": 1.0},
        warmup_epochs=0.5,
    ),
)
