"""A smart home is told by a real broker, also after the broker was away."""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.runtime.recognizer import FaceResult
from fer_keras.runtime.stream.follow import StreamFace

mqtt = pytest.importorskip("paho.mqtt.client", reason="needs the extra `mqtt`")
publishing = pytest.importorskip("fer_keras.runtime.stream.mqtt")

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
MODEL = Path(__file__).parents[2] / "saved_models" / "ferplus_tiny"
NAMES = ("neutral", "happiness")
PATIENCE_S = 60.0

needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="needs the broker mosquitto")


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


class Broker:
    """Mosquitto on a port of its own; it remembers nothing when it is started again."""

    def __init__(self, *settings: str, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._file = folder / "mosquitto.conf"
        # Started by root it would become a user that may not read the test's files.
        own = [f"user {getpass.getuser()}", f"listener {self.port} 127.0.0.1"]
        self._file.write_text("\n".join([*own, *settings]) + "\n")
        self.start()

    def start(self) -> None:
        assert MOSQUITTO is not None
        self.process = subprocess.Popen([MOSQUITTO, "-c", self._file], stderr=subprocess.DEVNULL)

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        until(answers, "the broker does not start")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)


class Home:
    """What a smart home sees: the last message of every topic, and all that came."""

    def __init__(self, port: int) -> None:
        self.last: dict[str, str] = {}
        self.all: list[tuple[str, str]] = []
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_message = self._note
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _note(self, _: Any, __: Any, message: Any) -> None:
        self.last[message.topic] = message.payload.decode()
        self.all.append((message.topic, message.payload.decode()))

    def say(self, topic: str, content: str) -> None:
        self._client.publish(topic, content, qos=1).wait_for_publish(PATIENCE_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker("allow_anonymous true", folder=tmp_path)
    yield running
    running.stop()


@pytest.fixture
def home(broker: Broker) -> Iterator[Home]:
    seen = Home(broker.port)
    yield seen
    seen.close()


def face(dominant: str, side: float = 50.0, unsure: bool = False, track: int = 1) -> StreamFace:
    result: FaceResult = {
        "box": (0.0, 0.0, side, side), "landmarks": None, "dominant": dominant, "score": 0.9,
        "emotions": {name: float(name == dominant) for name in NAMES}, "unsure": unsure,
        "label_set": [dominant], "track": track, "pose": None, "quality": 1.0,
        "valence": None, "arousal": None,
    }  # fmt: skip
    return StreamFace(result, np.array([0.5, 0.5], np.float32))


def publisher(broker: Broker, **options: Any) -> Any:
    return publishing.MqttPublisher(("127.0.0.1", broker.port), "Living room", NAMES, **options)


@needs_broker
def test_a_home_learns_the_device_and_what_it_sees(broker: Broker, home: Home) -> None:
    with publisher(broker) as device:
        until(lambda: device.connected, "not connected")
        device.update([face("neutral", 40, track=2), face("happiness", 60)])
        until(lambda: "fer_keras/living_room/state" in home.last, "no state")
        state = json.loads(home.last["fer_keras/living_room/state"])
        assert state == {
            "faces": 2,
            "expression": "happiness",
            "people": [
                {"track": 2, "dominant": "neutral", "unsure": False},
                {"track": 1, "dominant": "happiness", "unsure": False},
            ],
        }
        assert home.last["fer_keras/living_room/availability"] == "online"
        config = json.loads(home.last["homeassistant/sensor/living_room/expression/config"])
        assert config["options"] == ["neutral", "happiness", "unsure", "none"]
        assert config["state_topic"] == "fer_keras/living_room/state"
        assert config["availability_topic"] == "fer_keras/living_room/availability"
        count = json.loads(home.last["homeassistant/sensor/living_room/faces/config"])
        assert config["unique_id"] != count["unique_id"]
        assert config["device"] == count["device"]
        device.lost()
        until(lambda: home.last["fer_keras/living_room/availability"] == "offline", "still online")
        device.update([])
        until(lambda: home.last["fer_keras/living_room/availability"] == "online", "still offline")
    until(lambda: home.last["fer_keras/living_room/availability"] == "offline", "no goodbye")


@needs_broker
def test_the_state_is_sent_when_it_changes_and_once_a_second(broker: Broker, home: Home) -> None:
    with publisher(broker) as device:
        until(lambda: device.connected, "not connected")
        start = time.monotonic()
        end = start + 2.5
        number = 0
        while time.monotonic() < end:
            number += 1
            device.update([face(NAMES[number % 2])])
            time.sleep(0.01)
        time.sleep(1.1)
        device.update([face("happiness", unsure=True)])
        until(lambda: '"expression": "unsure"' in str(home.last), "unsure is not told")
        sent = [content for topic, content in home.all if topic.endswith("/state")]
        # A busy machine takes longer, and then there may be more.
        assert 3 <= len(sent) <= time.monotonic() - start + 2
        time.sleep(1.1)
        device.update([face("happiness", unsure=True)])
        time.sleep(0.3)
        assert len([topic for topic, _ in home.all if topic.endswith("/state")]) == len(sent)


@needs_broker
def test_a_broker_that_was_away_is_told_everything_anew(broker: Broker, home: Home) -> None:
    with publisher(broker) as device:
        until(lambda: device.connected, "not connected")
        device.update([face("neutral")])
        broker.stop()
        until(lambda: not device.connected, "the loss is not noticed")
        assert device.trouble == f"mqtt 127.0.0.1:{broker.port}: not there, trying again"
        device.update([face("happiness")])
        home.last.clear()
        broker.start()
        until(lambda: device.connected, "not connected again")
        until(lambda: len(home.last) >= 4, "not told anew")
        assert device.trouble is None
        assert json.loads(home.last["fer_keras/living_room/state"])["expression"] == "happiness"
        assert home.last["fer_keras/living_room/availability"] == "online"
        # Home Assistant was started again, the broker was not.
        home.last.clear()
        home.say("homeassistant/status", "online")
        until(lambda: len(home.last) >= 5, "the birth message is not answered")


@needs_broker
def test_a_broker_that_comes_later_is_no_mistake(tmp_path: Path) -> None:
    running = Broker("allow_anonymous true", folder=tmp_path)
    running.stop()
    with publisher(running) as device:
        device.update([face("neutral")])
        until(lambda: device.trouble is not None, "nothing is said")
        running.start()
        until(lambda: device.connected, "not connected")
    running.stop()


@needs_broker
def test_a_wrong_password_is_one_line(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    tool = shutil.which("mosquitto_passwd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert tool is not None
    subprocess.run([tool, "-b", "-c", passwords, "pi", "secret"], check=True)
    running = Broker(f"password_file {passwords}", folder=tmp_path)
    try:
        with publisher(running, user="pi", password="secret") as device:
            until(lambda: device.connected, "not connected")
        with publisher(running, user="pi", password="wrong") as device:
            until(lambda: device.refusal is not None, "not refused")
            with pytest.raises(ConfigError, match=r"refuses the connection \(Not authorized\)"):
                device.update([])
    finally:
        running.stop()


@needs_broker
def test_the_command_publishes_and_a_killed_one_leaves_its_last_will(
    broker: Broker, home: Home, tmp_path: Path
) -> None:
    data = pytest.importorskip("skimage.data", reason="needs the package scikit-image")
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(3):
        cv2.imwrite(str(frames / f"{number}.png"), data.astronaut()[..., ::-1])
    words = [sys.executable, "-m", "fer_keras.camera", "--model", str(MODEL), "--no-window"]
    words += ["--mqtt", f"127.0.0.1:{broker.port}", "--mqtt-name", "Hall", "--source"]
    done = subprocess.run([*words, str(frames)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    # The rows do not go to the terminal too.
    assert done.stdout == ""
    until(lambda: home.last.get("fer_keras/hall/availability") == "offline", "no goodbye")
    states = [json.loads(content) for topic, content in home.all if topic.endswith("hall/state")]
    assert [person["track"] for person in states[0]["people"]] == [1]

    code = (
        "import time; from fer_keras.runtime.stream.mqtt import MqttPublisher\n"
        f"p = MqttPublisher(('127.0.0.1', {broker.port}), 'Hall', ['a', 'b'])\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    until(lambda: home.last.get("fer_keras/hall/availability") == "online", "not online")
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE_S)
    until(lambda: home.last.get("fer_keras/hall/availability") == "offline", "no last will")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("home.local", ("home.local", 1883)),
        ("10.0.0.7:8883", ("10.0.0.7", 8883)),
        ("[::1]:1884", ("::1", 1884)),
    ],
)
def test_brokers(text: str, expected: tuple[str, int]) -> None:
    assert publishing.parse_broker(text) == expected


@pytest.mark.parametrize("text", ["", ":1883", "home:port", "home:99999", "mqtt://home", "a@b"])
def test_what_is_no_broker_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--mqtt: expected HOST or HOST:PORT, received"):
        publishing.parse_broker(text)
