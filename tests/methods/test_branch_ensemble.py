"""The loss of every branch, and the diversity of the branches, against NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from fer_keras.common.errors import ConfigError
from fer_keras.methods import build_method
from fer_keras.methods.diversity import diversity_loss, similarities

from .conftest import NAMES

RNG = np.random.default_rng(0)
TARGETS = np.array([[1, 0, 0, 0], [0.1, 0.2, 0.3, 0.4], [0, 0.5, 0.5, 0]], np.float32)
OUTPUTS = {
    "logits": RNG.normal(size=(3, 4)).astype(np.float32),
    "branch_logits": RNG.normal(size=(3, 3, 4)).astype(np.float32),
    "branch_features": RNG.uniform(0.1, 1, (3, 3, 6)).astype(np.float32),
    "quadrant_maps": RNG.uniform(0.1, 1, (3, 4, 2, 2)).astype(np.float32),
    "vote": np.array([[1, 0, 0, 0], [0, 0, 0, 1], [0.3, 0, 0, 0.7]], np.float32),
}


def branched(num_branches=3):
    """A network with branches, four quarters and a vote."""
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    quarters = keras.layers.Reshape((4, 4, 4))(x)
    flat = keras.layers.Flatten()(x)
    features = [keras.layers.Dense(6, "relu")(flat) for _ in range(num_branches)]
    logits = [keras.layers.Dense(len(NAMES))(feature) for feature in features]
    mean = keras.layers.Average()(logits)
    outputs = {
        "logits": mean,
        "branch_logits": keras.layers.Reshape((num_branches, 4))(
            keras.layers.Concatenate()(logits)
        ),
        "branch_features": keras.layers.Reshape((num_branches, 6))(
            keras.layers.Concatenate()(features)
        ),
        "quadrant_maps": quarters,
        "vote": keras.layers.Softmax()(mean),
    }
    return keras.Model(image, outputs, name="branched")


def similarity_matrix(features, **options):
    return ops.mean(similarities(features, **options), axis=0)


def losses_of(training=True, **options):
    method = build_method("branch_ensemble", branched(), NAMES, **options)
    tensors = {name: ops.convert_to_tensor(value) for name, value in OUTPUTS.items()}
    return ops.convert_to_numpy(
        method.sample_losses(ops.convert_to_tensor(TARGETS), tensors, training)
    )


def by_branch():
    logits = OUTPUTS["branch_logits"].astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -(TARGETS[:, None] * log_p).sum(-1)


@pytest.mark.backends
def test_the_loss_is_the_sum_over_the_branches_and_not_their_mean():
    np.testing.assert_allclose(losses_of(), by_branch().sum(1), rtol=1e-5)


def test_weights_and_active_branches():
    found = losses_of(branch_weights=[0.6, 0.4, 0])
    np.testing.assert_allclose(found, by_branch() @ [0.6, 0.4, 0], rtol=1e-5)
    np.testing.assert_allclose(losses_of(active_branches=1), by_branch()[:, 0], rtol=1e-5)
    found = losses_of(active_branches=2, branch_weights=[2, 1, 5])
    np.testing.assert_allclose(found, by_branch() @ [2, 1, 0], rtol=1e-5)


@pytest.mark.parametrize("kind", ["logdet", "det", "direct"])
def test_diversity_is_added_once_and_only_while_training(kind):
    names = ["branch_features", "quadrant_maps"]
    options = {"diversity": names, "diversity_weight": 0.5, "diversity_kind": kind, "gamma": 2.0}
    terms = [
        float(diversity_loss(similarity_matrix(OUTPUTS[name], gamma=2.0), kind=kind))
        for name in names
    ]
    assert abs(sum(terms)) > 1e-3
    expected = by_branch().sum(1) + 0.5 * sum(terms)
    np.testing.assert_allclose(losses_of(**options), expected, rtol=1e-4)
    np.testing.assert_allclose(losses_of(False, **options), by_branch().sum(1), rtol=1e-5)


def test_only_active_branches_are_made_diverse():
    found = losses_of(diversity=["branch_features"], active_branches=2)
    term = float(diversity_loss(similarity_matrix(OUTPUTS["branch_features"][:, :2])))
    np.testing.assert_allclose(found, by_branch()[:, :2].sum(1) + term, rtol=1e-4)
    alone = losses_of(diversity=["branch_features"], active_branches=1)
    np.testing.assert_allclose(alone, by_branch()[:, 0], rtol=1e-5)


def test_training_makes_branches_different(pictures):
    x, y = pictures
    similar = {}
    for weight in (0.0, 1.0):
        keras.utils.set_random_seed(0)
        method = build_method(
            "branch_ensemble",
            branched(),
            NAMES,
            diversity=["branch_features"],
            diversity_weight=weight,
        )
        method.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=False)
        history = method.fit(x, y, batch_size=10, epochs=8, verbose=0).history
        assert np.isfinite(history["loss"]).all()
        similar[weight] = history["mean_similarity"][-1]
    assert 0 <= similar[1.0] < 0.8 * similar[0.0] <= 1


def test_metrics(pictures):
    x, y = pictures
    network = branched()
    method = build_method("branch_ensemble", network, NAMES, diversity=["quadrant_maps"])
    method.compile(optimizer="sgd", jit_compile=False)
    result = method.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    matrix = ops.convert_to_numpy(similarity_matrix(x.reshape(10, 4, 4, 4)))
    assert result["mean_similarity"] == pytest.approx((matrix.sum() - 4) / 12, rel=1e-4)
    matrices = [similarity_matrix(part.reshape(-1, 4, 4, 4)) for part in (x[:4], x[4:8], x[8:])]
    expected = np.mean([float(diversity_loss(matrix)) for matrix in matrices])
    assert result["diversity_loss"] == pytest.approx(expected, rel=1e-4)
    assert result["vote_accuracy"] == result["accuracy"]
    assert (
        "vote_accuracy"
        not in build_method(
            "branch_ensemble",
            keras.Model(network.input, {k: v for k, v in network.output.items() if k != "vote"}),
            NAMES,
        ).get_metrics_result()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"active_branches": 4}, "from 0 .all. to 3"),
        ({"branch_weights": [1, 1]}, "each of 3 branches"),
        ({"branch_weights": [0, 0, 1], "active_branches": 2}, "not all 0"),
        ({"diversity": ["embedding"]}, "needs the network output embedding"),
        ({"diversity": ["logits"]}, r"\(batch, branches, ...\)"),
        ({"diagonal": "zero_legacy"}, "has no logarithm"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError, match=message):
        build_method("branch_ensemble", branched(), NAMES, **options)


def test_a_network_without_branches_is_refused():
    image = keras.Input((8, 8, 1))
    logits = keras.layers.Dense(len(NAMES))(keras.layers.Flatten()(image))
    with pytest.raises(ConfigError, match="needs the network output branch_logits"):
        build_method("branch_ensemble", keras.Model(image, {"logits": logits}), NAMES)
