"""The HTML page of a run.

It shows no picture of a data set unasked: the page is there to be passed on.
"""

from collections.abc import Mapping

from fer_keras.common.html_page import render
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
    return render(
        "run_page.html",
        title=f"{name}: report",
        heading=name,
        styles=["data_page.css", "report_page.css"],
        has_pictures=pictures is not None,
        accuracy=f"{result['accuracy']:.1%}",
        evidence=f"{result['n']:,} pictures right, between {low:.1%} and {high:.1%} (95 %): "
        f"{result['dataset']} {result['split']}, label rule {result['label_rule']}.",
        summary=sections.summary(content),
        curves=sections.curves(content),
        confusion=sections.confusion(content),
        per_class=sections.per_class(content),
        calibration=sections.calibration(content),
        risk=sections.risk(content),
        heatmaps=studies.heatmaps(content, pictures is not None),
        robustness=studies.robustness(content),
        resize=studies.resize(content),
        subgroups=studies.subgroups(content),
        mistakes=sections.mistakes(content, pictures or {}),
        exported=sections.exported(content),
        settings=sections.settings(content),
        environment=sections.environment(content),
        commands=sections.commands(content),
    )
