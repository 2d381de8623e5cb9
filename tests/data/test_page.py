import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.data import list_datasets
from fer_keras.data.__main__ import main
from fer_keras.data.audit.duplicates import duplicate_audit
from fer_keras.data.audit.near_duplicates import near_duplicate_audit
from fer_keras.data.audit.page import PageContent, build_page, native_sizes
from fer_keras.data.datasets.synthetic_faces import generate
from fer_keras.data.load import describe
from fer_keras.data.samples import DatasetInfo, Samples, one_hot, pixel_sha256

_FACES = np.stack([face.image for face in generate(16, subjects=range(16))])
_NAMES = ("anger", "fear", "neutral")
_HOSTILE = "<script>alert('x')</script>\"><img src=https://evil/&#x27;\udce9.png"
_INFO = DatasetInfo(
    name="made",
    title="Made <b>faces</b>",
    class_names=_NAMES,
    codes=dict(enumerate(_NAMES)),
    official_counts={"train": {"anger": 4, "fear": 4, "neutral": 99}},
    splits=("train", "test"),
    licence="May not be passed on.",
    citation="",
    how_to_get="Ask http://example.org/a?b&c.",
)


class _Page(HTMLParser):
    """Every start tag with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _samples(
    images: np.ndarray, labels: list[int], split: str, votes: np.ndarray | None = None
) -> Samples:
    sources = [f"{split}/{row}" for row in range(len(images))]
    sources[0] += _HOSTILE
    facts = {
        "source": np.array(sources),
        "sha256": np.array([pixel_sha256(image) for image in images]),
        "subject": np.array([""] * len(images)),
    }
    if votes is not None:
        facts["votes"] = votes
    return Samples("made", split, _NAMES, "hard", images, one_hot(np.array(labels), 3), facts)


@pytest.fixture(scope="module")
def content() -> PageContent:
    """Two splits with an exact copy of another label and a mirrored one across them, and votes."""
    votes = np.zeros((10, 10), np.int64)
    votes[:, 4] = 10
    votes[7, 4:7] = (4, 3, 3)
    held_out = np.stack([_FACES[0], _FACES[1][:, ::-1], *_FACES[10:14]])
    splits = {
        "train": _samples(_FACES[:10], [0, 0, 0, 0, 1, 1, 1, 1, 2, 2], "train", votes),
        "test": _samples(held_out, [1, 0, 0, 1, 2, 2], "test"),
    }
    return PageContent(
        source="/data/<made>",
        splits=splits,
        stored={"train": 13, "test": 6},
        sizes={(48, 48): 15, (60, 50): 4},
        notes=("no & yes",),
        duplicates=duplicate_audit(splits),
        near=near_duplicate_audit(splits),
    )


@pytest.fixture(scope="module")
def page(content: PageContent) -> str:
    return build_page(_INFO, content)


def _assert_self_contained(page: str) -> None:
    for tag, attributes in _Page(page).tags:
        assert tag not in ("script", "link", "iframe", "object", "base", "form")
        for key, value in attributes.items():
            assert not key.startswith("on")
            if key in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
                assert value.startswith("data:image/png;base64," if key == "src" else "#")
    assert not re.search(r"url\(|@import", page)
    assert "default-src 'none'" in page


def test_one_file_that_loads_nothing(page: str) -> None:
    _assert_self_contained(page)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_links_lead_to_sections(page: str) -> None:
    tags = _Page(page).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"][1:] for tag, attributes in tags if tag == "a"}
    assert targets <= set(ids)
    assert {"classes", "faces", "sizes", "duplicates", "near", "conflicts", "votes"} <= targets


def test_everything_is_shown(page: str) -> None:
    read = _Page(page)
    text = "".join(read.texts)
    for name in _NAMES:
        assert text.count(name) >= 3
    assert "It must not be published" in text
    assert text.count("May not be passed on.") == 2
    assert "/data/<made>" in text
    assert "no & yes" in text
    assert "train: 3 more images have no label" in text
    assert "50 x 60" in text
    assert "1 groups of identical images carry different labels, 2 images in all" in text
    assert "1 pairs, 1 of them mirrored" in text
    assert "correlation" in text
    assert "Least certain" in text
    assert "4\u00a0anger, 3\u00a0fear, 3\u00a0disgust" in text
    # Official counts that differ are marked: neutral, and with it the sum.
    assert [a.get("class") for tag, a in read.tags if tag == "td"].count("differs") == 2


def test_pictures_are_those_of_the_data_set(page: str, content: PageContent) -> None:
    pictures = [attributes["src"] for tag, attributes in _Page(page).tags if tag == "img"]
    assert len(pictures) >= 10 + 2 + 2 + 2
    data = base64.b64decode(pictures[0].partition(",")[2])
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert any(np.array_equal(decoded, face[..., 0]) for face in content.splits["train"].images)


def test_hostile_names_stay_text(page: str) -> None:
    assert "<script" not in page
    assert "<b>faces" not in page
    page.encode("utf-8")  # a file name need not be valid text
    shown = "".join(_Page(page).texts)
    assert "<script>alert('x')</script>\"><img src=https://evil/&#x27;?.png" in shown


def test_pictures_in_colour_keep_their_channels() -> None:
    red = np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    splits = {"train": _samples(red, [0, 1], "train")}
    page = build_page(_INFO, PageContent(splits=splits))
    picture = next(attributes["src"] for tag, attributes in _Page(page).tags if tag == "img")
    data = np.frombuffer(base64.b64decode(picture.partition(",")[2]), np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR)[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("name", list_datasets())
def test_description_alone(name: str) -> None:
    info = describe(name)
    page = build_page(info, PageContent())
    _assert_self_contained(page)
    text = "".join(_Page(page).texts)
    assert "<img" not in page
    assert "must not be published" not in text
    assert info.licence in text
    assert all(emotion in text for emotion in info.class_names)


def test_split_without_images_or_labels() -> None:
    empty = _samples(_FACES[:1], [0], "train").take([])
    splits = {"train": empty}
    page = build_page(
        _INFO,
        PageContent(
            splits=splits, duplicates=duplicate_audit(splits), near=near_duplicate_audit(splits)
        ),
    )
    assert "none" in page


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two splits of two classes; a validation face is a mirrored training face."""
    faces = [np.repeat(face, 3, axis=2) for face in _FACES]
    layout = {
        "train/happy/0.png": faces[0],
        "train/happy/1.png": cv2.resize(faces[1], (60, 50)),
        "train/sad/0.png": faces[2],
        "val/happy/0.png": faces[0][:, ::-1],
        "val/sad/0.png": faces[3],
    }
    for name, image in layout.items():
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    return tmp_path / "pictures"


