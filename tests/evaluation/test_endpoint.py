"""An endpoint is judged as a model is: our own server in a process of its own, and one that misbehaves."""

import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmvl.cli.main import main
from medmvl.engine import GenerationOptions
from medmvl.errors import UserError
from medmvl.evaluation.endpoint import Endpoint, EndpointOptions
from medmvl.phantoms import write_dataset
from tests.factories.engine import image_of, question, save_tiny_model

KEY = "sk-a-secret-of-the-user"


def medmvl(*arguments: object) -> int:
    with pytest.raises(SystemExit) as done:
        main(["evaluate", "--max-new-tokens", "4", "--limit-patients", "3", *map(str, arguments)])
    return int(done.value.code or 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("endpoint")
    save_tiny_model(folder / "model")
    splits = {"train": 4, "test": 4}
    write_dataset(folder / "data", preset="quickstart", patients=8, seed=3, splits=splits, workers=1)
    return folder


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[str]:
    """`medmvl serve` in its own process; its address."""
    start = "from medmvl.cli.main import main; main()"
    command = [sys.executable, "-c", start, "serve", str(place / "model"), "--port", "0"]
    with (place / "log").open("w") as log, subprocess.Popen(command, stderr=log, stdout=log) as process:
        try:
            for _ in range(600):
                found = re.search(r"running on (http://[\d.:]+)", (place / "log").read_text())
                if found or process.poll() is not None:
                    break
                threading.Event().wait(0.1)
            assert found, (place / "log").read_text()
            yield found[1] + "/v1"
        finally:
            process.terminate()


@pytest.mark.slow
def test_an_endpoint_is_judged_as_the_model_it_serves(place: Path, server: str) -> None:
    common = ("--data", place / "data/test.jsonl", "--robustness", "noise")
    assert medmvl(place / "model", "--out", place / "local", *common) == 0
    assert medmvl("--endpoint", server, "--out", place / "remote", *common) == 0
    local, remote = (json.loads((place / name / "results.json").read_text()) for name in ("local", "remote"))
    assert (place / "local/answers.jsonl").read_text() == (place / "remote/answers.jsonl").read_text()
    assert local["rows"] == remote["rows"] and local["robustness"] == remote["robustness"]
    assert remote["endpoint_model"] == "medmvl" and remote["volume_as"] == "volume"
    assert (place / "remote/page.html").is_file()
    decoded = place / "remote/decoded/with-image-closed.jsonl"
    decoded.write_bytes(b"".join(decoded.read_bytes().splitlines(keepends=True)[:-1]))
    assert medmvl("--endpoint", server, "--out", place / "remote", *common) == 0
    assert (place / "local/answers.jsonl").read_text() == (place / "remote/answers.jsonl").read_text()


def test_what_an_endpoint_cannot_is_said(
    place: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--data", place / "data/test.jsonl", "--out", place / "no")
    for words, arguments in {
        "send-data-to-endpoint": ("--endpoint", "https://models.example.org/v1"),
        "exactly one": ("--endpoint", server, place / "model"),
        "endpoint has medmvl": ("--endpoint", server, "--endpoint-model", "other"),
        "leave it out": ("--endpoint", server, "--calibration"),
        "slices:N": ("--endpoint", server, "--volume-as", "slices:0"),
        "Connection error": ("--endpoint", "http://127.0.0.1:9/v1", "--retries", 0),
    }.items():
        assert medmvl(*common, *arguments) == 2
        assert words in capsys.readouterr().err.replace("\n", " ")
    with pytest.raises(UserError, match="keep secrets out"):
        Endpoint(EndpointOptions("http://user:word@127.0.0.1/v1"))  # pragma: allowlist secret


class Odd(http.server.BaseHTTPRequestHandler):
    """An endpoint with the habits of others: busy at first, renamed settings, questions it refuses, redirects."""

    calls: list[dict[str, object]]

    def do_GET(self) -> None:
        self.say(200, {"object": "list", "data": [{"id": "odd", "object": "model", "owned_by": "someone"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.calls.append(body)
        text = json.dumps(body["messages"])
        if len(self.calls) == 1:
            self.say(503, {"error": {"message": "busy"}}, {"Retry-After": "0"})
        elif "max_tokens" in body:
            self.say(400, {"error": {"message": "use max_completion_tokens", "param": "max_tokens"}})
        elif "refuse me" in text:
            self.say(400, {"error": {"message": f"refused for {KEY}"}})
        elif "move" in text:
            self.say(307, {}, {"Location": "http://models.example.org/v1/chat/completions"})
        elif "forbidden" in text:
            self.say(403, {"error": {"message": f"{KEY} is not known"}})
        else:
            message = {"role": "assistant", "content": None if "silent" in text else "yes"}
            self.say(200, {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def say(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def odd() -> Iterator[str]:
    Odd.calls = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}/v1"
        httpd.shutdown()


def ask(odd: str, out: Path, *texts: str, visual: str = "x-1", volume_as: str = "auto") -> tuple[dict, dict]:
    options = EndpointOptions(odd, key=KEY, volume_as=volume_as, concurrency=1, retries=2)
    samples = [question(text, text, visual) for text in texts]
    endpoint = Endpoint(options)
    failed = endpoint.answer_samples(samples, image_of, out, {"model": "m"}, GenerationOptions())
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    return {line["id"]: line["text"] for line in answers}, {each.name: each.error for each in failed}


def test_busy_refusing_and_silent_servers(odd: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answers, failures = ask(odd, tmp_path / "a.jsonl", "plain", "refuse me", "silent", "move")
    assert answers == {"plain": "yes", "silent": ""}
    assert set(failures) == {"refuse me", "move"} and "refused for ***" in failures["refuse me"]
    assert [len(Odd.calls), "max_tokens" in Odd.calls[1], "max_tokens" in Odd.calls[2]] == [6, True, False]
    assert KEY not in caplog.text and KEY not in repr(EndpointOptions(odd, key=KEY))
    with pytest.raises(UserError, match=r"\*\*\* is not known; the key is read from"):
        ask(odd, tmp_path / "b.jsonl", "forbidden")


def test_volumes_are_slices_or_a_refusal(odd: str, tmp_path: Path) -> None:
    _, failures = ask(odd, tmp_path / "a.jsonl", "plain", visual="ct-1")
    assert "--volume-as slices:N" in failures["plain"] and not Odd.calls
    answers, _ = ask(odd, tmp_path / "b.jsonl", "plain", visual="ct-1", volume_as="slices:3")
    content = Odd.calls[-1]["messages"][0]["content"]  # type: ignore[index]
    assert answers == {"plain": "yes"} and [part["type"] for part in content] == [*["image_url"] * 3, "text"]


def test_images_arrive_as_they_are(odd: str, tmp_path: Path) -> None:
    import base64
    import io

    ask(odd, tmp_path / "a.jsonl", "plain")
    url = Odd.calls[-1]["messages"][0]["content"][0]["image_url"]["url"]  # type: ignore[index]
    sent = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    block = question("a", "?", "x-1").visuals[0]
    assert sent.mode == "L" and np.array_equal(np.asarray(sent), image_of(block).array)
