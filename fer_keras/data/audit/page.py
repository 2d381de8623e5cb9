"""One data set on one HTML page: counts, sample faces, duplicates, doubtful labels.

The page is a single file: pictures are data URIs, charts are inline SVG, there is no script, and
its content security policy forbids a browser to load anything. It follows the reader's light or
dark setting. It holds pictures of the data set, so it may be passed on only where those may.
The HTML is `common/templates/data_page.html`; here is what stands in it, as plain text.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.decode import image_size
from fer_keras.common.html_page import png_uri, render
from fer_keras.common.opencv import cv2
from fer_keras.data.audit.duplicates import DuplicateReport
from fer_keras.data.audit.near_duplicates import NearDuplicate, NearDuplicateReport
from fer_keras.data.registry import open_prepared
from fer_keras.data.samples import DatasetInfo, Samples
from fer_keras.data.votes import VOTE_COLUMNS, entropy

_FACES_PER_CLASS = 12
_SHOWN_GROUPS = 12
_SHOWN_PAIRS = 24
_SHOWN_MEMBERS = 4
_SHOWN_SIZES = 10
_SHOWN_BY_CERTAINTY = 12
_RECORDS_PER_READ = 512

# One picture that is shown: split, row, and the label to print below it.
_Member = tuple[str, int, str]


@dataclass(frozen=True)
class PageContent:
    """What is known about a data set on this machine; parts without content are left out.

    Attributes:
        source: Its file or folder; `""` where it is not on this machine.
        splits: Split -> its samples.
        stored: Split -> images stored, those that the label rule drops included.
        sizes: `(height, width)` of the images as stored -> their number.
        notes: What a reader should know about this copy.
        duplicates: Of `splits.duplicate_audit`.
        near: Of `near_duplicates.near_duplicate_audit`.
    """

    source: str = ""
    splits: Mapping[str, Samples] = field(default_factory=dict)
    stored: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[tuple[int, int], int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    duplicates: DuplicateReport | None = None
    near: NearDuplicateReport | None = None


def build_page(info: DatasetInfo, content: PageContent) -> str:
    """The whole page.

    Args:
        info: The data set's description.
        content: What was found on this machine.

    Returns:
        An HTML document that refers to nothing outside itself.
    """
    return render(
        "data_page.html",
        title=f"{info.name}: data set audit",
        heading=info.title,
        styles=["data_page.css"],
        info=info,
        content=content,
        classes=_classes(info, content),
        faces=_faces(content),
        sizes=_sizes(content.sizes),
        duplicates=_duplicates(content),
        near=_near_duplicates(content),
        conflicts=_conflicts(content),
        votes=_votes(content),
    )


def native_sizes(folder: Path, splits: Iterable[str]) -> dict[tuple[int, int], int]:
    """Counts the sizes of all prepared images, from their headers.

    Args:
        folder: As returned by `fer_keras.data.load.prepare`.
        splits: Splits it has.

    Returns:
        `(height, width)` -> number, the most frequent first.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    for split in splits:
        records = open_prepared(folder, split)
        for first in range(0, len(records), _RECORDS_PER_READ):
            rows = list(range(first, min(first + _RECORDS_PER_READ, len(records))))
            sizes.update(
                image_size(record["image"], source=f"{folder} {split}")
                for record in records.__getitems__(rows)
            )
    return dict(sizes.most_common())


# ---- sections


def _classes(info: DatasetInfo, content: PageContent) -> dict[str, Any]:
    official = info.official_counts
    names: Sequence[str] = info.class_names
    counts: Mapping[str, Mapping[str, int]] = official
    rule = ""
    if content.splits:
        first = next(iter(content.splits.values()))
        names, rule = first.class_names, first.label_rule
        counts = {split: samples.class_counts() for split, samples in content.splits.items()}
        if rule not in ("hard", "majority"):
            official = {}  # they were counted by another rule
    else:
        official = {}
    return {
        "rule": rule,
        "splits": list(counts),
        "chart": _class_chart(names, counts),
        "has_official": bool(official),
        "rows": _class_rows(info, names, counts, official) if counts else [],
        "dropped": [
            (split, content.stored.get(split, 0) - len(samples))
            for split, samples in content.splits.items()
            if content.stored.get(split, 0) > len(samples)
        ],
    }


