"""The loss with logit adjustment: a network that learns the faces and less of the class prior.

Menon et al., "Long-tail learning via logit adjustment" (ICLR 2021), section 4.2: while training,
`tau * log prior` is added to the logits, so the network need not say it itself. What it answers is
then for the prior to the power of 1 - tau: for equal shares with tau 1.
"""

from typing import Any

import numpy as np
from keras import ops

from fer_keras.common.errors import ConfigError
from fer_keras.data.samples import Samples


class LogitAdjustment:
    """What is added to the logits while training.

    Args:
        tau: 0 adds nothing, 1 takes the whole prior out of the answers.
    """

    def __init__(self, tau: float) -> None:
        self._tau = tau
        # NumPy, not a variable: the same pictures give it again.
        self._added: Any = None

    def prepare(self, samples: Samples) -> None:
        """Counts how frequent the classes are.

        Args:
            samples: What will be trained on.

        Raises:
            ConfigError: A class has no target, so that its logarithm is not known.
        """
        if not self._tau:
            return
        shares = np.asarray(samples.targets, np.float64).mean(axis=0)
        absent = [n for n, share in zip(samples.class_names, shares, strict=True) if share == 0]
        if absent:
            raise ConfigError(
                f"method.options.prior_tau: expected targets of every class. Received none of "
                f"{', '.join(absent)}. Set it to 0."
            )
        self._added = (self._tau * np.log(shares)).astype(np.float32)

    def training_logits(self, logits: Any) -> Any:
        """The logits that the loss gets while training.

        Args:
            logits: `(batch, classes)`.

        Returns:
            `(batch, classes)` float32.

        Raises:
            ConfigError: `prepare` was not called.
        """
        logits = ops.cast(logits, "float32")
        if not self._tau:
            return logits
        if self._added is None:
            raise ConfigError("method.options.prior_tau: call method.prepare(samples) first.")
        return logits + self._added
