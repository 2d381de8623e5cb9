"""Tells a smart home over MQTT who is seen, in the manner of Home Assistant's discovery.

Topics, all retained, so that whoever comes later knows too:

- `fer_keras/ID/state`: JSON with `faces` (how many), `expression` (of the largest face; "unsure"
  where the model would rather not say, "none" without a face) and `people` (track, dominant and
  unsure of each face).
- `fer_keras/ID/availability`: "online"; "offline" where the camera is lost, after the end, and as
  the last will, which the broker publishes for a program that was killed.
- `homeassistant/sensor/ID/.../config`: two sensors of one device, as Home Assistant's "MQTT
  discovery" wants them.

No picture and no probability is published. The state is sent when it changes, at most once a
second. A broker that is gone is connected again; then everything is told anew.
"""

import json
import re
import threading
import time
from collections.abc import Sequence
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from fer_keras.common.errors import ConfigError
from fer_keras.runtime.stream.follow import StreamFace

DEFAULT_PORT = 1883
NO_FACE, UNSURE = "none", "unsure"
# A film's expressions change more often than a home's log should grow.
_MIN_PAUSE_S = 1.0
_RECONNECT_S = 1, 30
_KEEP_ALIVE_S = 15
_END_S = 2.0
# Home Assistant says so when it has started.
_BIRTH_TOPIC, _BIRTH = "homeassistant/status", b"online"


def parse_broker(text: str) -> tuple[str, int]:
    """The broker of `--mqtt`.

    Args:
        text: HOST or HOST:PORT; an IPv6 address stands in brackets.

    Returns:
        Host and port.

    Raises:
        ConfigError: It is neither.
    """
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or "@" in text or parts.path or parts.query or port == 0:
        raise ConfigError(f"--mqtt: expected HOST or HOST:PORT, received {text!r}")
    return host, port or DEFAULT_PORT


class MqttPublisher:
    """A device of a smart home; a context manager that says "offline" in the end.

    Args:
        broker: Host and port.
        name: Of the device, for people; its topics have the same letters and digits.
        class_names: The labels of the model.
        user: For a broker that wants one.
        password: Of the user.

    Attributes:
        connected: Whether the broker is there now.
        trouble: What a person should be told now; None where the broker is there.
        refusal: Why the broker lets nobody in; None where it does.

    Raises:
        ConfigError: The name has no letter and no digit.
    """

    def __init__(
        self,
        broker: tuple[str, int],
        name: str,
        class_names: Sequence[str],
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        self._id = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        if not self._id:
            raise ConfigError(f"--mqtt-name: expected letters or digits, received {name!r}")
        self._name = name
        self._class_names = list(class_names)
        self._where = f"mqtt {broker[0]}:{broker[1]}"
        self.connected = False
        self.trouble: str | None = None
        self.refusal: str | None = None
        self._state: str | None = None
        self._sent_s = 0.0
        self._is_sent = False
        self._is_seeing = True
        # Frames come in one thread, the broker's answers in another.
        self._lock = threading.Lock()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_disconnect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.will_set(self._topic("availability"), "offline", qos=1, retain=True)
        self._client.reconnect_delay_set(*_RECONNECT_S)
        if user is not None:
            self._client.username_pw_set(user, password)
        # A broker that starts later than the camera is no mistake.
        self._client.connect_async(*broker, keepalive=_KEEP_ALIVE_S)
        self._client.loop_start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.connected:
            self._publish("availability", "offline").wait_for_publish(_END_S)
        self._client.disconnect()
        self._client.loop_stop()

    def update(self, faces: Sequence[StreamFace]) -> None:
        """Tell what a frame shows, where that is news.

        Args:
            faces: Of the frame.

        Raises:
            ConfigError: The broker refuses the user.
        """
        if self.refusal is not None:
            raise ConfigError(
                f"{self._where}: the broker refuses the connection ({self.refusal}). Give "
                "--mqtt-user and its password in the variable FER_KERAS_MQTT_PASSWORD"
            )
        with self._lock:
            self._set_seeing(True)
            state = json.dumps(_state(faces), ensure_ascii=False)
            self._is_sent = self._is_sent and state == self._state
            self._state = state
            if not self._is_sent and time.monotonic() - self._sent_s >= _MIN_PAUSE_S:
                self._send_state()

    def lost(self) -> None:
        """Tell that the camera gives no frames."""
        with self._lock:
            self._set_seeing(False)

    def _set_seeing(self, seeing: bool) -> None:
        if seeing != self._is_seeing:
            self._is_seeing = seeing
            self._send_availability()

    def _send_availability(self) -> None:
        if self.connected:
            self._publish("availability", "online" if self._is_seeing else "offline")

    def _send_state(self) -> None:
        # Nothing is queued for a broker that is gone: it is told the latest when it is back.
        if self.connected and self._state is not None:
            self._publish("state", self._state)
            self._is_sent, self._sent_s = True, time.monotonic()

    def _publish(self, topic: str, content: str) -> mqtt.MQTTMessageInfo:
        return self._client.publish(self._topic(topic), content, qos=1, retain=True)

    def _topic(self, name: str) -> str:
        return f"fer_keras/{self._id}/{name}"

    # What follows runs in the client's thread.

    def _on_connect(self, client: mqtt.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self.refusal = str(reason)
            return
        self.refusal = None
        client.subscribe(_BIRTH_TOPIC)
        with self._lock:
            self.connected, self.trouble = True, None
            self._send_everything()

    def _on_disconnect(self, *_: Any) -> None:
        with self._lock:
            self.connected, self.trouble = False, f"{self._where}: not there, trying again"

    def _on_message(self, _: mqtt.Client, __: Any, message: mqtt.MQTTMessage) -> None:
        if message.payload == _BIRTH:
            with self._lock:
                self._send_everything()

    def _send_everything(self) -> None:
        for sensor, config in self._sensors().items():
            topic = f"homeassistant/sensor/{self._id}/{sensor}/config"
            self._client.publish(topic, json.dumps(config), qos=1, retain=True)
        self._send_availability()
        self._send_state()

    def _sensors(self) -> dict[str, dict[str, Any]]:
        shared = {
            "state_topic": self._topic("state"),
            "availability_topic": self._topic("availability"),
            "device": {
                "identifiers": [f"fer_keras_{self._id}"],
                "name": self._name,
                "model": "fer_keras",
                "sw_version": version("fer_keras"),
            },
        }
        return {
            "faces": {
                **shared,
                "name": "Faces",
                "unique_id": f"fer_keras_{self._id}_faces",
                "value_template": "{{ value_json.faces }}",
                "state_class": "measurement",
                "icon": "mdi:account-multiple",
            },
            "expression": {
                **shared,
                "name": "Expression",
                "unique_id": f"fer_keras_{self._id}_expression",
                "value_template": "{{ value_json.expression }}",
                "json_attributes_topic": self._topic("state"),
                "device_class": "enum",
                "options": [*self._class_names, UNSURE, NO_FACE],
                "icon": "mdi:emoticon-outline",
            },
        }


def _state(faces: Sequence[StreamFace]) -> dict[str, Any]:
    results = [face.result for face in faces]
    largest = max(results, key=lambda face: face["box"][2] * face["box"][3], default=None)
    expression = NO_FACE
    if largest is not None:
        expression = UNSURE if largest["unsure"] else largest["dominant"]
    people = [{key: face[key] for key in ("track", "dominant", "unsure")} for face in results]
    return {"faces": len(faces), "expression": expression, "people": people}
