"""How the authors make one answer of a network's outputs, as part of the graph.

So evaluation, comparison, export and camera all give the authors' answer.
"""

from typing import Any

# Added to the share of votes before the logarithm.
_NO_VOTE = 1e-6
# Sides of the pictures from which the crops are cut, over those of the crops.
_BORDER = 4


def decided(network: Any, decision: str) -> Any:
    """A network whose `logits` are the answer of a decision.

    Args:
        network: Functional model with a dict of outputs with `logits`.
        decision: `logits`, as they are; `mean`, the same, of branches; `vote`: the logarithms of
            the shares of the branches, whose softmax is the shares; `ten_crop`: the mean over four
            corners, the centre and their mirror images of pictures that are four pixels larger;
            `centre`: the centre alone.

    Returns:
        The network, or one on the same weights.
    """
    if decision == "vote":
        return _of_votes(network)
    if decision in ("ten_crop", "centre"):
        return _of_crops(network, all_ten=decision == "ten_crop")
    return network


def _of_votes(network: Any) -> Any:
    import keras

    outputs = dict(network.output)
    outputs["logits"] = keras.ops.log(outputs["vote"] + _NO_VOTE)
    return keras.Model(network.inputs[0], outputs, name=network.name)


def _of_crops(network: Any, *, all_ten: bool) -> Any:
    import keras

    from fer_keras.models.layers import MirrorImage

    height, width, channels = network.inputs[0].shape[1:]
    image = keras.Input((height + _BORDER, width + _BORDER, channels), name="image")
    half, whole = _BORDER // 2, _BORDER
    offsets = [(half, half)]
    if all_ten:
        offsets += [(y, x) for y in (0, whole) for x in (0, whole)]
    views = [
        keras.layers.Cropping2D(((y, whole - y), (x, whole - x)), name=f"crop_{y}_{x}")(image)
        for y, x in offsets
    ]
    if all_ten:
        mirrored = MirrorImage(name="mirror")
        views += [mirrored(view) for view in views]
    logits = [network(view, training=False)["logits"] for view in views]
    mean = logits[0] if len(logits) == 1 else keras.layers.Average(name="logits")(logits)
    return keras.Model(image, {"logits": mean}, name=network.name)
