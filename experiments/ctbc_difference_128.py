"""CTBC at 128 pixels by the difference of embeddings: experiment B of its authors.

Source: the public program jerry940100/Facial-Expression-Recognition compares the embedding of the
face alone with the difference beside it, on all pictures of camera 2 at 128 pixels; its table is an
image. `ctbc_face_128` is the face alone. One of the ten subjects is left out after the other.
Command: python -m fer_keras.train --exp ctbc_difference_128
"""

from fer_keras.config import based_on

experiment = based_on("ctbc_difference", name="ctbc_difference_128", dataset={"image_size": 128})
