"""CK+ by ESR-4 on the pictures and folds of its authors' program.

Source: as for `ckplus_esr4`, of which it is the stricter form: people dealt into the folds in
sorted order, the fourth frame from the end as neutral, the authors' augmentation.
Command: python -m fer_keras.train --exp ckplus_esr4_published
"""

from fer_keras.config import based_on, deviations_of

experiment = based_on(
    "ckplus_esr4",
    name="ckplus_esr4_published",
    dataset={"name": "ckplus_esr", "folds_by": "order"},
    augmentation="esr",
)
deviations = tuple(
    each
    for each in deviations_of("ckplus_esr4")
    if each.part not in ("people", "neutral picture", "augmentation")
)
