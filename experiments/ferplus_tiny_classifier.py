"""The small model to ship: `ferplus_tiny_webcam` with its classifier trained once more.

Source: as `ferplus_classifier`, for the small network. What is shipped starts from the mean of the
weights of `ferplus_tiny_webcam` and of `ferplus_tiny_labels` with seed 1: docs/model-log.md.
Command: python -m fer_keras.train --exp ferplus_tiny_classifier
"""

from fer_keras.config import based_on

experiment = based_on(
    "ferplus_classifier",
    name="ferplus_tiny_classifier",
    network={"weights": "ferplus_tiny_webcam"},
)
