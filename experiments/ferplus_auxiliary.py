"""FER+ by the votes, with FER2013's own labels of the same pictures beside them.

Source: ours (`fer_keras.methods.auxiliary_labels`). To be compared with `ferplus_cel`, which is the
same without FER2013's labels: do they help where the votes say little, with disgust and contempt?
Command: python -m fer_keras.train --exp ferplus_auxiliary
"""

from fer_keras.config import MethodConfig, based_on

experiment = based_on(
    "ferplus_cel",
    name="ferplus_auxiliary",
    method=MethodConfig("auxiliary_labels", {"dataset": "fer2013", "weight": 0.5}),
)