def _class_rows(
    info: DatasetInfo,
    names: Sequence[str],
    counts: Mapping[str, Mapping[str, int]],
    official: Mapping[str, Mapping[str, int]],
) -> list[dict[str, Any]]:
    code_of = {emotion: str(code) for code, emotion in info.codes.items()}
    rows = []
    for name in (*names, ""):
        cells = []
        for split, by_class in counts.items():
            total = sum(by_class.values())
            number = by_class.get(name, 0) if name else total
            of_split = official.get(split, {})
            wanted = of_split.get(name) if name else sum(of_split.values()) or None
            cells.append(
                {
                    "number": number,
                    "share": _share(number, total),
                    "official": wanted,
                    "differs": wanted not in (None, number),
                }
            )
        rows.append(
            {
                "name": name or "total",
                "is_total": not name,
                "code": code_of.get(name, ""),
                "cells": cells,
            }
        )
    return rows


def _faces(content: PageContent) -> dict[str, Any] | None:
    if not content.splits:
        return None
    split, samples = next(iter(content.splits.items()))
    rng = np.random.default_rng(0)
    rows = []
    for label, name in enumerate(samples.class_names):
        candidates = np.flatnonzero(samples.labels == label)
        chosen = rng.permutation(candidates)[:_FACES_PER_CLASS]
        pictures = [_picture(samples, int(row), name) for row in chosen]
        rows.append({"name": name, "number": len(candidates), "pictures": pictures})
    return {"split": split, "rows": rows}


def _sizes(sizes: Mapping[tuple[int, int], int]) -> dict[str, Any] | None:
    if not sizes:
        return None
    total = sum(sizes.values())
    ranked = sorted(sizes.items(), key=lambda item: -item[1])
    rows = [
        (f"{width} x {height}", number, _share(number, total))
        for (height, width), number in ranked[:_SHOWN_SIZES]
    ]
    sides = np.repeat(
        [min(size) for size in sizes], np.fromiter(sizes.values(), np.int64, len(sizes))
    )
    return {
        "only": rows[0][0] if len(sizes) == 1 else "",
        "total": total,
        "number": len(sizes),
        "least": sides.min(),
        "most": sides.max(),
        "median": f"{np.median(sides):.0f}",
        "rows": rows,
    }


def _duplicates(content: PageContent) -> dict[str, Any] | None:
    if content.duplicates is None:
        return None
    members: dict[str, list[_Member]] = {}
    for split, samples in content.splits.items():
        names = np.array(samples.class_names)[samples.labels]
        for row, pixels in enumerate(samples.facts["sha256"].tolist()):
            members.setdefault(pixels, []).append((split, row, str(names[row])))
    groups = [group for group in members.values() if len(group) > 1]
    across = [group for group in groups if len({split for split, _, _ in group}) > 1]
    within = [group for group in groups if len({split for split, _, _ in group}) == 1]
    return {"across": _groups(across, content), "within": _groups(within, content)}


def _near_duplicates(content: PageContent) -> list[tuple[str, dict[str, Any]]]:
    if content.near is None:
        return []
    across = [pair for pair in content.near.pairs if pair.split != pair.other_split]
    within = [pair for pair in content.near.pairs if pair.split == pair.other_split]
    lists = []
    for title, pairs in (("Across splits", across), ("Within a split", within)):
        # Evenly from the surest to the least sure, so that the reader can judge the threshold.
        places = np.unique(np.linspace(0, len(pairs) - 1, _SHOWN_PAIRS).astype(np.int64))
        cards = [_pair_card(pairs[place], content) for place in places if pairs]
        lists.append((title, {"number": len(pairs), "cards": cards}))
    return lists


def _pair_card(pair: NearDuplicate, content: PageContent) -> dict[str, Any]:
    members = [
        (pair.split, pair.index, pair.label),
        (pair.other_split, pair.other_index, pair.other_label),
    ]
    mirrored = ", mirrored" if pair.mirrored else ""
    caption = f"{pair.distance} bits, correlation {pair.correlation:.2f}{mirrored}"
    return _group_card(members, content, caption)


def _conflicts(content: PageContent) -> dict[str, Any] | None:
    if content.duplicates is None:
        return None
    rows = {
        (split, source): row
        for split, samples in content.splits.items()
        for row, source in enumerate(samples.facts["source"].tolist())
    }
    groups = [
        [(split, rows[split, source], label) for split, source, label in group]
        for group in content.duplicates.conflicts
    ]
    return _groups(groups, content)