def test_audit_writes_a_page(
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["audit", "folder", "--source", str(pictures), "--cache-dir", str(tmp_path / "c")]
    assert main([*options, "--html"]) == 0
    printed = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert "validation near to one in train, none equal 1" in lines
    assert "1 pairs, 1 mirrored, 0 with different labels; 0 images are too flat" in printed
    assert "Page: folder-audit.html" in lines
    page = Path("folder-audit.html").read_text("utf-8")
    _assert_self_contained(page)
    text = "".join(_Page(page).texts)
    assert "60 x 50" in text
    assert "val/happy/0.png" in text
    assert main([*options, "--no-near", "--html", "other.html"]) == 0
    assert "Near duplicates" not in capsys.readouterr().out
    assert "Near duplicates" not in Path("other.html").read_text("utf-8")
    for wrong in ("page.txt", "missing/page.html"):
        with pytest.raises(DataError, match=r"expected a \.html in a folder that exists"):
            main([*options, "--html", wrong])


def test_describe_writes_a_page_without_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["describe", "fer2013", "--html"]) == 0
    text = "".join(_Page(Path("fer2013-describe.html").read_text("utf-8")).texts)
    assert "Not on this machine" in text
    assert "7,215" in text


def test_native_sizes(pictures: Path, tmp_path: Path) -> None:
    from fer_keras.data.load import prepare

    folder = prepare("folder", pictures, tmp_path / "c")
    assert native_sizes(folder, ["train", "validation"]) == {(48, 48): 4, (50, 60): 1}
