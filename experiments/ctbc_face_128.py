"""CTBC at 128 pixels by the embedding of the face alone: the baseline of `ctbc_difference_128`.

Source: as there. The same frozen encoder and head, which reads no neutral face.
Command: python -m fer_keras.train --exp ctbc_face_128
"""

from fer_keras.config import based_on

experiment = based_on(
    "ctbc_difference_128",
    name="ctbc_face_128",
    network={"options": {"reads": "face"}},
)
