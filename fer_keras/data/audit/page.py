"""One data set on one HTML page: counts, sample faces, duplicates, doubtful labels.

The page is a single file: pictures are data URIs, charts are inline SVG, there is no script, and
its content security policy forbids a browser to load anything. It follows the reader's light or
dark setting. It holds pictures of the data set, so it may be passed on only where those may.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fer_keras.common.decode import image_size
from fer_keras.common.html_page import document, png_uri, svg
from fer_keras.common.html_page import scrolling as _scrolling
from fer_keras.common.html_page import text as _text
from fer_keras.common.opencv import cv2
from fer_keras.data.audit.duplicates import DuplicateReport
from fer_keras.data.audit.near_duplicates import NearDuplicate, NearDuplicateReport
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
    sections = [
        ("about", "About", _about(info, content)),
        ("classes", "Classes and splits", _classes(info, content)),
        ("faces", "Sample faces", _faces(content)),
        ("sizes", "Image sizes", _sizes(content.sizes)),
        ("duplicates", "Exact duplicates", _duplicates(content)),
        ("near", "Near duplicates", _near_duplicates(content)),
        ("conflicts", "Label conflicts", _conflicts(content)),
        ("votes", "Agreement of the annotators", _votes(content)),
        ("files", "Unreadable files", _unreadable(content)),
    ]
    return document(
        f"{info.name}: data set audit",
        info.title,
        _warning(info, content),
        sections,
        "data_page.css",
    )


def native_sizes(folder: Path, splits: Iterable[str]) -> dict[tuple[int, int], int]:
    """Counts the sizes of all prepared images, from their headers.

    Args:
        folder: As returned by `fer_keras.data.load.prepare`.
        splits: Splits it has.

    Returns:
        `(height, width)` -> number, the most frequent first.
    """
    from fer_keras.data.registry import open_prepared

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


def _warning(info: DatasetInfo, content: PageContent) -> str:
    if not content.splits:
        return ""
    return (
        '<p class="warning" role="note"><strong>This page holds pictures of the data set.</strong> '
        "It must not be published or passed on, and not be put into a repository, where the "
        f"licence forbids that. Licence: {_text(info.licence)}</p>"
    )


def _about(info: DatasetInfo, content: PageContent) -> str:
    if content.splits:
        state = f"Found and prepared: <code>{_text(content.source)}</code>"
    elif info.needs_path:
        state = "Read from a path that you name with <code>--source</code>; none was named."
    else:
        state = "Not on this machine; what follows is the description alone."
    rows = [("Name", f"<code>{_text(info.name)}</code>"), ("On this machine", state)]
    rows += [("Note", _text(note)) for note in content.notes]
    rows.append(("Licence", _text(info.licence)))
    if info.citation:
        rows.append(("Source", _text(info.citation)))
    rows.append(("How to get it", f'<span class="steps">{_text(info.how_to_get)}</span>'))
    return f"<dl>{''.join(f'<dt>{term}</dt><dd>{text}</dd>' for term, text in rows)}</dl>"


def _classes(info: DatasetInfo, content: PageContent) -> str:
    official = info.official_counts
    counts: Mapping[str, Mapping[str, int]]
    counts = {split: samples.class_counts() for split, samples in content.splits.items()}
    text = ""
    if counts:
        first = next(iter(content.splits.values()))
        names: Sequence[str] = first.class_names
        text = f"<p>Label rule: <strong>{_text(first.label_rule)}</strong>.</p>"
        if first.label_rule not in ("hard", "majority"):
            official = {}  # they were counted by another rule
    else:
        names, counts = info.class_names, official
        if not counts:
            codes = "".join(
                f"<li><code>{_text(code)}</code> {_text(emotion)}</li>"
                for code, emotion in info.codes.items()
            )
            return f"<ul>{codes}</ul>" if codes else _list_of(info.class_names)
        rule = ", by the majority rule" if info.has_votes else ""
        text = f"<p>Official counts{rule}.</p>"
    text += _class_chart(names, counts)
    text += _class_table(info, names, counts, official if content.splits else {})
    dropped = [
        f"<li>{_text(split)}: {content.stored.get(split, 0) - len(samples):,} more images have no "
        "label by this rule</li>"
        for split, samples in content.splits.items()
        if content.stored.get(split, 0) > len(samples)
    ]
    return text + (f"<ul>{''.join(dropped)}</ul>" if dropped else "")


def _class_table(
    info: DatasetInfo,
    names: Sequence[str],
    counts: Mapping[str, Mapping[str, int]],
    official: Mapping[str, Mapping[str, int]],
) -> str:
    code_of = {emotion: str(code) for code, emotion in info.codes.items()}
    width = 3 if official else 2
    head = "".join(
        f'<th colspan="{width}" scope="colgroup">{_text(split)}</th>' for split in counts
    )
    columns = "<th>images</th><th>share</th>" + ("<th>official</th>" if official else "")
    rows = []
    for name in (*names, ""):
        code = f" <code>{_text(code_of[name])}</code>" if name in code_of else ""
        cells = f'<th scope="row">{_text(name) or "total"}{code}</th>'
        for split, by_class in counts.items():
            total = sum(by_class.values())
            number = by_class.get(name, 0) if name else total
            cells += f"<td>{number:,}</td><td>{_share(number, total)}</td>"
            if official:
                of_split = official.get(split, {})
                wanted = of_split.get(name) if name else sum(of_split.values()) or None
                differs = ' class="differs"' if wanted not in (None, number) else ""
                cells += f"<td{differs}>{'' if wanted is None else format(wanted, ',')}</td>"
        rows.append(f"<tr>{cells}</tr>" if name else f'<tr class="total">{cells}</tr>')
    return _scrolling(
        "Images of each class",
        f'<table><thead><tr><th rowspan="2" scope="col" class="text">class</th>{head}</tr>'
        f"<tr>{columns * len(counts)}</tr></thead><tbody>{''.join(rows)}</tbody></table>",
    )


def _faces(content: PageContent) -> str:
    if not content.splits:
        return ""
    split, samples = next(iter(content.splits.items()))
    rng = np.random.default_rng(0)
    rows = []
    for label, name in enumerate(samples.class_names):
        candidates = np.flatnonzero(samples.labels == label)
        chosen = rng.permutation(candidates)[:_FACES_PER_CLASS]
        faces = "".join(_image(samples, int(row), name) for row in chosen) or "none"
        rows.append(
            f'<h3>{_text(name)} <small>{len(candidates):,}</small></h3><div class="faces">{faces}'
            "</div>"
        )
    return (
        f"<p>Drawn at random from {_text(split)}. A picture's name appears when the pointer rests "
        f"on it.</p>{''.join(rows)}"
    )


def _sizes(sizes: Mapping[tuple[int, int], int]) -> str:
    if not sizes:
        return ""
    total = sum(sizes.values())
    if len(sizes) == 1:
        ((height, width),) = sizes
        return f"<p>All {total:,} images are {width} x {height} pixels.</p>"
    sides = np.repeat(
        [min(size) for size in sizes], np.fromiter(sizes.values(), np.int64, len(sizes))
    )
    shown = sorted(sizes.items(), key=lambda item: -item[1])[:_SHOWN_SIZES]
    rows = "".join(
        f'<tr><th scope="row">{width} x {height}</th><td>{number:,}</td>'
        f"<td>{_share(number, total)}</td></tr>"
        for (height, width), number in shown
    )
    table = (
        '<table><thead><tr><th class="text">width x height</th><th>images</th><th>share</th>'
        "</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
    return (
        f"<p>{len(sizes):,} sizes; the shorter side is {sides.min()} to {sides.max()} pixels, the "
        f"median {np.median(sides):.0f}.</p>{_scrolling('Image sizes', table)}"
        f"{_more(len(sizes) - len(shown), 'sizes')}"
    )


def _duplicates(content: PageContent) -> str:
    if content.duplicates is None:
        return ""
    members: dict[str, list[_Member]] = {}
    for split, samples in content.splits.items():
        names = np.array(samples.class_names)[samples.labels]
        for row, pixels in enumerate(samples.facts["sha256"].tolist()):
            members.setdefault(pixels, []).append((split, row, str(names[row])))
    groups = [group for group in members.values() if len(group) > 1]
    across = [group for group in groups if len({split for split, _, _ in group}) > 1]
    within = [group for group in groups if len({split for split, _, _ in group}) == 1]
    return (
        "<p>Images whose decoded pixels are equal.</p>"
        + _count_table(content.duplicates, "twice or more in it", "in {}")
        + _group_list("Across splits", across, content)
        + _group_list("Within a split", within, content)
    )


def _near_duplicates(content: PageContent) -> str:
    near = content.near
    if near is None:
        return ""
    across = [pair for pair in near.pairs if pair.split != pair.other_split]
    within = [pair for pair in near.pairs if pair.split == pair.other_split]
    listed = ""
    for title, pairs in (("Across splits", across), ("Within a split", within)):
        # Evenly from the surest to the least sure, so that the reader can judge the threshold.
        places = np.unique(np.linspace(0, len(pairs) - 1, _SHOWN_PAIRS).astype(np.int64))
        cards = [_pair_card(pairs[place], content) for place in places if pairs]
        if cards:
            order = ", from the surest to the least sure" if len(pairs) > len(cards) else ""
            listed += (
                f"<h3>{title} <small>{len(cards):,} of {len(pairs):,} pairs{order}</small></h3>"
                f'<div class="groups">{"".join(cards)}</div>'
            )
    flat = f" {near.num_flat:,} images are too flat to be compared." if near.num_flat else ""
    return (
        "<p>The same picture with other pixels: saved again, brightened, mirrored, or moved by a "
        f"pixel or two. {near.num_pairs:,} pairs, {near.num_mirrored:,} of them mirrored; the "
        f"labels of {near.num_conflicts:,} pairs differ.{flat}</p>"
        + _count_table(near, "near to another of it", "near to one in {}, none equal")
        + listed
    )


def _pair_card(pair: NearDuplicate, content: PageContent) -> str:
    members = [
        (pair.split, pair.index, pair.label),
        (pair.other_split, pair.other_index, pair.other_label),
    ]
    mirrored = ", mirrored" if pair.mirrored else ""
    caption = f"{pair.distance} bits, correlation {pair.correlation:.2f}{mirrored}"
    return _group_card(members, content, caption)


def _conflicts(content: PageContent) -> str:
    if content.duplicates is None:
        return ""
    rows = {
        (split, source): row
        for split, samples in content.splits.items()
        for row, source in enumerate(samples.facts["source"].tolist())
    }
    groups = [
        [(split, rows[split, source], label) for split, source, label in group]
        for group in content.duplicates.conflicts
    ]
    return (
        f"<p>{content.duplicates.num_conflicts:,} groups of identical images carry different "
        f"labels, {content.duplicates.num_conflicting_images:,} images in all.</p>"
        + _group_list("", groups, content)
    )


def _votes(content: PageContent) -> str:
    voted = {
        split: entropy(samples.facts["votes"])
        for split, samples in content.splits.items()
        if "votes" in samples.facts
    }
    entropies = np.concatenate([np.zeros(0), *voted.values()])
    places = [(split, row) for split, values in voted.items() for row in range(len(values))]
    known = np.flatnonzero(np.isfinite(entropies))
    if not len(known):
        return ""
    # Many images share the least entropy: which of them are shown is drawn at random.
    order = np.random.default_rng(0).permutation(known)
    order = order[np.argsort(entropies[order], kind="stable")]
    agreed = int((entropies[known] == 0).sum())
    parts = [
        f"<p>Entropy of the votes of {len(known):,} images that have a label, in nats: 0 where all "
        f"annotators agree ({agreed:,} images), at most {math.log(len(VOTE_COLUMNS)):.2f}; median "
        f"{np.median(entropies[known]):.2f}.</p>",
        _entropy_chart(entropies[known]),
    ]
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
        parts.append(f'<h3>{title}</h3><div class="groups">{"".join(figures)}</div>')
    return "".join(parts)


def _unreadable(content: PageContent) -> str:
    if not content.splits:
        return ""
    return (
        "<p>0. Preparation reads every file and refuses a source in which any picture cannot be "
        "decoded, so that none is skipped silently.</p>"
    )


# ---- parts


def _group_list(title: str, groups: Sequence[Sequence[_Member]], content: PageContent) -> str:
    if not groups:
        return ""
    cards = "".join(_group_card(group, content) for group in groups[:_SHOWN_GROUPS])
    heading = f"<h3>{title} <small>{len(groups):,} groups</small></h3>" if title else ""
    more = _more(len(groups) - _SHOWN_GROUPS, "groups")
    return f'{heading}<div class="groups">{cards}</div>{more}'


def _group_card(members: Sequence[_Member], content: PageContent, caption: str = "") -> str:
    """Pictures that show the same, side by side."""
    differ = len({label for _, _, label in members}) > 1
    figures = "".join(_figure(member, content) for member in members[:_SHOWN_MEMBERS])
    more = _more(len(members) - _SHOWN_MEMBERS, "images")
    note = f'<p class="note">{_text(caption)}</p>' if caption else ""
    if differ and len(members) > _SHOWN_MEMBERS:
        names = ", ".join(sorted({label for _, _, label in members}))
        note += f'<p class="note">Labels: {_text(names)}</p>'
    style = "group conflict" if differ else "group"
    return f'<div class="{style}"><div class="members">{figures}</div>{note}{more}</div>'


def _figure(member: _Member, content: PageContent) -> str:
    split, row, label = member
    samples = content.splits[split]
    # A long name breaks after its folders or before its row number first.
    parts = re.split(r"(?<=[/#])", str(samples.facts["source"][row]))
    source = "<wbr>".join(_text(part) for part in parts)
    return (
        f"<figure>{_image(samples, row, label)}<figcaption><b>{_text(label)}</b>"
        f"<span>{_text(split)}</span><span>{source}</span></figcaption></figure>"
    )


def _image(samples: Samples, row: int, label: str) -> str:
    pixels = np.asarray(samples.images[row])
    if pixels.shape[2] == 3:
        pixels = pixels[:, :, ::-1]  # OpenCV writes blue first
    data = bytes(cv2.imencode(".png", np.ascontiguousarray(pixels))[1])
    name = _text(f"{label}, {samples.split} {samples.facts['source'][row]}")
    return f'<img src="{png_uri(data)}" alt="{name}" title="{name}">'


def _count_table(report: DuplicateReport | NearDuplicateReport, within: str, across: str) -> str:
    rows = [(split, within, number) for split, number in report.within.items()]
    rows += [(split, across.format(other), n) for (split, other), n in report.across.items()]
    cells = "".join(
        f'<tr><th scope="row">{_text(split)}</th><td class="text">{_text(where)}</td>'
        f"<td>{number:,}</td></tr>"
        for split, where, number in rows
    )
    return _scrolling(
        "Number of duplicates",
        '<table><thead><tr><th class="text">images of</th><th class="text">that are</th>'
        "<th>number</th></tr></thead>"
        f"<tbody>{cells}</tbody></table>",
    )


def _class_chart(names: Sequence[str], counts: Mapping[str, Mapping[str, int]]) -> str:
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
    shapes = []
    for number, name in enumerate(names):
        top = number * row_height + 6
        middle = top + bar * len(counts) / 2 + 4
        shapes.append(f'<text x="{left - 10}" y="{middle:g}" class="end">{_text(name)}</text>')
        for place, (split, by_class) in enumerate(counts.items()):
            count = by_class.get(name, 0)
            share = count / totals[split]
            width = length * share / (largest or 1)
            y = top + place * bar
            shapes.append(
                f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{bar - 2}" rx="2" '
                f'class="series{place % 3}"/><text x="{left + width + 6:.1f}" y="{y + bar - 4}" '
                f'class="small">{share:.1%} ({count:,})</text>'
            )
    legend = "".join(
        f'<span><i class="series{place % 3}"></i>{_text(split)}</span>'
        for place, split in enumerate(counts)
    )
    return f'<p class="legend">Share of the split: {legend}</p>' + _svg(
        720, len(names) * row_height + 6, "Share of each class in every split", shapes
    )


def _entropy_chart(entropies: np.ndarray) -> str:
    """Columns: how many images have which entropy."""
    step = 0.1
    counts = np.bincount((entropies / step + 1e-9).astype(np.int64))
    left, bottom, height = 20, 190, 160
    width = 660 / len(counts)
    shapes = []
    for place, count in enumerate(counts.tolist()):
        x, size = left + place * width, height * count / counts.max()
        shapes.append(
            f'<rect x="{x:.1f}" y="{bottom - size:.1f}" width="{width - 2:.1f}" '
            f'height="{size:.1f}" rx="2" class="series0"/><text x="{x + width / 2 - 1:.1f}" '
            f'y="{bottom - size - 5:.1f}" class="small middle">{count:,}</text>'
        )
        if place % 2 == 0:
            value = f"{place * step:.1f}"
            shapes.append(
                f'<text x="{x:.1f}" y="{bottom + 16}" class="small middle">{value}</text>'
            )
    shapes.append(f'<line x1="{left}" y1="{bottom}" x2="{left + 660}" y2="{bottom}"/>')
    shapes.append(f'<text x="{left + 330}" y="{bottom + 36}" class="middle">entropy, nats</text>')
    return _svg(720, bottom + 44, "Histogram of the entropy of the votes", shapes)


def _svg(width: int, height: float, label: str, shapes: Sequence[str]) -> str:
    return _scrolling(label, svg(width, height, label, shapes))


def _list_of(texts: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(text)}</li>' for text in texts)}</ul>"


def _more(number: int, what: str) -> str:
    return f'<p class="note">and {number:,} more {what}</p>' if number > 0 else ""


def _share(number: int, total: int) -> str:
    return f"{number / total:.1%}" if total else ""
