"""The HTML page of a run.

It shows no picture of a data set unasked: the page is there to be passed on.
"""

from collections.abc import Mapping

from fer_keras.common.html_page import document, text
from fer_keras.reporting.run_page import sections, studies
from fer_keras.reporting.run_page.content import Content


def build_report(content: Content, pictures: Mapping[int, str] | None = None) -> str:
    """The page.

    Args:
        content: Of `report_page.content.read_run`.
        pictures: Row of the validation split -> data URI of its picture; None shows none of the
            data set.

    Returns:
        An HTML document that refers to nothing outside itself.
    """
    result = content.results["validation"]
    low, high = result["accuracy_interval"]
    name = str(result.get("run") or content.run_dir.name)
    lead = (
        f'<p class="lead"><strong>{result["accuracy"]:.1%}</strong> of {result["n"]:,} pictures '
        f"right, between {low:.1%} and {high:.1%} (95 %): {text(result['dataset'])} "
        f"{text(result['split'])}, label rule {text(result['label_rule'])}. "
        "An expression is not a feeling: read the limits in the model's card before you use it "
        "on people.</p>"
    )
    if pictures is not None:
        lead = (
            '<p class="warning" role="note"><strong>This page holds pictures of the data set.'
            "</strong> It may be passed on only where those may.</p>"
        ) + lead
    return document(
        f"{name}: report",
        name,
        lead,
        [
            ("summary", "Summary", sections.summary(content)),
            ("curves", "Training", sections.curves(content)),
            ("confusion", "Confusion", sections.confusion(content)),
            ("classes", "Classes", sections.per_class(content)),
            ("calibration", "Calibration", sections.calibration(content)),
            ("risk", "When it is unsure", sections.risk(content)),
            ("heatmaps", "Heatmaps", studies.heatmaps(content, pictures is not None)),
            ("robustness", "Robustness", studies.robustness(content)),
            ("resize", "Fewer pixels", studies.resize(content)),
            ("subgroups", "Subgroups", studies.subgroups(content)),
            ("mistakes", "Surest mistakes", sections.mistakes(content, pictures or {})),
            ("export", "Exported files", sections.exported(content)),
            ("settings", "Settings", sections.settings(content)),
            ("environment", "Environment", sections.environment(content)),
            ("commands", "Commands", sections.commands(content)),
        ],
        "data_page.css",
        "report_page.css",
    )
