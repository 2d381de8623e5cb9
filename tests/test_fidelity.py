"""docs/fidelity.md says what the files say, and no experiment hides a deviation in its prose."""

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.config import Deviation, deviations_of, list_experiments, load_experiment

ROOT = Path(__file__).parents[1]
NAMES = list(list_experiments())


def generator() -> Any:
    path = ROOT / "docs" / "fidelity_page.py"
    spec = importlib.util.spec_from_file_location("fidelity_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date() -> None:
    module = generator()
    assert module.PAGE.read_text("utf-8") == module.page(), (
        "Mend: python docs/fidelity_page.py --write"
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_declares_what_differs(name: str) -> None:
    docstring = (
        ast.get_docstring(ast.parse((ROOT / "experiments" / f"{name}.py").read_text())) or ""
    )
    assert "What differs" not in docstring, "declare it: deviations = (Deviation(...), ...)"
    for deviation in deviations_of(name):
        assert isinstance(deviation, Deviation)
        for text in vars(deviation).values():
            assert text
            assert not re.search(r"[|\n]", text), "a cell of a table"
    parts = [deviation.part for deviation in deviations_of(name)]
    assert len(parts) == len(set(parts))


def test_an_unknown_experiment_is_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown experiment 'ferplus_es'"):
        deviations_of("ferplus_es")


def test_recipes_that_claim_to_be_the_sources() -> None:
    # ESR's fine-tuning: 0.1 and 0.1, then 0.02 for what is there and 0.1 for the new branch.
    for name in ("ferplus_esr_transfer", "rafdb_esr", "ferplus_esr_transfer_diversified"):
        experiment = load_experiment(name)
        assert (experiment.training.learning_rate, experiment.growth.old_rate) == (0.1, 0.2)
        assert not experiment.training.layer_rates
        assert experiment.dataset.per_class == 5000
    for name, batch_size, per_class, normalisation in (
        ("ferplus_manet_diversified", 32, 5000, "none"),
        ("affectnet_manet_diversified", 128, 5000, "none"),
        ("rafdb_manet_diversified", 128, 0, "imagenet"),
    ):
        experiment = load_experiment(name)
        options = experiment.network.options
        assert options["second_chain"] == "up"
        assert options.get("normalisation", "none") == normalisation
        assert (experiment.training.batch_size, experiment.dataset.per_class) == (
            batch_size,
            per_class,
        )
    dataset = load_experiment("affectnet_esr_valence_arousal").dataset
    assert (dataset.per_class, dataset.per_quadrant) == (0, 5000)
    for name in ("rafdb_ddamfn_pp", "affectnet7_ddamfn_pp", "affectnet8_ddamfn_pp"):
        assert load_experiment(name).training.sam_statistics == "twice"