def _votes(content: PageContent) -> dict[str, Any] | None:
    voted = {
        split: entropy(samples.facts["votes"])
        for split, samples in content.splits.items()
        if "votes" in samples.facts
    }
    entropies = np.concatenate([np.zeros(0), *voted.values()])
    places = [(split, row) for split, values in voted.items() for row in range(len(values))]
    known = np.flatnonzero(np.isfinite(entropies))
    if not len(known):
        return None
    # Many images share the least entropy: which of them are shown is drawn at random.
    order = np.random.default_rng(0).permutation(known)
    order = order[np.argsort(entropies[order], kind="stable")]
    lists = []
    for title, chosen in (
        ("Most certain", order[:_SHOWN_BY_CERTAINTY]),
        ("Least certain", order[::-1][:_SHOWN_BY_CERTAINTY]),
    ):
        figures = []
        for place in chosen:
            split, row = places[place]
            votes = content.splits[split].facts["votes"][row]
            ranked = sorted(zip(votes.tolist(), VOTE_COLUMNS, strict=True), reverse=True)
            text = ", ".join(f"{number}\u00a0{name}" for number, name in ranked if number)
            figures.append(_figure((split, row, text), content))
        lists.append((title, figures))
    return {
        "known": len(known),
        "agreed": int((entropies[known] == 0).sum()),
        "most": f"{math.log(len(VOTE_COLUMNS)):.2f}",
        "median": f"{np.median(entropies[known]):.2f}",
        "columns": _entropy_columns(entropies[known]),
        "lists": lists,
    }


# ---- parts


def _groups(groups: Sequence[Sequence[_Member]], content: PageContent) -> dict[str, Any]:
    cards = [_group_card(group, content) for group in groups[:_SHOWN_GROUPS]]
    return {"number": len(groups), "cards": cards}


def _group_card(
    members: Sequence[_Member], content: PageContent, caption: str = ""
) -> dict[str, Any]:
    labels = sorted({label for _, _, label in members})
    left_out = len(members) - _SHOWN_MEMBERS
    return {
        "members": [_figure(member, content) for member in members[:_SHOWN_MEMBERS]],
        "differ": len(labels) > 1,
        "caption": caption,
        "labels": ", ".join(labels) if len(labels) > 1 and left_out > 0 else "",
        "left_out": left_out,
    }


def _figure(member: _Member, content: PageContent) -> dict[str, Any]:
    split, row, label = member
    samples = content.splits[split]
    # A long name breaks after its folders or before its row number first.
    source = re.split(r"(?<=[/#])", str(samples.facts["source"][row]))
    picture = _picture(samples, row, label)
    return {"split": split, "label": label, "source": source, "picture": picture}


def _picture(samples: Samples, row: int, label: str) -> dict[str, str]:
    pixels = np.asarray(samples.images[row])
    if pixels.shape[2] == 3:
        pixels = pixels[:, :, ::-1]  # OpenCV writes blue first
    data = bytes(cv2.imencode(".png", np.ascontiguousarray(pixels))[1])
    name = f"{label}, {samples.split} {samples.facts['source'][row]}"
    return {"uri": png_uri(data), "name": name}


def _class_chart(names: Sequence[str], counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Horizontal bars: for each class its share of every split."""
    totals = {split: max(sum(by_class.values()), 1) for split, by_class in counts.items()}
    largest = max(
        (
            by_class.get(name, 0) / totals[split]
            for split, by_class in counts.items()
            for name in names
        ),
        default=0,
    )
    left, length, bar = 110, 480, 14
    row_height = bar * len(counts) + 12
    rows = []
    for number, name in enumerate(names):
        top = number * row_height + 6
        bars = []
        for place, (split, by_class) in enumerate(counts.items()):
            count = by_class.get(name, 0)
            share = count / totals[split]
            width = length * share / (largest or 1)
            bars.append(
                {
                    "y": top + place * bar,
                    "width": f"{width:.1f}",
                    "height": bar - 2,
                    "end": f"{left + width + 6:.1f}",
                    "series": place % 3,
                    "text": f"{share:.1%} ({count:,})",
                }
            )
        rows.append({"y": f"{top + bar * len(counts) / 2 + 4:g}", "text": name, "bars": bars})
    return {"left": left, "height": len(names) * row_height + 6, "rows": rows}


def _entropy_columns(entropies: np.ndarray) -> list[dict[str, Any]]:
    """Columns: how many images have which entropy."""
    step = 0.1
    counts = np.bincount((entropies / step + 1e-9).astype(np.int64))
    left, bottom, height = 20, 190, 160
    width = 660 / len(counts)
    columns = []
    for place, count in enumerate(counts.tolist()):
        x, size = left + place * width, height * count / counts.max()
        columns.append(
            {
                "x": f"{x:.1f}",
                "y": f"{bottom - size:.1f}",
                "width": f"{width - 2:.1f}",
                "height": f"{size:.1f}",
                "middle": f"{x + width / 2 - 1:.1f}",
                "above": f"{bottom - size - 5:.1f}",
                "number": count,
                "value": f"{place * step:.1f}" if place % 2 == 0 else "",
            }
        )
    return columns


def _share(number: int, total: int) -> str:
    return f"{number / total:.1%}" if total else ""
