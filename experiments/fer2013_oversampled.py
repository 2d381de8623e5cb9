"""FER2013 with disgust, its rarest class, drawn as often as 2,000 pictures would be.

Source: ours, for the question of the public baselines' write-up what oversampling disgust (436 of
28,709 training pictures) does; it states no figure. Each of the 436 is seen four to five times an
epoch, augmented anew. All else is `cross_entropy`, the run to compare it with: `python -m
fer_keras.study settings RUN RUN`. The built-in faces that stand in for a missing data set have no
rare class.
Command: python -m fer_keras.train --exp fer2013_oversampled
"""

from fer_keras.config import DatasetConfig, Experiment

experiment = Experiment(
    name="fer2013_oversampled",
    dataset=DatasetConfig(name="fer2013", oversample_to=2000),
    augmentation="standard",
)
