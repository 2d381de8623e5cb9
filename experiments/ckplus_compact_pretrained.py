"""CK+ in seven classes by `compact` that starts from FER2013, in ten subject-disjoint folds.

Source: ours; the source of the comparison asks for training from scratch against transfer from
faces, without figures. The start is `cross_entropy` (FER2013), trained first where there is no
finished run of it; the classifier's rows are matched by name, and contempt, which FER2013 lacks,
makes it start afresh. The recipe is that of `ckplus_compact` with a third of the learning rate.
Without the data sets both stages train on the same built-in faces, and the first adds only epochs.
Command: python -m fer_keras.train --exp ckplus_compact_pretrained
Compare: python -m fer_keras.study settings RUN RUN
"""

from fer_keras.config import based_on

experiment = based_on(
    "ckplus_compact",
    name="ckplus_compact_pretrained",
    network={"weights": "cross_entropy"},
    training={"learning_rate": 0.001},
)
