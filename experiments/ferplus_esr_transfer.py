"""FER+ by an ESR-9 that comes from AffectNet, fine-tuned branch after branch; for a GPU.

Source: Siqueira et al. 2020 (AAAI), section 4.3: 87.15 % on the test split. Starts from
`affectnet_esr`, which is trained first where there is no run of it; classes are matched by their
names. First base and first branch at 0.1 for 100 epochs; then branch after branch joins the loss at
0.1, with base and older branches at 0.02, 60 epochs each; times 0.75 every ten epochs; at most 5000
pictures of each class. For another start, or none: --set network.weights=PATH (or nothing after the
equals sign).
Command: python -m fer_keras.train --exp ferplus_esr_transfer
"""

from fer_keras.config import Deviation, based_on, deviations_of

experiment = based_on(
    "ferplus_esr",
    name="ferplus_esr_transfer",
    dataset={"per_class": 5000},
    augmentation="esr",
    network={"weights": "affectnet_esr"},
    training={"epochs": 60, "learning_rate": 0.1},
    growth={"first": 1, "first_epochs": 100, "old_rate": 0.2},
)
deviations = (
    *deviations_of("affectnet_esr"),
    Deviation(
        "label file",
        "label.csv of FER2013Train, Valid and Test",
        "fer2013new.csv",
        "it is what is published; its votes differ in 1,602 pictures",
    ),
)
