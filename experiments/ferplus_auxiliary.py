"""FER+ by the votes, with FER2013's own labels of the same pictures beside them.

Source: ours (`fer_keras.methods.auxiliary_labels`). To be compared with `ferplus_cel`, which is the
same without FER2013's labels: with them the accuracy rises and no class loses recall.
Command: python -m fer_keras.train --exp ferplus_auxiliary
Cost: 40 epochs, 43 minutes on two CPU cores that other work shared.
Result: 0.8678, balanced 0.6879, on PublicTest = validation, majority label (n 3,199, seed 0, epoch
38 of 40, chosen on it); `ferplus_cel` has 0.8540 and 0.6626.
"""

from fer_keras.config import MethodConfig, based_on

experiment = based_on(
    "ferplus_cel",
    name="ferplus_auxiliary",
    method=MethodConfig("auxiliary_labels", {"dataset": "fer2013", "weight": 0.5}),
)
