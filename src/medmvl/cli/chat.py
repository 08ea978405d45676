"""`medmvl chat`: a conversation about images and volumes, streamed to the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from medmvl.cli.options import (
    AnswerLimit,
    Device,
    Dtype,
    Images,
    Modality,
    ModelFolder,
    SamplingSeed,
    Spacing,
    Temperature,
    Thinking,
    TopP,
    Units,
    Volumes,
)

if TYPE_CHECKING:
    from medmvl.engine import Engine, GenerationOptions
    from medmvl.models.visuals import ProcessedVisual
    from medmvl.schema import Declarations, Message, VisualBlock

NOTICE = "This is research software. What it says is no diagnosis and must not be used for one."
HELP = "/image PATH and /volume PATH add a scan to the next question; /reset starts over; /quit ends."


def chat(
    model: ModelFolder,
    image: Images = None,
    volume: Volumes = None,
    max_new_tokens: AnswerLimit = None,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: SamplingSeed = 0,
    thinking: Thinking = None,
    units: Units = None,
    modality: Modality = None,
    spacing: Spacing = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Talk with a model. A question may run over several turns; scans are read when they are added."""
    from medmvl.cli.asking import check_paths, declared, token_limit, visual_blocks

    declarations = declared(units, modality, spacing)
    first = visual_blocks(image or [], volume or [], declarations)
    check_paths(model, first)
    from medmvl.engine import Engine, GenerationOptions
    from medmvl.engine.sequences import ReasoningPiece

    options = GenerationOptions(
        **token_limit(max_new_tokens, 256), temperature=temperature, top_p=top_p, seed=seed, thinking=thinking
    )
    conversation = Conversation(Engine.load(model, device, dtype), options, declarations)
    typer.echo(f"{NOTICE}\n{HELP}")
    for block in first:
        typer.echo(conversation.add(block))
    for line in _lines():
        if line == "/quit":
            break
        for piece in conversation.take(line):
            typer.secho(piece, nl=False, dim=isinstance(piece, ReasoningPiece))
        typer.echo()


class Conversation:
    """The turns so far, and the scans that wait for the next question. Errors leave it as it was."""

    def __init__(self, engine: Engine, options: GenerationOptions, declarations: Declarations) -> None:
        from medmvl.datasets.loader import BlockLoader

        self.engine = engine
        self.options = options
        self.declarations = declarations
        self.read = BlockLoader(Path.cwd())
        self.reset()

    def reset(self) -> None:
        """Forget turns and scans."""
        self.messages: list[Message] = []
        self.waiting: list[VisualBlock] = []
        self.seen: dict[VisualBlock, ProcessedVisual] = {}

    def add(self, block: VisualBlock) -> str:
        """Read a scan for the next question, and say what was read; warnings of the reader go to stderr.

        Raises:
            UserError: a file that was shown before holds another scan now, which would take its place in earlier turns.
        """
        from medmvl.cli.asking import print_warnings
        from medmvl.errors import UserError

        visual = self.engine.processor.process_visual(self.read(block))
        before = self.seen.get(block)
        if before is not None and before.digest != visual.digest:
            raise UserError(
                f"{block.path} is not the scan any more that this conversation is about: give it another name, or /reset"
            )
        if before is None:
            print_warnings([(block.path, visual.warnings)])
        self.seen[block] = visual
        self.waiting.append(block)
        shape = "x".join(str(length) for length in visual.source["shape"])
        return f"[{block.type} {shape}, {visual.all_tokens} tokens]"

    def take(self, line: str) -> Iterator[str]:
        """Do what one line asks; yield what to print. What the user can cause is printed, and the chat goes on."""
        from medmvl.cli.asking import as_options

        try:
            yield from self._take(line.strip())
        except (ValueError, OSError) as error:
            yield f"[{as_options(str(error))}]"

    def _take(self, line: str) -> Iterator[str]:
        from medmvl.cli.asking import visual_blocks

        command, _, rest = line.partition(" ")
        path = rest.strip()
        if command == "/reset":
            self.reset()
            yield "[a new conversation]"
        elif command in ("/image", "/volume") and path:
            images, volumes = ([path], []) if command == "/image" else ([], [path])
            yield self.add(visual_blocks(images, volumes, self.declarations)[0])
        elif line.startswith("/"):
            yield f"[unknown command {command!r}. {HELP}]"
        elif line:
            yield from self._ask(line)

    def _ask(self, text: str) -> Iterator[str]:
        from medmvl.engine import Request
        from medmvl.schema import Message, TextBlock

        question = Message(role="user", content=(*self.waiting, TextBlock(text=text)))
        request = Request((*self.messages, question), self.seen.__getitem__, name="question")
        from medmvl.engine.sequences import ReasoningPiece

        answer, reasoned = "", False
        for piece in self.engine.stream(request, self.options):
            if not isinstance(piece, ReasoningPiece):
                yield "\n\n" if reasoned and not answer else ""
                answer += piece
            reasoned |= isinstance(piece, ReasoningPiece)
            yield piece
        if reasoned and not answer:
            yield "\n[no answer: the reasoning took all tokens or ended the turn]"
        self.messages += [question, Message(role="assistant", content=(TextBlock(text=answer),))]
        self.waiting = []


def _lines() -> Iterator[str]:
    """Lines the user types, until the end of input."""
    while True:
        if sys.stdin.isatty():
            typer.echo("> ", nl=False)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()
