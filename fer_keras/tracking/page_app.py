"""MLflow's server with a page that opens on the runs of trainings; what `fer_keras.ui` starts.

MLflow's page opens on what it offers for language models, and remembers in the browser which of
both a user wants. A first line of the page says so before it starts: training, and no telemetry. An
address without a table leads to the table of runs, with the columns of
`fer_keras.tracking.page_view`. Run by uvicorn, with the store in `FER_KERAS_STORE`.
"""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio
import mlflow
import mlflow.server as mlflow_server

from fer_keras.tracking.page_view import VIEW_NAME, view_address

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
STORE = "FER_KERAS_STORE"

# What MLflow's page keeps in the browser: keys of its own, with their version behind them.
_SETTINGS = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.settings.telemetry.enabled_v1": False,
    "mlflow.telemetry.info.alert.dismissed_v1": True,
    # Praise of the registry's page, which lies over the champions at the first visit.
    "_mlflow_model_registry_promo_modal_dismissed_v1": True,
}
# What it keeps too, and a user may change: the panel of the assistant opens by itself otherwise.
_AT_FIRST = {
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    "mlflow.assistant.panelOpen_v1": False,
}


def first_script(start: str) -> str:
    """What the page runs before it starts.

    Args:
        start: Where an address without anything behind the host leads, from the `#` on.

    Returns:
        A script element.
    """
    query = f"?viewStateShareKey={VIEW_NAME}&workflowType=machine_learning"
    code = f"""
      const settings = {json.dumps(_SETTINGS)};
      for (const key in settings) localStorage.setItem(key, JSON.stringify(settings[key]));
      const first = {json.dumps(_AT_FIRST)};
      for (const key in first)
        if (localStorage.getItem(key) === null)
          localStorage.setItem(key, JSON.stringify(first[key]));
      const lead = () => {{
        const hash = location.hash.split("?")[0].replace(/\\/$/, "");
        if (hash === "" || hash === "#") location.replace({json.dumps(start)});
        const table = hash.match(/^#\\/experiments\\/\\d+(\\/(runs|traces|overview))?$/);
        if (table && !location.hash.includes("viewStateShareKey")) {{
          const id = hash.split("/")[2];
          location.replace(`#/experiments/${{id}}/runs{query}`);
        }}
      }};
      lead();
      addEventListener("hashchange", lead);
    """
    return f"<script>(() => {{{code}}})()</script>"


class _Page:
    """An ASGI application around MLflow's that adds the script to the page.

    Args:
        inner: MLflow's application.
        start: Says where an address without anything behind the host leads.
    """

    def __init__(self, inner: Any, start: Callable[[], str]) -> None:
        self.inner = inner
        self.start = start

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            await self.inner(scope, receive, send)
            return
        script = first_script(await anyio.to_thread.run_sync(self.start)).encode()
        opening: list[Message] = []
        body: list[bytes] = []

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                opening.append(message)
                return
            body.append(message.get("body", b""))
            if message.get("more_body"):
                return
            page = b"".join(body).replace(b"<head>", b"<head>" + script, 1)
            # The length is another one, and a page of before must not be taken for this one.
            passed_on = [
                (name, value)
                for name, value in opening[0]["headers"]
                if name.lower() not in (b"content-length", b"etag", b"last-modified")
            ]
            passed_on.append((b"content-length", str(len(page)).encode()))
            await send({**opening[0], "headers": passed_on})
            await send({"type": "http.response.body", "body": page})

        # Without these the server answers with the whole page, whatever the browser has kept.
        kept = (b"if-none-match", b"if-modified-since", b"accept-encoding", b"range")
        headers = [pair for pair in scope["headers"] if pair[0].lower() not in kept]
        await self.inner({**scope, "headers": headers}, receive, collect)


def last_table(store: str) -> str:
    """The table of runs with the newest one.

    Args:
        store: URI of the tracking store.

    Returns:
        Its address from the `#` on; the list of experiments where there is no run.
    """
    client = mlflow.MlflowClient(store)
    experiments = client.search_experiments()
    newest = client.search_runs(
        [each.experiment_id for each in experiments],
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    tags = {each.experiment_id: dict(each.tags) for each in experiments}
    if not newest:
        return "#/experiments"
    experiment_id = newest[0].info.experiment_id
    return view_address("", experiment_id, tags[experiment_id]).lstrip("/")


def application() -> Any:
    """MLflow's application with the page of this package; uvicorn calls it."""
    store = os.environ[STORE]
    os.environ[mlflow_server.BACKEND_STORE_URI_ENV_VAR] = store
    os.environ[mlflow_server.SERVE_ARTIFACTS_ENV_VAR] = "true"
    os.environ[mlflow_server.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    # Only now: it reads the store from the environment.
    from mlflow.server.fastapi_app import app

    return _Page(app, lambda: last_table(store))
