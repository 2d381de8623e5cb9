"""FER+ by MA-Net: a branch for the four quarters of the face and one for many scales.

Source: Zhao et al. 2021 (IEEE TIP), whose recipe for RAF-DB this is, as they give none for FER+.
What differs: no pre-training on MS-Celeb-1M; `standard` augmentation in place of random crops
resized to 224 pixels; faces of 48 pixels enlarged to 224. The source's coupled weight decay of 1e-4
acts, with momentum 0.9, as ten times as much does here, and on all parameters.
Command: python -m fer_keras.train --exp ferplus_manet
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ferplus_manet",
    dataset=DatasetConfig(name="ferplus", label_rule="majority", image_size=224, channels=3),
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
