"""A sample of 16,081 frontal pictures of CTBC by ViT_SE, leaving out one subject after the other.

Source: as for `ctbc_vit_se`; the public program states this number of pictures at 224 pixels, and
not how they were drawn. Here they are spread evenly over people, expressions and time.
Command: python -m fer_keras.train --exp ctbc_vit_se_sampled
"""

from fer_keras.config import based_on

experiment = based_on("ctbc_vit_se", name="ctbc_vit_se_sampled", dataset={"sample": 16081})
