"""Every experiment takes a compiled step. Run by hand: `python -m pytest tests/slow`."""

from pathlib import Path

import numpy as np
import pytest
from test_train import take_a_step

from fer_keras.config import list_experiments


@pytest.mark.parametrize("name", list_experiments())
def test_every_experiment_takes_a_step(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert np.isfinite(take_a_step(name, tmp_path, monkeypatch)["nll"])
