"""The engine: loads a model once and answers, batched or streaming. Nothing else in the project decodes."""

from medmvl.engine.answer_file import AnswerFile, StoredAnswer, read_answers
from medmvl.engine.batch import answer_samples, model_digest
from medmvl.engine.engine import Engine
from medmvl.engine.options import GenerationOptions
from medmvl.engine.process_group import ProcessGroup, joined_process_group
from medmvl.engine.request import Answer, Failure, Request

load = Engine.load

__all__ = [
    "Answer", "AnswerFile", "Engine", "Failure", "GenerationOptions", "ProcessGroup", "Request", "StoredAnswer",
    "answer_samples", "joined_process_group", "load", "model_digest", "read_answers",
]  # fmt: skip
