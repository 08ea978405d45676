"""The engine: loads a model once and answers, batched or streaming. Nothing else in the project decodes.

Names load on first use (PEP 562): options and answer files are needed where torch is not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medmvl.engine.answer_file import AnswerFile, StoredAnswer, read_answers
    from medmvl.engine.batch import answer_samples, model_digest
    from medmvl.engine.engine import Engine
    from medmvl.engine.options import GenerationOptions
    from medmvl.engine.process_group import ProcessGroup, joined_process_group
    from medmvl.engine.request import Answer, Failure, Request

    load = Engine.load

_MODULES = {
    "AnswerFile": "answer_file", "StoredAnswer": "answer_file", "read_answers": "answer_file", "answer_samples": "batch",
    "model_digest": "batch", "Engine": "engine", "GenerationOptions": "options", "ProcessGroup": "process_group",
    "joined_process_group": "process_group", "Answer": "request", "Failure": "request", "Request": "request",
}  # fmt: skip

__all__ = [
    "Answer", "AnswerFile", "Engine", "Failure", "GenerationOptions", "ProcessGroup", "Request", "StoredAnswer",
    "answer_samples", "joined_process_group", "load", "model_digest", "read_answers",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "load":
        return __getattr__("Engine").load
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
