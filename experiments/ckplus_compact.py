"""CK+ in seven classes by `compact`, in ten subject-disjoint folds, from scratch.

Source: ours. The from-scratch half of a comparison: `ckplus_compact_pretrained` has the same recipe
and starts from faces.
Command: python -m fer_keras.train --exp ckplus_compact
"""

from fer_keras.config import DatasetConfig, Experiment, TrainingConfig

experiment = Experiment(
    name="ckplus_compact",
    dataset=DatasetConfig(name="ckplus7", split="folds", folds=10, fold=-1),
    augmentation="standard",
    training=TrainingConfig(epochs=40, batch_size=32),
)
