"""RAF-DB by a diversified MA-Net; for a GPU.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381): gamma 10 and weight 1 on the maps of the four
quarters, their pooled features and those of the two branches. What differs: `-log det` in place of
`-det`, vectors of length 1 (without which the similarity of 512 channels is 0 from the start), and
what `rafdb_manet` says of itself. 89.99 % on the test split is the best of their ESR and MA-Net.
Command: python -m fer_keras.train --exp rafdb_manet_diversified
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="rafdb_manet_diversified",
    dataset=DatasetConfig(name="rafdb", image_size=224, channels=3),
    augmentation="standard",
    network=NetworkConfig("manet", {"beta": 0.6}),
    method=MethodConfig(
        "branch_ensemble",
        {
            "branch_weights": [0.6, 0.4],
            "diversity": ["quadrant_maps", "quadrant_features", "branch_features"],
            "diversity_weight": 1.0,
        },
    ),
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
