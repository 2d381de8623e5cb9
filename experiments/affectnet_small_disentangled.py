"""A tenth of AffectNet by the difference of embeddings that an emotion encoder gives: two stages.

Source: the public program jerry940100/Facial-Expression-Recognition, "disentangled difference of
embeddings": 38.04 % on AffectNet's validation pictures (chance: 12.5). The frozen encoder is that
of `affectnet_small_emotion_encoder`, of the newest finished run with the same seed in `runs`, which
is trained first where there is none. The fair controls are that run itself and, on the same
encoder, --set network.options.reads=face and --set network.options.hidden=[]; all of them in one
table: python -m fer_keras.study embeddings
Command: python -m fer_keras.train --exp affectnet_small_disentangled
"""

from fer_keras.config import based_on

experiment = based_on(
    "affectnet_small_difference",
    name="affectnet_small_disentangled",
    network={"options": {"encoder": "affectnet_small_emotion_encoder"}},
)
