"""Training towards word vectors: the nine mistakes of the write-up, the losses, the queries.

The tests `test_1_...` to `test_9_...` guard what the docstring of `methods/word2vec.py` lists.
"""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.labels import EMOTIONS
from fer_keras.methods import build_method
from fer_keras.methods.word2vec import LOSSES, nearest_words, words_of_classes
from fer_keras.methods.word_vectors import load_word_vectors
from fer_keras.models.layers import ClassVectors

from .conftest import NAMES, build_tiny_network

WORDS = ("angry", "fear", "happy", "surprise")
C = len(NAMES)


def word2vec(network=None, names=NAMES, **options):
    return build_method("word2vec", network or build_tiny_network(len(names)), names, **options)


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def unit_words(words=WORDS):
    vectors = load_word_vectors(None, words)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def losses_of(method, y, cosines, scale=16.0):
    tensor = keras.ops.convert_to_tensor
    outputs = {
        "cosines": tensor(np.asarray(cosines, np.float32)),
        "logits": tensor(np.float32(scale) * np.asarray(cosines, np.float32)),
    }
    return to_numpy(method.sample_losses(tensor(np.asarray(y, np.float32)), outputs, True))


def answer_with(method, vector, length=3.0):
    """Makes the network answer every picture with the direction of `vector`."""
    projection = method.network.get_layer("word_projection")
    projection.kernel.assign(np.zeros(projection.kernel.shape, np.float32))
    projection.bias.assign(length * np.asarray(vector, np.float32))


def evaluate(method, x, y, batch_size=4):
    if not method.compiled:
        method.compile(optimizer="sgd", jit_compile=False)
    return method.evaluate(x, y, batch_size=batch_size, verbose=0, return_dict=True)


# ---- the nine mistakes --------------------------------------------------------------------------


def test_1_loss_is_0_aligned_1_orthogonal_2_opposite(pictures):
    x, _ = pictures
    method = word2vec()
    target = method.class_vectors[2]
    y = np.tile(np.eye(C, dtype=np.float32)[2], (len(x), 1))
    orthogonal = np.random.default_rng(0).normal(size=target.shape)
    orthogonal -= orthogonal @ target * target
    for vector, expected in ((target, 0), (orthogonal, 1), (-target, 2)):
        answer_with(method, vector)
        assert evaluate(method, x, y)["loss"] == pytest.approx(expected, abs=1e-5)


def test_1_training_ends_aligned_and_not_orthogonal(pictures):
    x, _ = pictures
    method = word2vec()
    y = np.tile(np.eye(C, dtype=np.float32)[1], (len(x), 1))
    method.compile(optimizer=keras.optimizers.Adam(0.05), jit_compile=False)
    method.fit(x, y, epochs=30, verbose=0)
    assert method.predict(x, verbose=0)["cosines"][:, 1].min() > 0.95


def test_1_the_absolute_value_costs_a_match_as_much_as_its_opposite():
    method = word2vec(loss="absolute_cosine")
    cosines = np.diag([1.0, -1.0, 0.0, 0.5])
    np.testing.assert_allclose(losses_of(method, np.eye(C), cosines), [1, 1, 0, 0.5], atol=1e-6)


@pytest.mark.parametrize("loss", ["cosine", "cosine_softmax"])
def test_mixed_targets_mix_the_losses(loss):
    method = word2vec(loss=loss)
    method.check_mixtures()
    cosines = np.random.default_rng(0).uniform(-1, 1, (1, C)).repeat(3, 0)
    one, other = np.eye(C)[0], np.array([0, 0.5, 0.5, 0])
    losses = losses_of(method, np.stack([one, other, 0.3 * one + 0.7 * other]), cosines)
    assert losses[2] == pytest.approx(0.3 * losses[0] + 0.7 * losses[1], rel=1e-5)


def test_a_mixed_target_is_a_mixed_vector():
    method = word2vec(loss="cosine")
    mixed = 0.4 * np.eye(C)[1] + 0.6 * np.eye(C)[3]
    vector = mixed @ method.class_vectors
    for direction in (vector, method.class_vectors[1], method.class_vectors[3]):
        unit = direction / np.linalg.norm(direction)
        loss = losses_of(method, mixed[None], (method.class_vectors @ unit)[None])[0]
        assert loss == pytest.approx(1 - unit @ vector, abs=1e-5)
    # Nothing is nearer than the direction of the mixture.
    assert 1 - np.linalg.norm(vector) < loss


