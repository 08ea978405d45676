"""`medmvl`: the table of verbs, each imported only when it is called, and how errors reach a user.

What a user can cause (ValueError, OSError) becomes one message on stderr and exit code 2; `--debug` or
MEDMVL_DEBUG=1 shows the traceback. Anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, cast

import typer
from pydantic import ValidationError
from typer.core import TyperCommand, TyperGroup

from medmvl.cli.once_per_host import is_one_of_many, reports_it
from medmvl.errors import ReportedElsewhereError


class Verb(NamedTuple):
    """Where a verb lives, and the line that `medmvl --help` shows without importing it."""

    module: str
    attribute: str
    """Name of a function, or of a `typer.Typer` with commands of its own."""
    help: str


VERBS: dict[str, Verb] = {
    "inspect": Verb(
        "medmvl.cli.inspect", "inspect", "Show what a file or folder holds, and what a model sees of it."
    ),
    "phantoms": Verb(
        "medmvl.cli.phantoms", "phantoms", "Write a data set of synthetic patients with exact truth."
    ),
    "data": Verb("medmvl.cli.data", "app", "Bring your own data: convert a table, check a data set."),
    "train": Verb("medmvl.cli.train", "train", "Train a model by a recipe; the same command resumes."),
    "recipe": Verb("medmvl.cli.recipe", "app", "List and show recipes."),
    "parts": Verb(
        "medmvl.cli.parts", "parts", "List encoders and connectors: what goes in, size, tokens out."
    ),
    "pretrained": Verb(
        "medmvl.cli.pretrained", "app", "List pretrained parts; fetch, check and convert one of them."
    ),
    "import": Verb(
        "medmvl.cli.import_", "import_checkpoint", "Make another project's checkpoint a model of ours."
    ),
    "export": Verb("medmvl.cli.export", "export", "Write a model as a folder that others load."),
    "generate": Verb(
        "medmvl.cli.generate", "generate", "Answer one question, or every sample of a data set."
    ),
    "chat": Verb("medmvl.cli.chat", "chat", "Talk with a model about images and volumes."),
    "report": Verb("medmvl.cli.report", "report", "Report on folders of studies: tables, FHIR and DICOM SR."),
    "serve": Verb("medmvl.cli.serve", "serve", "Serve a model to OpenAI's clients, with volumes."),
    "playground": Verb("medmvl.cli.serve", "playground", "Look at scans and ask about them in a browser."),
    "tasks": Verb("medmvl.cli.tasks", "tasks", "List tasks: what of which data set, by which protocol."),
    "evaluate": Verb(
        "medmvl.cli.evaluate", "evaluate", "Score a model next to its controls, with intervals."
    ),
    "score": Verb(
        "medmvl.cli.score",
        "score",
        "Score answers you already have, by published protocols; no model needed.",
    ),
    "judge": Verb("medmvl.cli.judge", "app", "Compare judges: agreement and kappa of two files of verdicts."),
    "rewards": Verb("medmvl.cli.rewards", "app", "List rewards; audit them against adversarial answers."),
    "compare": Verb("medmvl.cli.compare", "compare", "Compare evaluations of the same samples, paired."),
    "experiment": Verb(
        "medmvl.cli.experiment",
        "experiment",
        "Run variants of a recipe times seeds; state what the evidence supports.",
    ),
    "doctor": Verb(
        "medmvl.cli.doctor", "doctor", "Show what this machine has, and what is missing for what."
    ),
}


class LazyVerb(TyperCommand):
    """Stands in a listing for a verb; the verb's module is imported when it is called."""

    def __init__(self, name: str, verb: Verb) -> None:
        super().__init__(name, help=verb.help, short_help=verb.help)
        self.verb = verb

    def load(self) -> Any:
        """The command of this verb, built from its function or `typer.Typer`."""
        target = getattr(importlib.import_module(self.verb.module), self.verb.attribute)
        if isinstance(target, typer.Typer):
            return typer.main.get_command(target)
        app = typer.Typer(add_completion=False)
        app.command(name=self.name)(target)
        return typer.main.get_command(app)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """The context of the real command, so that parsing, help and completion are its own."""
        return self.load().make_context(*args, **kwargs)


