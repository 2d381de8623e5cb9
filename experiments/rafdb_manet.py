"""RAF-DB by MA-Net; for a GPU.

Source: Zhao et al. 2021 (IEEE TIP): 88.40 % on the test split, on which the epoch was chosen too.
What differs: no pre-training on MS-Celeb-1M (--set network.weights=PATH.keras starts from weights
that you have); a tenth of train chooses the epoch; `standard` augmentation in place of random
crops; weight decay as in `ferplus_manet`.
Command: python -m fer_keras.train --exp rafdb_manet
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="rafdb_manet",
    dataset=DatasetConfig(name="rafdb", image_size=224, channels=3),
    augmentation="standard",
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