def test_valence_and_arousal_place_the_classes():
    method = word2vec(valence_arousal=True)
    vectors = method.class_vectors
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    cosines = dict(zip(NAMES, vectors[0] @ vectors.T, strict=True))
    assert cosines["fear"] > 0.9 > 0 > cosines["happiness"] - 0.2
    eight = build_method("word2vec", build_tiny_network(8), EMOTIONS, valence_arousal=True)
    np.testing.assert_allclose(eight.class_vectors[0], [0, 0, 1])
    with pytest.raises(ConfigError, match="Expected one of centred"):
        word2vec(valence_arousal=True, centred=True)
    with pytest.raises(ConfigError, match="boredom"):
        word2vec(
            build_tiny_network(2), ("boredom", "fear"), words={"boredom": "bored"},
            valence_arousal=True,
        )  # fmt: skip


def test_2_every_sample_counts_once(pictures):
    x, _ = pictures
    x = x[:7]
    method = word2vec()
    cosines = method.predict(x, verbose=0)["cosines"]
    best = cosines.argmax(-1)
    right = np.eye(C, dtype=np.float32)[best]
    wrong = np.eye(C, dtype=np.float32)[(best + 1) % C]
    all_right = evaluate(method, x, right, batch_size=3)
    # Batches of 3, 3 and 1: with every sample right the accuracy is all of 1.
    assert all_right["accuracy"] == 1
    assert all_right["loss"] == pytest.approx((1 - (right * cosines).sum(-1)).mean(), abs=1e-5)
    for position in range(7):
        y = right.copy()
        y[position] = wrong[position]
        result = evaluate(method, x, y, batch_size=3)
        assert result["accuracy"] == pytest.approx(6 / 7)
        expected = (1 - (y * cosines).sum(-1)).mean()
        assert result["loss"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.backends
def test_3_one_hot_and_distributions_find_their_vectors():
    method = word2vec()
    cosines = np.random.default_rng(0).uniform(-1, 1, size=(C, C))
    losses = losses_of(method, np.eye(C), cosines)
    np.testing.assert_allclose(losses, 1 - np.diag(cosines), rtol=1e-5)
    votes = np.array([[0.5, 0.3, 0.2, 0], [0, 0, 0.1, 0.9]])
    losses = losses_of(method, votes, cosines[:2])
    np.testing.assert_allclose(losses, (votes * (1 - cosines[:2])).sum(-1), rtol=1e-5)


def test_3_integer_labels_are_refused(pictures):
    x, y = pictures
    with pytest.raises(ConfigError, match="to_categorical"):
        evaluate(word2vec(), x, y.argmax(-1))


@pytest.mark.parametrize("index", range(C))
def test_4_every_class_is_reachable(pictures, index):
    x, _ = pictures
    method = word2vec()
    answer_with(method, method.class_vectors[index])
    assert (method.predict(x, verbose=0)["logits"].argmax(-1) == index).all()
    y = np.tile(np.eye(C, dtype=np.float32)[index], (len(x), 1))
    assert evaluate(method, x, y)["accuracy"] == 1


@pytest.mark.parametrize("loss", LOSSES)
def test_4_gradients_flow(pictures, loss):
    x, y = pictures
    method = word2vec(loss=loss)
    before = [to_numpy(v.value).copy() for v in method.trainable_variables]
    table = to_numpy(method.network.get_layer("cosines").vectors.value).copy()
    method.compile(optimizer=keras.optimizers.SGD(0.5), jit_compile=False)
    method.fit(x, y, verbose=0)
    for variable, old in zip(method.trainable_variables, before, strict=True):
        assert np.abs(to_numpy(variable.value) - old).max() > 0, variable.path
    np.testing.assert_array_equal(to_numpy(method.network.get_layer("cosines").vectors), table)


def test_5_accuracy_is_arg_max_against_arg_max(pictures):
    x, y = pictures
    method = word2vec()
    predicted = method.predict(x, verbose=0)["logits"].argmax(-1)
    expected = np.mean(predicted == y.argmax(-1))
    assert evaluate(method, x, y)["accuracy"] == pytest.approx(expected)
    # The place in the batch says nothing.
    order = np.random.default_rng(0).permutation(len(x))
    assert evaluate(method, x[order], y[order])["accuracy"] == pytest.approx(expected)


@pytest.mark.backends
def test_6_loss_runs_in_a_compiled_step(pictures, monkeypatch):
    x, y = pictures
    calls = []
    method = word2vec()
    original = method.sample_losses
    monkeypatch.setattr(
        type(method), "sample_losses", lambda self, *args: (calls.append(1), original(*args))[1]
    )
    # XLA refuses whatever leaves the graph; PyTorch runs step by step.
    compiled = keras.backend.backend() != "torch"
    method.compile(optimizer=keras.optimizers.Adam(0.02), jit_compile=compiled)
    history = method.fit(x, y, batch_size=5, epochs=10, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    steps = 20
    assert 0 < len(calls) <= (4 if compiled else steps), "once a trace or step, never per sample"


@pytest.mark.parametrize("loss", LOSSES)
def test_7_loss_is_a_mean_whatever_the_batch_size(loss, pictures):
    x, y = pictures
    method = word2vec(loss=loss)
    tensor = keras.ops.convert_to_tensor
    outputs = {k: tensor(v) for k, v in method.predict(x, verbose=0).items()}
    double = {k: keras.ops.concatenate([v, v]) for k, v in outputs.items()}
    once = method.compute_loss(y=tensor(y), y_pred=outputs)
    twice = method.compute_loss(y=tensor(np.concatenate([y, y])), y_pred=double)
    assert tuple(once.shape) == ()
    assert float(to_numpy(once)) == pytest.approx(float(to_numpy(twice)), rel=1e-5)


def test_8_vectors_follow_class_names_not_positions():
    fer2013 = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
    words = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    for names, expected in ((fer2013, words), (fer2013[::-1], words[::-1])):
        method = word2vec(names=names)
        assert method.words == method.network.get_layer("cosines").words == expected
        np.testing.assert_allclose(method.class_vectors, unit_words(expected), atol=1e-6)
        table = to_numpy(method.network.get_layer("cosines").vectors)
        np.testing.assert_allclose(table, unit_words(expected), atol=1e-6)


def test_9_shipped_vectors_suffice_and_centring_spreads_them():
    plain = word2vec(names=EMOTIONS)
    centred = word2vec(names=EMOTIONS, centred=True)
    off_diagonal = ~np.eye(len(EMOTIONS), dtype=bool)
    near = plain.word_similarities[off_diagonal].max()
    # GloVe puts words of different emotions at cosines above 0.6; centred they lie apart.
    assert near > 0.6
    assert (centred.class_vectors @ centred.class_vectors.T)[off_diagonal].max() < near - 0.2
    np.testing.assert_allclose(np.linalg.norm(centred.class_vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(centred.word_similarities, plain.word_similarities)


# ---- losses and metrics -------------------------------------------------------------------------


def test_cosine_softmax_is_cross_entropy_over_scaled_cosines():
    method = word2vec(loss="cosine_softmax", scale=20.0)
    cosines = np.random.default_rng(0).uniform(-1, 1, size=(3, C))
    y = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 1]])
    logits = 20 * cosines
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    received = losses_of(method, y, cosines, scale=20)
    np.testing.assert_allclose(received, -(y * log_p).sum(-1), rtol=1e-4, atol=1e-6)


def test_logits_are_scaled_cosines(pictures):
    outputs = word2vec(scale=20.0).predict(pictures[0], verbose=0)
    np.testing.assert_allclose(outputs["logits"], 20 * outputs["cosines"], rtol=1e-5)
    np.testing.assert_allclose(outputs["cosines"], outputs["embedding"] @ unit_words().T, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 1, rtol=1e-5)


@pytest.mark.backends
def test_similarity_smoothing():
    method = word2vec(loss="similarity_smoothing", temperature=0.2, scale=5.0)
    similarities = unit_words() @ unit_words().T
    soft = np.exp(similarities / 0.2)
    soft /= soft.sum(-1, keepdims=True)
    cosines = np.random.default_rng(0).uniform(-1, 1, size=(2, C))
    y = np.array([[0, 0, 1, 0], [0.25, 0.75, 0, 0]])
    q = y @ soft
    logits = 5 * cosines
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = (q * (np.log(q) - log_p)).sum(-1)
    np.testing.assert_allclose(losses_of(method, y, cosines, scale=5), expected, rtol=1e-4)
    # At scale = 1 / temperature the class vectors themselves are the minimum, 0.
    losses = losses_of(method, np.eye(C), similarities, scale=5)
    np.testing.assert_allclose(losses, 0, atol=1e-5)


def test_a_small_temperature_stays_finite():
    method = word2vec(loss="similarity_smoothing", temperature=1e-3)
    assert np.isfinite(losses_of(method, np.eye(C), np.eye(C))).all()


def test_semantic_error_is_the_distance_of_predicted_and_true_word(pictures):
    x, _ = pictures
    for options in ({}, {"random": True}, {"centred": True}):
        method = word2vec(**options)
        answer_with(method, method.class_vectors[0])
        y = np.eye(C, dtype=np.float32)[np.array([0, 1, 2, 3, 1, 1, 2, 3, 3, 3])]
        distances = 1 - unit_words() @ unit_words()[0]
        expected = distances[y.argmax(-1)].mean()
        assert evaluate(method, x, y)["semantic_error"] == pytest.approx(expected, abs=1e-5)


# ---- the network --------------------------------------------------------------------------------


def test_the_classifier_of_the_network_is_not_trained(tiny_network):
    method = word2vec(tiny_network)
    paths = {v.path for v in method.trainable_variables}
    assert paths == {"features/kernel", "word_projection/kernel", "word_projection/bias"}
    assert sorted(method.network.output) == ["cosines", "embedding", "features", "logits"]


def test_random_is_orthonormal_and_repeatable():
    one, same, other = (word2vec(random=True, seed=s).class_vectors for s in (1, 1, 2))
    np.testing.assert_allclose(one @ one.T, np.eye(C), atol=1e-6)
    assert one.shape == (C, 100)
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01


def test_dropout_is_off_when_predicting(pictures):
    method = word2vec(dropout=0.5)
    assert method.network.get_layer("word_dropout").rate == 0.5
    first, second = (method.predict(pictures[0], verbose=0)["logits"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_words_by_class():
    assert words_of_classes(("Happy", "anger")) == ("happy", "angry")
    assert words_of_classes(("Happy", "anger"), {"happiness": "joyful"}) == ("joyful", "angry")
    assert words_of_classes(("boredom", "fear")) == ("boredom", "fear")
    assert word2vec(words={"Fear": "terror"}).words == ("angry", "terror", "happy", "surprise")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": {"joy of life": "happy"}}, "not there: 'joy of life'"),
        ({"words": {"fear": "angry"}}, "Two classes have one word"),
        ({"words": {"fear": "fearr"}}, r"'fearr' \(nearest: fear"),
        ({"words": "happy"}, "mapping"),
        ({"centred": True, "random": True}, "Choose one"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError, match=message):
        word2vec(**options)


def test_other_files_and_too_few_dimensions(tmp_path):
    path = tmp_path / "two.txt"
    path.write_text("angry 1 0\nfear 0 1\nhappy 1 1\nsurprise -1 0\n")
    assert word2vec(vectors=str(path)).class_vectors.shape == (C, 2)
    with pytest.raises(ConfigError, match="4 orthonormal vectors need 4 dimensions"):
        word2vec(vectors=str(path), random=True)
    with pytest.raises(DataError, match="missing"):
        word2vec(vectors=str(tmp_path / "missing.bin"))


def test_an_embedding_map_is_refused():
    image = keras.Input((4, 4, 1))
    logits = keras.layers.Dense(C)(keras.layers.Flatten()(image))
    network = keras.Model(image, {"logits": logits, "embedding": image})
    with pytest.raises(ConfigError, match=r"embedding \(batch, d\)"):
        word2vec(network)


# ---- nearest words ------------------------------------------------------------------------------


@pytest.mark.parametrize("centred", [False, True])
def test_nearest_words_of_the_whole_vocabulary(pictures, centred, tmp_path):
    x, _ = pictures
    method = word2vec(centred=centred)
    answer_with(method, method.class_vectors[2])
    answers = nearest_words(method, x[:3], 4)
    assert len(answers) == 3
    for answer in answers:
        assert len(answer) == 4
        assert answer[0][0] == "happy"
        assert answer[0][1] == pytest.approx(1, abs=1e-5)
        assert [c for _, c in answer] == sorted((c for _, c in answer), reverse=True)
        assert any(word not in WORDS for word, _ in answer)
    path = tmp_path / "network.keras"
    method.network.save(path)
    assert nearest_words(keras.saving.load_model(path), x[:3], 4) == answers


def test_nearest_words_of_a_given_list(pictures):
    method = word2vec()
    answer_with(method, unit_words(["glad"])[0])
    (answer,) = nearest_words(method, pictures[0][:1], 9, words=["terror", "glad", "no-such-word"])
    assert [word for word, _ in answer] == ["glad", "terror"]
    expected = unit_words(["glad"])[0] @ unit_words(["terror"])[0]
    assert answer[1][1] == pytest.approx(expected, abs=1e-5)


def test_nearest_words_refuses_other_vectors_than_those_of_the_training(pictures, tmp_path):
    x = pictures[0][:1]
    path = tmp_path / "other.txt"
    path.write_text("\n".join(f"{word} 1 {i}" for i, word in enumerate(WORDS)) + "\n")
    with pytest.raises(ConfigError, match="trained with"):
        nearest_words(word2vec(), x, vectors=str(path))
    with pytest.raises(ConfigError, match="random"):
        nearest_words(word2vec(random=True), x)
    with pytest.raises(ConfigError, match="not built by the method word2vec"):
        nearest_words(build_tiny_network(), x)
    with pytest.raises(ConfigError, match="k >= 1"):
        nearest_words(word2vec(), x, 0)
    with pytest.raises(ConfigError, match="None of the words"):
        nearest_words(word2vec(), x, words=["no-such-word"])


def test_class_vectors_layer_says_its_words():
    layer = ClassVectors(WORDS, "centred")
    again = ClassVectors.from_config(layer.get_config())
    assert again.words == WORDS
    assert again.space == "centred"
