"""Cards of models in other projects' packages: what their numbers mean."""

from pathlib import Path

from fer_keras.common.errors import ModelFileError, did_you_mean
from fer_keras.runtime.peer_card import PeerCard, read_card

_CARDS = Path(__file__).parent


def shipped_card(name: str) -> PeerCard:
    """A card of `fer_keras/loading/cards`.

    Args:
        name: Its file name without suffix.

    Returns:
        The card.

    Raises:
        ModelFileError: There is none of this name.
    """
    known = shipped_cards()
    if name not in known:
        raise ModelFileError(
            f"No card {name!r} is shipped. {did_you_mean(name, known)} A card of your own: the "
            "path of its .json file."
        )
    return read_card(_CARDS / f"{name}.json")


def shipped_cards() -> list[str]:
    """Names of the cards of `fer_keras/loading/cards`."""
    return sorted(path.stem for path in _CARDS.glob("*.json"))