class VerbGroup(TyperGroup):
    """The group whose commands are VERBS."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, verb in VERBS.items():
            self.add_command(LazyVerb(name, verb))

    def invoke(self, ctx: Any) -> Any:
        """Call a verb; what it does not know is explained by what it does."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if (command := getattr(getattr(error, "ctx", None), "command", None)) is not None:
                explain_usage(error, command)
            raise


def explain_usage(error: Any, command: Any) -> None:
    """Add to the message of an unknown option or argument where this command takes what was meant."""
    arguments = {param.name for param in command.params if param.param_type_name == "argument"}
    options = {option for param in command.params for option in param.opts}
    if unknown := getattr(error, "option_name", None):
        name = unknown.lstrip("-").split("=")[0]
        if name.replace("-", "_") in arguments:
            error.message += f"; here it is given by its place, without {unknown}, as the usage shows"
            error.possibilities = None
        elif "overrides" in arguments:
            error.message += (
                "; keys of the recipe are given without dashes, such as stages.0.learning_rate=1e-4"
            )
    named = [option for option in ("--image", "--volume", "--data", "--out") if option in options]
    if named and "unexpected extra argument" in getattr(error, "message", ""):
        error.message += f"; here files are named by {', '.join(named)}"


app = typer.Typer(cls=VerbGroup, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        from medmvl import __version__

        typer.echo(f"medmvl {__version__}")
        raise typer.Exit


@app.callback()
def medmvl(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="MEDMVL_DEBUG", help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Build, train, evaluate and ask medical vision-language models on 2D images and 3D volumes."""
    if debug:
        os.environ["MEDMVL_DEBUG"] = "1"  # so that `main` and the processes it starts know


USAGE_ERRORS = typer.BadParameter.__bases__
"""What typer raises for unknown verbs and options: a class without a public name of its own."""
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
MEANT = {
    errno.EISDIR: "this is a folder, and a file is expected",
    errno.ENOTDIR: "this is a file, and a folder is expected",
    errno.EEXIST: "a file of this name exists; name another",
    errno.EACCES: "no permission to read or write this; choose another place, or change its mode",
    errno.EPERM: "no permission to read or write this; choose another place, or change its mode",
}
"""What an error of the system means, by its number, where its own words do not say it."""
RESUMABLE = ". What was finished is whole: when there is room to write, run the same command again"


def describe_error(error: Exception) -> str:
    """One readable message for what a user can cause."""
    if isinstance(error, ValidationError):
        lines = [f"{error.title} is not valid:"]
        for problem in error.errors(include_url=False):
            where = ".".join(str(part) for part in problem["loc"]) or "(the whole)"
            lines.append(f"  {where}: {problem['msg'].removeprefix('Value error, ')}")
        return "\n".join(lines)
    if isinstance(error, OSError) and error.strerror:
        reason = MEANT.get(error.errno or 0, error.strerror)
        said = ": ".join(str(part) for part in (error.filename, reason) if part)
        return said + (RESUMABLE if error.errno in DISK else "")
    return str(error) or type(error).__name__


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 for what a user can fix, 130 interrupted, 1 for a bug."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("medmvl").setLevel(logging.INFO)
    try:
        _run(arguments)
    except (ValueError, OSError) as error:
        if os.environ.get("MEDMVL_DEBUG", "").lower() in {"1", "true", "yes"}:
            raise
        if not isinstance(error, ReportedElsewhereError) and reports_it(message := describe_error(error)):
            typer.echo(f"Error: {message}", err=True)
        sys.exit(2)


def _run(arguments: Sequence[str] | None) -> None:
    """Run the verb; of several processes that a launcher started, one per host reports what is wrong with the options."""
    command = typer.main.get_command(app)
    if not is_one_of_many():
        command.main(args=cast(Any, arguments), prog_name="medmvl")
        return
    try:
        code = command.main(args=cast(Any, arguments), prog_name="medmvl", standalone_mode=False)
    except typer.Abort:
        sys.exit(1)
    except Exception as error:
        if not isinstance(error, USAGE_ERRORS):
            raise
        if reports_it(str(error)):
            cast(Any, error).show()
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
