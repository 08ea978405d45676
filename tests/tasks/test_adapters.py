"""Metrics of others: what is missing is said, what is there is called; BERTScore against its definition."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medmvl.errors import MissingExtraError, UserError
from medmvl.tasks.metrics.adapters import ADAPTERS, LLMJudge
from medmvl.tasks.metrics.bertscore import bertscore
from medmvl.tasks.metrics.measures import MetricOptions, measure
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.protocols import STRICT
from medmvl.tasks.protocols.scoring import score


@pytest.mark.parametrize("name", list(ADAPTERS))
def test_a_missing_package_or_weights_are_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = ADAPTERS[name]
    monkeypatch.setitem(sys.modules, adapter.package, None)
    with pytest.raises(MissingExtraError, match=adapter.install):
        adapter.score(["a"], ["b"], tmp_path)
    monkeypatch.setitem(sys.modules, adapter.package, SimpleNamespace())  # type: ignore[arg-type]
    with pytest.raises(UserError, match="needs weights on this machine"):
        adapter.score(["a"], ["b"], None)
    with pytest.raises(UserError, match="there is nothing at"):
        adapter.score(["a"], ["b"], tmp_path / "absent")


def test_packages_are_called_as_they_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    class Scorer:
        def __init__(self, *names: str, **named: object) -> None:
            assert os.environ["HF_HUB_OFFLINE"] == "1"

        def compute_score(self, answers: list[str], references: list[str]) -> list[float]:
            assert (answers, references) == (["said"], ["true"])
            return [0.25]

        def __call__(
            self, *texts: list[str], hyps: list[str] | None = None, refs: list[str] | None = None
        ) -> tuple[object, ...]:
            if hyps is None:  # green_score: references first, then answers
                assert texts == (["true"], ["said"])
                return 0.5, 0.0, [0.5], None, None
            assert (hyps, refs) == (["said"], ["true"])
            return 0.75, [0.75], None, None

        def get_label(self, text: str) -> list[int]:
            return [1, 0, 0, 0] if text == "said" else [1, 1, 0, 0]

    library = SimpleNamespace(RaTEScore=Scorer, GREEN=Scorer, F1RadGraph=Scorer, F1CheXbert=Scorer)
    for name, value in {"ratescore": 0.25, "green": 0.5, "radgraph": 0.75, "chexbert": 0.75}.items():
        monkeypatch.setitem(sys.modules, ADAPTERS[name].package, library)  # type: ignore[arg-type]
        assert ADAPTERS[name].score(["said"], ["true"], tmp_path).corpus() == value


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body | {"path": self.path, "key": self.headers.get("Authorization")})
            text = "certainly!" if "Answer: odd" in body["messages"][0]["content"] else "7"
            reply = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_language_model_judges(endpoint: tuple[str, list[dict[str, Any]]]) -> None:
    url, asked = endpoint
    judge = LLMJudge(url, "judge", api_key="k")
    assert judge.score(["Where?", "Where?"], ["left", " "], ["left lung", "right"]).each() == pytest.approx(
        [0.7, 0.0]
    )
    assert len(asked) == 1  # the empty answer is wrong without asking
    assert (
        asked[0]["path"] == "/v1/chat/completions"
        and asked[0]["key"] == "Bearer k"
        and asked[0]["temperature"] == 0
    )
    with pytest.raises(UserError, match="expected a mark from 0 to 10, got 'certainly!'"):
        judge.score(["Where?"], ["odd"], ["left"])


def test_strict_asks_a_judge_where_one_is_named(endpoint: tuple[str, list[dict[str, Any]]]) -> None:
    records = [
        Record(id="1", text="left", references=("left lung",), question="Where is it?", question_type="open")
    ]
    found = {
        item.measure.name: item.measure.value
        for item in score(records, STRICT, MetricOptions(judge=LLMJudge(endpoint[0], "m")))
    }
    assert (
        found["llm_judge"] == pytest.approx(0.7)
        and "Question: Where is it?" in endpoint[1][0]["messages"][0]["content"]
    )
    with pytest.raises(UserError, match="none was named"):
        measure("llm_judge", records)
    with pytest.raises(MissingExtraError, match="pip install radgraph"):
        score(records, STRICT, MetricOptions(weights={"radgraph": Path("w")}))


def test_a_judge_that_is_not_there_is_said() -> None:
    with pytest.raises(UserError, match="gave no answer"):
        LLMJudge("http://127.0.0.1:9/v1", "judge", timeout_s=2).score(["q"], ["a"], ["b"])


def test_bertscore_is_greedy_matching(tmp_path: Path) -> None:
    """Against Zhang et al. 2020, eq. 1, by loops over tokens; bert-score 0.3.13 gave the same on such a model.

    As there, a separator may be what a word is most like, but is not itself counted.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = {"[PAD]": 0, "[UNK]": 1, "nodule": 2, "left": 3, "lung": 4, "[CLS]": 5, "[SEP]": 6}
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 5), ("[SEP]", 6)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=7,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=32,
    )
    model = BertModel(config).eval()
    model.save_pretrained(tmp_path)

    def states(text: str) -> list[torch.Tensor]:
        ids = torch.tensor([[5, *(words[word] for word in text.split()), 6]])
        return list(model(ids, output_hidden_states=True).hidden_states[-1][0])

    def best(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
        found = [max(float(torch.cosine_similarity(x, y, dim=0)) for y in b) for x in a[1:-1]]
        return sum(found) / len(found)

    answer, truth = "left lung nodule nodule", "lung left"
    precision, recall = best(states(answer), states(truth)), best(states(truth), states(answer))
    tally = bertscore([answer, "", "lung left"], [[truth], [truth], ["nodule", truth]], tmp_path)
    assert tally.each() == pytest.approx([2 * precision * recall / (precision + recall), 0.0, 1.0], abs=1e-5)
    with pytest.raises(UserError, match="BERTScore needs weights"):
        bertscore(["a"], [["a"]], None)
    with pytest.raises(UserError, match="is no encoder"):
        bertscore(["a"], [["a"]], tmp_path.parent)
