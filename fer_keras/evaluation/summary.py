"""The result of an evaluation as text."""

from typing import Any


def report(figures: dict[str, Any]) -> str:
    """A compact text of the result of `evaluate`.

    Args:
        figures: The result.

    Returns:
        Some 20 lines.
    """
    low, high = figures["accuracy_interval"]
    crops_from = figures["ten_crop_from"]
    lines = [
        f"{figures['model']} on {figures['dataset']}, {figures['split']} split, label rule "
        f"{figures['label_rule']}, n {figures['n']:,}",
        *([f"ten crops of pictures of {crops_from} pixels, logits averaged"] if crops_from else []),
        *(
            [f"answers for the prior {figures['prior']}"]
            if figures.get("prior", "training") != "training"
            else []
        ),
        f"accuracy            {figures['accuracy']:.4f}  [{low:.4f}, {high:.4f}] (95 % Wilson)",
    ]
    if "frame_accuracy" in figures:
        by_frame = " ".join(
            "-" if share is None else f"{share:.2f}" for share in figures["accuracy_by_frame"]
        )
        lines += [
            f"single frames       {figures['frame_accuracy']:.4f}  of {figures['num_frames']:,} "
            "frames name the class of their clip",
            f"  by place          {by_frame}",
        ]
    without = figures["without_duplicates"]
    if without is None:
        lines.append("without duplicates  unknown: the training split was not given")
    elif without["accuracy"] is None:
        lines.append("without duplicates  every image also occurs in the training split")
    else:
        low, high = without["accuracy_interval"]
        lines.append(
            f"without duplicates  {without['accuracy']:.4f}  [{low:.4f}, {high:.4f}] n "
            f"{without['n']:,} ({without['num_duplicates']} also occur in the training split)"
        )
    lines += [
        f"balanced accuracy   {figures['balanced_accuracy']:.4f}   macro F1 "
        f"{figures['macro_f1']:.4f}",
        f"NLL                 {figures['nll']:.4f}   ECE {figures['ece']:.4f} "
        f"({figures['ece_bins']} bins)   Brier {figures['brier']:.4f}",
    ]
    calibrated = figures["calibrated"]
    if calibrated:
        lines.append(
            f"  calibrated        {calibrated['nll']:.4f}   ECE {calibrated['ece']:.4f}"
            f"             Brier {calibrated['brier']:.4f}   (temperature "
            f"{calibrated['temperature']:.3f}, fitted on {calibrated['fitted_on']})"
        )
    lines.append("")
    width = max(len(name) for name in figures["class_names"])
    lines.append(f"{'class':<{width}}  images  recall  precision      F1")
    for name, row in figures["per_class"].items():
        recall, precision, f1 = (
            "     -" if row[key] is None else f"{row[key]:6.3f}"
            for key in ("recall", "precision", "f1")
        )
        lines.append(f"{name:<{width}}  {row['support']:>6}  {recall}     {precision}  {f1}")
    if figures["classes_without_images"]:
        lines.append(f"no images of: {', '.join(figures['classes_without_images'])}")
    if figures["model_classes_left_out"]:
        lines.append(
            f"the model also knows {', '.join(figures['model_classes_left_out'])}: left out, the "
            "rest renormalised"
        )
    if "estimated_prior" in figures:
        lines += _estimated(figures)
    lines += [f"note: {note}" for note in figures["dataset_notes"]]
    return "\n".join(lines)


def _estimated(figures: dict[str, Any]) -> list[str]:
    """The estimated shares of the classes beside those of the labels."""
    estimate = figures["estimated_prior"]
    total = sum(row["support"] for row in figures["per_class"].values())
    width = max(len(name) for name in figures["class_names"])
    lines = ["", f"{'class':<{width}}  share by the answers [95 %]  share by the labels"]
    for name, row in estimate["shares"].items():
        low, high = row["interval"]
        true = figures["per_class"][name]["support"] / total
        lines.append(
            f"{name:<{width}}         {row['share']:6.3f} [{low:.3f}, {high:.3f}]  {true:19.3f}"
        )
    shares = " ".join(f"{name}={row['share']:.4f}" for name, row in estimate["shares"].items())
    return [
        *lines,
        f"  by EM (Saerens et al. 2002), {estimate['resamples']} resamples of n {estimate['n']:,}; "
        "right only where faces of a class look as in training",
        f"  to answer by them: --prior {shares}",
    ]
