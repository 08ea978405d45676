"""`medmvl playground` and `medmvl serve` as processes: they say where they are, stop when told, and name a taken port."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.factories.engine import save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "model")


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "medmvl", *arguments], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_the_playground_says_where_it_is_and_stops_when_told(model: Path) -> None:
    with start("playground", str(model), "--port", "0", "--no-open", "--name", "tiny") as process:
        assert process.stderr is not None
        found = next(filter(None, (re.search(r"running on (http://\S+\d)", line) for line in process.stderr)))
        with httpx.Client(base_url=found.group(1), timeout=60) as client:
            assert "<title>MedM-VL</title>" in client.get("/").text
            assert client.get("/page/about").json()["model"] == "tiny"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_taken_port_is_named(model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with start("serve", str(model), "--port", port) as process:
            _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in errors and "Traceback" not in errors
