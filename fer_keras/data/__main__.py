"""Lists, describes, prepares, audits and shows data sets; cuts faces out of photos.

The command is `python -m fer_keras.data`.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_keras.common.arguments import positive
from fer_keras.common.errors import DataError, run_command
from fer_keras.common.files import atomic_path, write_text
from fer_keras.common.installed import require
from fer_keras.common.progress import progress
from fer_keras.common.quiet import load_keras
from fer_keras.data import list_datasets
from fer_keras.data.beam_records import beam_flags
from fer_keras.data.load import describe, is_available, load_samples, prepare, require_source
from fer_keras.data.prepared import PreparedContent, read_content
from fer_keras.data.samples import DatasetInfo, Samples

if TYPE_CHECKING:
    from fer_keras.data.audit.duplicates import DuplicateReport
    from fer_keras.data.audit.near_duplicates import NearDuplicateReport

_EXAMPLES = """\
examples:
  python -m fer_keras.data list
  python -m fer_keras.data describe fer2013
  python -m fer_keras.data prepare ferplus --source ~/data/fer2013
  python -m fer_keras.data prepare affectnet --source /data/AffectNet --workers 8
  python -m fer_keras.data prepare affectnet --layout esr --size 224 --output affectnet_esr
  python -m fer_keras.data audit fer2013
  python -m fer_keras.data audit folder --source ~/pictures
  python -m fer_keras.data audit ferplus --html ferplus.html
  python -m fer_keras.data preview ferplus --augment standard --output sheet.png
  python -m fer_keras.data crop ~/photos --out ~/faces --size 112

Data sets are looked for under $FER_KERAS_DATA and prepared once, in $FER_KERAS_CACHE
(~/.cache/fer_keras without it).
"""
_CROP_HELP = """\
examples:
  python -m fer_keras.data crop ~/photos --out ~/faces
  python -m fer_keras.data crop ~/photos --out ~/faces48 --no-align --size 48 --undetected keep
  python -m fer_keras.data crop ~/photos --out ~/drawn --draw --size 112
  python -m fer_keras.data audit folder --source ~/faces

output:
  DIR/pictures   PNG files in the folders of SOURCE (ROOT/split/class/, ROOT/class/ or flat);
                 loads as data set `folder` where SOURCE does
  DIR/crops.csv  a row for each photo (with --faces all, for each face): path, status (kept,
                 largest_kept of several, no_face, whole_kept, unreadable), reason, number of
                 faces, box and five landmarks in pixels of the photo, score, file written
  Run again with the same arguments it goes on where it stopped.

exit code:
  0  every photo was read, with or without a face
  2  nothing was done, or some photos could not be read: the others are done, these are listed
