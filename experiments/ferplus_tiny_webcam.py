"""`ferplus_tiny_labels`, trained on with pictures harmed in known ways.

Source: ours, as `ferplus_student_webcam`: half the pictures are mild, the others harmed
(`camera_half`), and half of the weights of its start stays in the mean (Wortsman et al., CVPR
2022). Training pictures whose exact pixels also occur in PublicTest are left out.
Command: python -m fer_keras.train --exp ferplus_tiny_webcam
Cost: 24 epochs, 38 minutes on one of two CPU cores (AVX2), after those of ferplus_tiny_labels.
Result: 0.8556, balanced 0.6194, on PublicTest = validation, majority label (n 3,199, seed 0, last
epoch); 0.8571 and 0.6346 without its start.
"""

from fer_keras.config import based_on

experiment = based_on(
    "ferplus_tiny_labels",
    name="ferplus_tiny_webcam",
    augmentation="camera_half",
    network={"weights": "ferplus_tiny_labels", "keep_start": 0.5},
    training={"epochs": 24, "learning_rate": 0.002, "keep": "last"},
)
