"""The result of an export as text."""

from collections.abc import Mapping
from typing import Any

from fer_keras.common.metrics import small_evidence
from fer_keras.evaluation.thresholds import decision_report


def report(manifest: Mapping[str, Any]) -> str:
    """A table of sizes, times and parity figures.

    Args:
        manifest: Of `export_run`.

    Returns:
        Some ten lines.
    """
    validation, parity = manifest["validation"], manifest["parity"]
    low, high = validation["accuracy_interval"]
    lines = [
        f"{manifest['name']}: {len(manifest['class_names'])} classes, "
        f"{manifest['image_size'][0]} x {manifest['image_size'][1]} x {manifest['channels']}",
        f"validation accuracy {validation['accuracy']:.4f} [{low:.4f}, {high:.4f}], n "
        f"{validation['n']:,}, label rule {validation['label_rule']}",
        f"temperature {manifest['temperature']:.3f}, fitted on the validation split: ECE "
        f"{validation['ece']:.4f} -> {validation['calibrated']['ece']:.4f}, NLL "
        f"{validation['nll']:.4f} -> {validation['calibrated']['nll']:.4f}",
        *filter(None, [small_evidence(validation["n"], validation["accuracy"])]),
        "",
        "model              KiB  ms/face  max difference  same arg max  accuracy     ECE",
    ]
    for name, row in parity["models"].items():
        time_ms = f"{row['ms_per_face']:7.2f}" if row.get("ms_per_face") else "      -"
        lines.append(
            f"{name:<12}  {row['bytes'] / 1024:>8,.0f}  {time_ms}  {row['max_difference']:>14.1e}"
            f"  {row['same_arg_max']:>12.2%}    {row['accuracy']:.4f}  {row['ece']:.4f}"
        )
    lines.append(
        f"on {parity['n']:,} validation images (Keras: {parity['keras_accuracy']:.4f}); ms: median "
        f"of {parity['timing_runs']} single pictures, one thread, {parity['machine']}"
    )
    for name, row in parity["models"].items():
        if row.get("float_operators"):
            what = "operators" if name == "int8" else "layers' weights"
            lines.append(
                f"{name} keeps {row['float_operators']} of {row['operators']} {what} in float32"
            )
    if "prior_figures" in manifest:
        plain, given = (manifest["prior_figures"][key] for key in ("without_prior", "with_prior"))
        lines += [
            "",
            f"answers by the prior {manifest['default_prior']}: accuracy {given['accuracy']:.4f}, "
            f"balanced {given['balanced_accuracy']:.4f}, ECE {given['ece']:.4f}; without a prior "
            f"{plain['accuracy']:.4f}, {plain['balanced_accuracy']:.4f}, {plain['ece']:.4f}",
        ]
    lines += ["", *decision_report(manifest.get("decision"))]
    return "\n".join(lines)