"""
# What a command uses that the base install leaves out.
_NEEDED = {
    "prepare": ("tensorflow_datasets",),
    "audit": ("tensorflow_datasets",),
    "preview": ("tensorflow_datasets", "tensorflow", "matplotlib"),
}
_AUGMENTED_ROWS = 3
_SHOWN_CONFLICTS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one sub-command.

    Args:
        argv: Arguments without the program's name; those of the process without it.

    Returns:
        Exit code: 0, or 2 where `crop` could not read some photos.

    Raises:
        FerKerasError: Reported by `run_command` in one line, exit code 2.
    """
    arguments = _parser().parse_args(argv)
    needed = _NEEDED.get(arguments.command, ())
    require(f"python -m fer_keras.data {arguments.command}", *needed)
    if arguments.command == "list":
        _list()
    elif arguments.command == "describe":
        _describe(arguments)
    elif arguments.command == "prepare":
        _prepare(arguments)
    elif arguments.command == "audit":
        _audit(arguments)
    elif arguments.command == "crop":
        return _crop(arguments)
    else:
        _preview(arguments)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.data",
        description="List, describe, prepare, audit and show data sets; crop photos to faces.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="all data sets, and whether their files are here")
    for command, text in (
        ("describe", "classes, official counts, licence, how to get it"),
        ("prepare", "read, check and store a data set once"),
        ("audit", "counts per class and split, exact and near duplicates, label conflicts"),
        ("preview", "write a picture with samples of every class"),
    ):
        sub = commands.add_parser(command, help=text, description=text)
        sub.add_argument("name", metavar="NAME", help="a data set of `list`")
        if command in ("describe", "audit"):
            sub.add_argument(
                "--html",
                nargs="?",
                const="",
                metavar="FILE.html",
                help=f"also write a page with pictures (default: NAME-{command}.html); it may be "
                "passed on only where the pictures may",
            )
        if command == "describe":
            sub.set_defaults(source=None, cache_dir=None, label_rule=None)
            continue
        sub.add_argument("--source", metavar="PATH", help="its file or folder")
        sub.add_argument("--cache-dir", metavar="DIR", help="where prepared data is kept")
        if command == "prepare":
            sub.add_argument(
                "--labels",
                metavar="ORDER",
                help="of `folder`, where the class folders are numbers: affectnet7, affectnet8, "
                "fer2013, or the names in their order, with commas; kept in labels.txt there",
            )
            sub.add_argument(
                "--layout",
                choices=("esr",),
                help="of `affectnet`: write it as picture files in ESR's folders instead",
            )
            sub.add_argument(
                "--size", type=positive, default=96, metavar="PIXELS", help="of them; default: 96"
            )
            sub.add_argument("--output", type=Path, metavar="DIR", help="where to, a new folder")
            sub.add_argument(
                "--workers", type=int, metavar="N", help="processes of Apache Beam; without: none"
            )
            sub.add_argument(
                "--beam-flag",
                action="append",
                default=[],
                metavar="=--FLAG=VALUE",
                help="a flag of Beam, for another runner: --beam-flag=--runner=FlinkRunner",
            )
        if command in ("audit", "preview"):
            sub.add_argument("--label-rule", metavar="RULE", help="how votes become labels")
        if command == "audit":
            sub.add_argument(
                "--near",
                action=argparse.BooleanOptionalAction,
                default=True,
                help="look for near duplicates, some seconds for 30,000 images (default: yes)",
            )
        if command == "preview":
            sub.add_argument("--split", default="train", help="default: train")
            sub.add_argument("--augment", default="none", metavar="POLICY", help="default: none")
            sub.add_argument(
                "--samples", type=positive, default=4, metavar="N", help="of each class; default: 4"
            )
            sub.add_argument("--image-size", type=int, default=48, metavar="PIXELS")
            sub.add_argument("--seed", type=int, default=0)
            sub.add_argument("--output", type=Path, default=Path("sheet.png"), metavar="FILE.png")
    _add_crop(commands)
    return parser


