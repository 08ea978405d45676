"""Metrics of others that need their packages and weights: RaTEScore, GREEN, RadGraph, CheXbert, and an LLM as judge.

None is installed with medmvl and nothing is downloaded: what is missing is said before anything runs. Each adapter
calls the package's documented function and gives one score per sample.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medmvl.errors import UserError
from medmvl.tasks.metrics.optional import load_library, local_weights
from medmvl.tasks.metrics.tally import Tally, mean_tally

Run = Callable[[Sequence[str], Sequence[str], Path], Sequence[float]]


@dataclass(frozen=True)
class Adapter:
    """A published metric of reports."""

    package: str
    install: str
    weights: str
    """Files that the folder of weights must hold."""
    run: Run

    def score(self, answers: Sequence[str], references: Sequence[str], weights: Path | None) -> Tally:
        """One score per sample.

        Raises:
            MissingExtraError: the package is not installed.
            UserError: the weights are not on this machine.
        """
        load_library(self.package, self.install, f"the metric of '{self.package}'")
        with _offline():
            scores = self.run(answers, references, local_weights(weights, f"'{self.package}'", self.weights))
        return mean_tally(scores)


@contextmanager
def _offline() -> Iterator[None]:
    """Keep a package from asking the hub for what it does not find."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def _ratescore(answers: Sequence[str], references: Sequence[str], weights: Path) -> Sequence[float]:
    library = load_library("RaTEScore", "pip install RaTEScore", "RaTEScore")
    scorer = library.RaTEScore(
        bert_model=str(weights / "RaTE-NER-Deberta"), eval_model=str(weights / "BioLORD-2023-C")
    )
    return [float(score) for score in scorer.compute_score(list(answers), list(references))]


def _green(answers: Sequence[str], references: Sequence[str], weights: Path) -> Sequence[float]:
    library = load_library("green_score", "pip install green-score", "GREEN")
    scorer = library.GREEN(str(weights), output_dir=".")
    _, _, scores, _, _ = scorer(list(references), list(answers))
    return [float(score) for score in scores]


def _radgraph(answers: Sequence[str], references: Sequence[str], weights: Path) -> Sequence[float]:
    library = load_library("radgraph", "pip install radgraph", "RadGraph F1")
    scorer = library.F1RadGraph(reward_level="partial", model_cache_dir=str(weights))
    _, scores, _, _ = scorer(hyps=list(answers), refs=list(references))
    return [float(score) for score in scores]


def _chexbert(answers: Sequence[str], references: Sequence[str], weights: Path) -> Sequence[float]:
    """Share of the 14 labels on which answer and reference agree, per sample."""
    library = load_library("f1chexbert", "pip install f1chexbert", "CheXbert")
    scorer = library.F1CheXbert()
    agree = []
    for answer, reference in zip(answers, references, strict=True):
        given, wanted = scorer.get_label(answer), scorer.get_label(reference)
        agree.append(sum(a == b for a, b in zip(given, wanted, strict=True)) / len(wanted))
    return agree


ADAPTERS: dict[str, Adapter] = {
    "ratescore": Adapter(
        "RaTEScore", "pip install RaTEScore", "folders RaTE-NER-Deberta and BioLORD-2023-C", _ratescore
    ),
    "green": Adapter(
        "green_score", "pip install green-score", "GREEN-radllama2-7b or another GREEN model", _green
    ),
    "radgraph": Adapter(
        "radgraph", "pip install radgraph", "the model cache of the radgraph package", _radgraph
    ),
    "chexbert": Adapter(
        "f1chexbert", "pip install f1chexbert", "chexbert.pth where f1chexbert keeps it", _chexbert
    ),
}

JUDGE_PROMPT = (
    "You compare a model's answer about a medical image with the reference answer. Synonyms and another wording are right; a "
    "wrong side, place, size or finding, or one denied or invented, is wrong.\n\nQuestion: {question}\nReference: {reference}\n"
    "Answer: {answer}\n\nReply with one number from 0 (wrong) to 10 (the same meaning) and nothing else."
)
_NUMBER = re.compile(r"^\s*(10|\d)(?:\.\d+)?\s*$")


@dataclass(frozen=True)
class LLMJudge:
    """A language model behind an OpenAI-compatible endpoint, asked for a mark of 0 to 10."""

    endpoint: str
    """Address, such as `http://localhost:8000/v1`."""
    model: str
    api_key: str | None = None
    timeout_s: float = 120.0

    def score(self, questions: Sequence[str], answers: Sequence[str], references: Sequence[str]) -> Tally:
        """Marks as 0 to 1; an empty answer is 0 without asking.

        Raises:
            UserError: the endpoint does not answer, or not with a mark.
        """
        return mean_tally(
            self._mark(question, answer, reference) / 10 if answer.strip() else 0.0
            for question, answer, reference in zip(questions, answers, references, strict=True)
        )

    def _mark(self, question: str, answer: str, reference: str) -> float:
        prompt = JUDGE_PROMPT.format(question=question, reference=reference, answer=answer)
        said = self._ask(
            {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
        )
        if _NUMBER.match(said) is None:
            raise UserError(
                f"judge {self.model} at {self.endpoint}: expected a mark from 0 to 10, got {said[:80]!r}"
            )
        return min(10.0, float(said))

    def _ask(self, body: dict[str, object]) -> str:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        )
        url = self.endpoint.rstrip("/") + "/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as reply:
                return str(json.load(reply)["choices"][0]["message"]["content"])
        except (urllib.error.URLError, TimeoutError, KeyError, IndexError, ValueError) as error:
            raise UserError(f"judge {self.model}: {url} gave no answer: {error}") from None
