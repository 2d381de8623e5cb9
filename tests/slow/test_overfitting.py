"""Every network learns 32 pictures by heart. Run by hand: `python -m pytest tests/slow`."""

import pytest
from models.test_models import overfits_32_pictures

from fer_keras.models import list_networks


# A random encoder that averages over the picture cannot see where it is bright.
@pytest.mark.parametrize("name", sorted({*list_networks()} - {"difference_of_embeddings"}))
def test_learns_32_pictures_by_heart(name: str) -> None:
    assert overfits_32_pictures(name)