def _add_crop(commands: Any) -> None:
    sub = commands.add_parser(
        "crop",
        help="cut the faces out of a folder of photos",
        description="Cut the faces out of a folder of photos.",
        epilog=_CROP_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = sub.add_argument
    add("source", type=Path, metavar="SOURCE", help="photos in folders of any depth")
    add("--out", type=Path, required=True, metavar="DIR", help="new folder, or one to go on with")
    add(
        "--detector",
        default="mtcnn",
        metavar="NAME",
        help="mtcnn (default), haar, yunet, blazeface, none",
    )
    add(
        "--align",
        action=argparse.BooleanOptionalAction,
        help="turn faces upright by their landmarks (default: where the detector gives them), "
        "or cut out the squared box",
    )
    add("--size", type=int, default=112, metavar="PIXELS", help="side written (default: 112)")
    add(
        "--margin",
        type=float,
        metavar="SHARE",
        help="grow the box by this share of its side on each side; implies --no-align",
    )
    add("--faces", choices=("largest", "all"), default="largest", help="default: largest")
    add(
        "--undetected",
        choices=("drop", "keep"),
        default="drop",
        help="photos without a face: write nothing (default), or the whole photo",
    )
    add(
        "--draw",
        action="store_true",
        help="write the whole photo with box and landmarks drawn, in place of the crop",
    )


def _list() -> None:
    rows = [["data set", "here", "classes", "votes", "title"]]
    for name in list_datasets():
        info = describe(name)
        here = "yes" if is_available(name) else ("--source" if info.needs_path else "no")
        votes = "yes" if info.has_votes else ""
        rows.append([name, here, str(len(info.class_names)), votes, info.title])
    print(_table(rows))
    if not os.environ.get("FER_KERAS_DATA"):
        print("\nFER_KERAS_DATA is not set: it names the folder that holds the data sets.")


def _describe(arguments: argparse.Namespace) -> None:
    info = describe(arguments.name)
    page = _page_path(arguments)
    print(f"{info.name}: {info.title}\n")
    print("\n".join(f"  {code}  {emotion}" for code, emotion in info.codes.items()))
    if info.official_counts:
        rule = " by the majority rule" if info.has_votes else ""
        print(f"\nOfficial counts{rule}:\n")
        print(_count_table(info.class_names, info.official_counts))
    print(f"\nLicence: {info.licence}")
    if info.citation:
        print(f"Source: {info.citation}")
    print(f"\nHow to get it:\n{info.how_to_get}")
    if page:
        splits = {}
        if is_available(info.name):
            splits = {split: _load(arguments, split) for split in _prepared(arguments)[1].counts}
        _write_page(page, arguments, splits)


def _page_path(arguments: argparse.Namespace) -> Path | None:
    """The page that is asked for; checked before the work is done."""
    if arguments.html is None:
        return None
    page = Path(arguments.html or f"{arguments.name}-{arguments.command}.html")
    if page.suffix.lower() != ".html" or not page.parent.is_dir():
        raise DataError(f"--html: expected a .html in a folder that exists. Received: {page}")
    return page


def _prepared(arguments: argparse.Namespace) -> tuple[Path, PreparedContent]:
    folder = prepare(arguments.name, arguments.source, arguments.cache_dir)
    return folder, read_content(folder)


def _write_page(
    page: Path,
    arguments: argparse.Namespace,
    splits: Mapping[str, Samples],
    duplicates: "DuplicateReport | None" = None,
    near: "NearDuplicateReport | None" = None,
) -> None:
    from fer_keras.data.audit.page import PageContent, build_page, native_sizes

    found = PageContent()
    if splits:
        folder, content = _prepared(arguments)
        found = PageContent(
            source=str(require_source(arguments.name, arguments.source)),
            splits=splits,
            stored=content.counts,
            sizes=native_sizes(folder, content.counts),
            notes=content.notes,
            duplicates=duplicates,
            near=near,
        )
    write_text(page, build_page(describe(arguments.name), found))
    print(f"Page: {page}")


def _prepare(arguments: argparse.Namespace) -> None:
    if arguments.labels is not None:
        if arguments.name != "folder" or not arguments.source:
            raise DataError(
                "--labels: expected the data set `folder` and its --source. Received: "
                f"{arguments.name}"
            )
        # Only now, so that --help is answered at once.
        from fer_keras.data.datasets.class_folders import write_label_order

        write_label_order(require_source(arguments.name, arguments.source), arguments.labels)
    if arguments.layout is not None or arguments.output is not None:
        _repack(arguments)
        return
    folder = prepare(
        arguments.name,
        arguments.source,
        arguments.cache_dir,
        beam=_beam(arguments),
    )
    content = read_content(folder)
    print(folder)
    print(_table([["split", "images"], *([s, str(n)] for s, n in content.counts.items())]))
    for path in content.listings:
        print(f"Listing: {path}")
    _print_notes(content.notes)


def _repack(arguments: argparse.Namespace) -> None:
    if arguments.name != "affectnet" or arguments.output is None or arguments.layout is None:
        raise DataError(
            "--layout: expected `prepare affectnet --layout esr --output DIR`. Received: "
            f"{arguments.name}, --layout {arguments.layout}, --output {arguments.output}"
        )
    from fer_keras.data.esr_folders import write_esr_folders

    source = require_source(arguments.name, arguments.source)
    counts = write_esr_folders(source, arguments.output, arguments.size)
    print(arguments.output)
    print(_table([["split", "images"], *([split, str(n)] for split, n in counts.items())]))


def _beam(arguments: argparse.Namespace) -> tuple[str, ...]:
    if arguments.workers is None and not arguments.beam_flag:
        return ()

    return beam_flags(1 if arguments.workers is None else arguments.workers, arguments.beam_flag)


def _audit(arguments: argparse.Namespace) -> None:
    from fer_keras.data.audit.duplicates import duplicate_audit
    from fer_keras.data.audit.near_duplicates import near_duplicate_audit

    info = describe(arguments.name)
    page = _page_path(arguments)
    _, content = _prepared(arguments)
    splits = {split: _load(arguments, split) for split in content.counts}
    rule = next(iter(splits.values())).label_rule
    print(f"{info.title}\nLabel rule: {rule}")
    if info.has_votes:
        # FER+ is in use with two lists of votes.
        source = require_source(arguments.name, arguments.source)
        print(f"Votes: {f'label.csv below {source}' if source.is_dir() else source}")
    print()
    counts = {split: samples.class_counts() for split, samples in splits.items()}
    print(_count_table(content.class_names, counts))
    for split, samples in splits.items():
        dropped = content.counts[split] - len(samples)
        if dropped:
            print(f"{split}: {dropped} more images have no label by this rule")
    if info.official_counts and rule in ("hard", "majority"):
        print(f"\nOfficial counts: {_compare(counts, info)}")
    with progress("looking for duplicates"):
        report = duplicate_audit(splits)
    print("\nExact duplicates (equal decoded pixels):\n")
    _print_duplicates(report, "twice or more in it", "in {}")
    near = None
    if arguments.near:
        with progress("looking for near duplicates"):
            near = near_duplicate_audit(splits)
    if near:
        print("\nNear duplicates (saved again, brightened, mirrored, moved by a pixel or two):\n")
        _print_duplicates(near, "near to another of it", "near to one in {}, none equal")
        print(
            f"{near.num_pairs} pairs, {near.num_mirrored} mirrored, {near.num_conflicts} with "
            f"different labels; {near.num_flat} images are too flat to be compared"
        )
    print(
        f"\nLabel conflicts: {report.num_conflicts} groups of identical images with different "
        f"labels, {report.num_conflicting_images} images"
    )
    for group in report.conflicts[:_SHOWN_CONFLICTS]:
        print("  " + "; ".join(f"{split} {source} {label}" for split, source, label in group))
    if report.num_conflicts > _SHOWN_CONFLICTS:
        print(f"  and {report.num_conflicts - _SHOWN_CONFLICTS} more")
    # Preparation refuses a source with any unreadable picture, so that none is skipped silently.
    print("Unreadable files: 0")
    _print_notes(content.notes)
    if page:
        _write_page(page, arguments, splits, report, near)


def _print_duplicates(
    report: "DuplicateReport | NearDuplicateReport", within: str, across: str
) -> None:
    rows = [["images of", "that are", "number"]]
    rows += [[split, within, str(n)] for split, n in report.within.items()]
    rows += [[one, across.format(other), str(n)] for (one, other), n in report.across.items()]
    print(_table(rows))


def _crop(arguments: argparse.Namespace) -> int:
    # Its detectors bring LiteRT.
    from fer_keras.data.crop.crop import CropSettings, crop_folder
    from fer_keras.data.crop.crop_table import PICTURES, TABLE, detection_table

    out: Path = arguments.out
    settings = CropSettings(
        detector=arguments.detector,
        align=arguments.align,
        size=arguments.size,
        margin=arguments.margin,
        faces=arguments.faces,
        undetected=arguments.undetected,
        draw=arguments.draw,
    )
    folders: list[str] = []

    def unreadable_folder(error: OSError) -> None:
        folders.append(f"cannot be read ({error.strerror}): {error.filename}")

    rows, passed_over = crop_folder(
        arguments.source,
        out,
        settings,
        progress=sys.stderr.isatty(),
        unreadable=unreadable_folder,
    )
    print(_table(detection_table(rows)))
    print(f"\n{out / TABLE}\n{out / PICTURES}")
    if passed_over:
        print(f"{len(passed_over)} other files passed over, the first: {passed_over[0]}")
    unreadable = folders + [row["reason"] for row in rows if row["status"] == "unreadable"]
    for reason in unreadable:
        print(f"error: {reason}", file=sys.stderr)
    return 2 if unreadable else 0


def _preview(arguments: argparse.Namespace) -> None:
    output: Path = arguments.output
    if output.suffix.lower() != ".png":
        raise DataError(f"--output: expected a name that ends in .png. Received: {output}")
    samples = _load(arguments, arguments.split)
    rng = np.random.default_rng(arguments.seed)
    # By class, in an order drawn once; a small class has fewer.
    drawn = [
        rng.permutation(np.flatnonzero(samples.labels == label))[: arguments.samples]
        for label in np.unique(samples.labels)
    ]
    sheet = []
    for number in range(max(map(len, drawn))):
        places = [place for place, of_class in enumerate(drawn) if number < len(of_class)]
        chosen = samples.take([int(drawn[place][number]) for place in places])
        rows = [(chosen.images, chosen.targets)]
        if arguments.augment != "none":
            rows += _augmented(chosen, arguments.augment, arguments.seed + number)
        sheet.append((places, chosen, rows))
    output.parent.mkdir(parents=True, exist_ok=True)
    _write_sheet(output, sheet, len(drawn))
    print(output)


def _augmented(
    samples: Samples, policy_name: str, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures and targets of each step."""
    load_keras()
    from fer_keras.data.augmentation.policies import build_policy

    policy = build_policy(policy_name, samples.images.shape[1:])
    if policy is None:
        return []
    rows = []
    for step in range(_AUGMENTED_ROWS):
        step_seed = np.array([seed, step], np.int32)
        images, targets = policy(samples.images.astype(np.float32), samples.targets, step_seed)
        pixels = np.clip(np.round(np.asarray(images)), 0, 255).astype(np.uint8)
        rows.append((pixels, np.asarray(targets)))
    return rows


def _write_sheet(
    path: Path,
    sheet: Sequence[tuple[Sequence[int], Samples, Sequence[tuple[np.ndarray, np.ndarray]]]],
    num_columns: int,
) -> None:
    """Draws a column for each class: its label, then samples, each with augmented versions below.

    What a policy made of a target stands above the picture where it differs.
    """
    from matplotlib.figure import Figure

    num_rows = sum(len(rows) for _, _, rows in sheet)
    figure = Figure(figsize=(1.4 * num_columns, 1.4 * num_rows + 0.3), dpi=100)
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    first = 0
    for places, samples, rows in sheet:
        for row, (images, targets) in enumerate(rows):
            for column, (place, image) in enumerate(zip(places, images, strict=True)):
                axis = axes[first + row, place]
                axis.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
                if first + row == 0:
                    axis.set_title(samples.class_names[samples.labels[column]], fontsize=9)
                elif np.abs(targets[column] - samples.targets[column]).max() > 0.005:
                    parts = [
                        f"{targets[column, i]:.0%} {samples.class_names[i]}"
                        for i in np.argsort(-targets[column])[:2]
                    ]
                    axis.set_title(", ".join(parts), fontsize=6)
        first += len(rows)
    figure.tight_layout(pad=0.3, h_pad=0.8)
    with progress(f"drawing {path.name}"), atomic_path(path) as temporary:
        figure.savefig(temporary)


def _load(arguments: argparse.Namespace, split: str) -> Samples:
    info = describe(arguments.name)
    return load_samples(
        arguments.name,
        split,
        label_rule=arguments.label_rule,
        image_size=getattr(arguments, "image_size", 48),
        channels=3 if info.channels == 3 else 1,
        source=arguments.source,
        cache_dir=arguments.cache_dir,
    )


def _compare(counts: dict[str, dict[str, int]], info: DatasetInfo) -> str:
    differing = [
        f"{split} {name} {count} (official {info.official_counts[split][name]})"
        for split, by_class in counts.items()
        for name, count in by_class.items()
        if count != info.official_counts.get(split, {}).get(name, count)
    ]
    return "; ".join(differing) or "equal in every class and split above"


def _count_table(class_names: Sequence[str], counts: Mapping[str, Mapping[str, int]]) -> str:
    rows = [["", *counts, "total"]]
    for name in class_names:
        row = [by_class.get(name, 0) for by_class in counts.values()]
        rows.append([name, *map(str, row), str(sum(row))])
    totals = [sum(by_class.values()) for by_class in counts.values()]
    rows.append(["total", *map(str, totals), str(sum(totals))])
    return _table(rows)


def _table(rows: list[list[str]]) -> str:
    """Aligned columns: numbers to the right, text to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numeric = [all(row[column].isdigit() for row in rows[1:]) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"Note: {note}")


if __name__ == "__main__":
    run_command(main)
