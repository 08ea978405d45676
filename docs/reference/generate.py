"""Writes the reference pages, and tables in other pages, from the code they describe: `make reference`; tests compare them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]


def cli_page() -> str:
    """Every verb with its arguments and options."""
    from medmvl.cli.main import VERBS, LazyVerb

    lines = ["# Command line", "", "Exit codes: 0 done, 2 something a user can fix, 130 interrupted.", ""]
    for name, verb in VERBS.items():
        lines += _command(f"medmvl {name}", LazyVerb(name, verb).load())
    return "\n".join(lines)


def _command(path: str, command: Any) -> Iterator[str]:
    commands = getattr(command, "commands", None)
    if commands:
        for name, child in commands.items():
            yield from _command(f"{path} {name}", child)
        return
    yield from (f"## `{path}`", "", (command.help or "").strip(), "", "| | | |", "|---|---|---|")
    for param in command.params:
        names = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
        help_text = " ".join((getattr(param, "help", None) or "").split()).replace("|", "\\|")
        shown = "" if param.default in (None, False, ()) or callable(param.default) else f"`{param.default}`"
        yield f"| {names} | {help_text} | {'required' if param.required else shown} |"
    yield ""


def recipe_page() -> str:
    """The keys of a recipe and of everything inside it."""
    from medmvl.training.recipe import Recipe

    intro = (
        "YAML; an unknown key is an error with a suggestion. `extends: NAME` starts from another recipe, and "
        "`key.path=value` on the command line changes it; a stage is addressed by number or name. "
        "`medmvl recipe schema` prints the JSON Schema for editors."
    )
    return f"# Recipes\n\n{intro}\n\n{_schema(Recipe.model_json_schema())}"


def samples_page() -> str:
    """The keys of a line of a data set."""
    from medmvl.schema import Sample

    intro = (
        "A data set is UTF-8 text, one JSON object per line. Paths are relative to the data file, or to the roots that a "
        "recipe or command names. LLaVA's JSON (`conversations` with `from` and `value`, `image`, `image3d`) is read as it is."
    )
    return f"# Samples in JSON Lines\n\n{intro}\n\n{_schema(Sample.model_json_schema())}"


def _schema(schema: dict[str, Any]) -> str:
    parts = {schema["title"]: schema} | schema.get("$defs", {})
    return "\n".join(line for title, part in parts.items() for line in _object(title, part))


def _object(title: str, part: dict[str, Any]) -> Iterator[str]:
    yield from (f"## {title}", "", (part.get("description") or "").strip(), "")
    if "properties" not in part:
        return
    yield from ("| Key | Type | Default | Meaning |", "|---|---|---|---|")
    for key, value in part["properties"].items():
        required = key in part.get("required", ())
        default = "required" if required else f"`{json.dumps(value.get('default'), ensure_ascii=False)}`"
        meaning = " ".join((value.get("description") or "").split()).replace("|", "\\|")
        yield f"| `{key}` | {_type(value)} | {default} | {meaning} |"
    yield ""


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in value:
            return " or ".join(dict.fromkeys(_type(option) for option in value[key]))
    if "enum" in value or "const" in value:
        return ", ".join(f"`{choice}`" for choice in value.get("enum", [value.get("const")]))
    if value.get("type") == "array":
        return f"list of {_type(value.get('items', {}))}" if "items" in value else "list"
    return str(value.get("type", "any"))


def datasets_table() -> str:
    """Every public data set: its licence, layout, size and split."""
    from medmvl.datasets.public import DATASETS

    head = ("name", "licence to mind", "expected below RAW", "published size", "split written")
    rows = [
        (f"[`{name}`]({one.url})", one.licence, one.layout, one.size, one.split)
        for name, one in DATASETS.items()
    ]
    return _table(head, rows)


def tasks_table() -> str:
    """Every task: its data, question types, languages and protocol."""
    from medmvl.datasets.public import TASKS

    head = ("task", "what", "data", "question types", "languages", "protocol")
    rows = [
        (f"`{name}`", one.title, f"`{one.data}`", ", ".join(one.question_types), ", ".join(one.languages) or "all",
         f"`{one.protocol}`")
        for name, one in TASKS.items()
    ]  # fmt: skip
    return _table(head, rows)


def ratios_table() -> str:
    """Uni-Med's ratios of tasks."""
    from medmvl.datasets.public.unimed import UNIMED_RATIOS

    return _table(("task", "ratio"), [(f"`{name}`", f"{ratio:g}") for name, ratio in UNIMED_RATIOS.items()])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        head,
        ["---"] * len(head),
        *([re.sub(r"([*|<])", r"\\\1", cell) for cell in row] for row in rows),
    ]
    return "\n".join(
        f"| {' | '.join(cells)} |".replace("| --- ", "|---").replace("--- |", "---|") for cells in lines
    )


def parts_tables() -> str:
    """Every built-in encoder and connector; takes some ten seconds."""
    from medmvl.models.catalogue import catalogue, markdown

    return markdown([entry for entry in catalogue() if not entry.source]).strip()


TABLES = {
    "reference/datasets.md": {"data sets": datasets_table, "tasks": tasks_table, "ratios": ratios_table},
    "explanation/parts.md": {"parts": parts_tables},
}
"""Tables of pages that are written by hand otherwise, by the names in their marks."""


def with_tables(page: str) -> str:
    """A page of `TABLES` with its tables between their marks, whatever was there before."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, table in TABLES[page].items():
        begin, end = f"<!-- made by `make reference`: {name} -->\n", f"\n<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"docs/{page}: expected the marks {begin.strip()} and {end.strip()}")
        text = f"{before}{begin}\n{table()}\n{end}{after}"
    return text


PAGES = {
    "reference/cli.md": cli_page,
    "reference/recipe.md": recipe_page,
    "reference/samples.md": samples_page,
}


def main() -> None:
    """Write the pages where they are committed."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page().rstrip() + "\n", encoding="utf-8")
    for name in TABLES:
        (DOCS / name).write_text(with_tables(name), encoding="utf-8")


if __name__ == "__main__":
    main()
