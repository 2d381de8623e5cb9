"""FER+ by five narrow branches that are kept from looking alike, for two CPU cores.

Source: Heidari and Iosifidis 2022 (arXiv:2210.09381); the size and the recipe are those of
`ferplus_esr_small`, of which only the weight of the diversity differs.
Command: python -m fer_keras.train --exp ferplus_esr_small_diversified
"""

from fer_keras.config import based_on

experiment = based_on(
    "ferplus_esr_small",
    name="ferplus_esr_small_diversified",
    method={"options": {"diversity_weight": 0.1}},
)
