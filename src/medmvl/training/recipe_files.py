"""Recipes on disk: YAML, derivation by `extends`, `key.path=value` overrides, errors that say what was meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from medmvl.errors import RecipeError
from medmvl.json_types import JsonObject, JsonValue
from medmvl.messages import did_you_mean
from medmvl.models.part_names import PARTS

if TYPE_CHECKING:
    from medmvl.training.recipe import Recipe


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, as in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in _shipped() if file.name.endswith(".yaml"))


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe by its name, or a file by its path; apply `key.path=value` overrides in order.

    Raises:
        RecipeError: no such recipe, or a key or value that is not valid; the message names it.
    """
    document = resolve(name_or_path)
    for override in overrides:
        apply_override(document, override)
    return parse_recipe(document, str(name_or_path))


def parse_recipe(document: JsonObject, name: str) -> Recipe:
    """Validate a resolved document. Raises RecipeError with one line per problem."""
    from medmvl.training.recipe import Recipe  # takes seconds: names, files and YAML are checked before

    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False)
        real = [
            detail for detail in details if detail["type"] != "too_short"
        ] or details  # follows from others
        problems = "\n".join(f"  {_explain(detail, document)}" for detail in real)
        raise RecipeError(f"recipe {name} is not valid:\n{problems}") from None


def dump_recipe(recipe: Recipe, *, short: bool = False) -> str:
    """YAML that reads back as the same recipe, with every default written out, or with `short` none."""
    document = recipe.model_dump(mode="json", exclude_defaults=True) if short else plain(recipe)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def plain(recipe: Recipe) -> JsonObject:
    """The document of a recipe, with every default except next to `model.init`, which is there alone."""
    document = recipe.model_dump(mode="json")
    if recipe.model.init is not None:
        document["model"] = {"init": recipe.model.init}
    return document


def resolve(name_or_path: str | Path, seen: tuple[str, ...] = ()) -> JsonObject:
    """The plain document of a recipe, with everything it extends merged in."""
    text, place, folder = _read(name_or_path)
    if place in seen:
        raise RecipeError(f"recipes extend each other in a circle: {' -> '.join((*seen, place))}")
    try:
        document = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise RecipeError(f"{place} is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise RecipeError(
            f"{place} holds {type(document).__name__}; a recipe is a mapping with model, data, stages"
        )
    base = document.pop("extends", None)
    if base is None:
        return document
    beside = folder / str(base) if folder is not None else None
    parent = beside if beside is not None and beside.is_file() else base
    return merge(resolve(parent, (*seen, place)), document)


def merge(base: JsonObject, change: JsonObject) -> JsonObject:
    """`base` with `change` over it: mappings key by key, anything else replaced.

    Where `change` gives `max_steps`, the `epochs` of `base` go, and the other way round.
    A null takes the base's key away, and a mapping of another `type`, such as another encoder, replaces the base's
    whole.
    Stages may be written as a mapping by name, which changes the base's stages of these names.
    """
    merged = _without_other_length(base, change)
    for key, value in change.items():
        old = merged.get(key)
        if isinstance(old, list) and isinstance(value, dict) and key == "stages":
            merged[key] = _change_stages(old, value)
        elif value is None:
            merged.pop(key, None)
        elif (
            isinstance(old, dict) and isinstance(value, dict) and value.get("type") in (None, old.get("type"))
        ):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def _without_other_length(base: JsonObject, change: JsonObject) -> JsonObject:
    """A copy of `base` without its epochs where `change` gives max_steps, and the other way round: the later one holds."""
    left = dict(base)
    for given, other in (("max_steps", "epochs"), ("epochs", "max_steps")):
        if change.get(given) is not None and other not in change:
            left.pop(other, None)
    return left


def _change_stages(stages: list[JsonObject], changes: JsonObject) -> list[JsonObject]:
    for name in changes:
        _index_of(stages, name, "stages")
    return [merge(stage, changes.get(stage.get("name", ""), {})) for stage in stages]


def apply_override(document: JsonObject, override: str) -> None:
    """Set one value in place: `stages.1.learning_rate=1e-4`, or a stage by name: `stages.align.epochs=2`.

    The position after the last one of a list without names adds to it: `data.validation.0.path=validation.jsonl`.

    Raises:
        RecipeError: no `=`, or a list position that does not exist.
    """
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise RecipeError(
            f"override '{override}': expected key.path=value, such as stages.0.learning_rate=1e-4"
        )
    keys = path.split(".")
    place: JsonValue = document
    for key, following in pairwise(keys):
        place = _step_into(place, key, following, path)
    value = yaml.load(text, Loader=_Loader)  # a SafeLoader
    last = keys[-1]
    if isinstance(place, list):
        place[_index_of(place, last, path)] = value
    else:
        place[last] = value


def _step_into(place: JsonValue, key: str, following: str, path: str) -> JsonValue:
    if isinstance(place, list):
        if key == str(len(place)) and not _names(place):
            place.append({})
        return place[_index_of(place, key, path)]
    inside = place.get(key)
    if inside is None and following == "0":  # the first of a list that is not there yet
        inside = []
    if isinstance(inside, str) and place.keys() <= set(PARTS):  # the short form of a part's tuning
        inside = {"mode": inside}
    if not isinstance(inside, dict | list):
        inside = {} if inside is None else inside
        if not isinstance(inside, dict):
            raise RecipeError(f"override '{path}': '{key}' is the value {inside!r} and has nothing inside")
    place[key] = inside
    return inside


def _index_of(items: list[Any], key: str, path: str) -> int:
    """A position in a list, given as a number or as the `name` of an item."""
    names = [item.get("name") for item in items if isinstance(item, dict)]
    if key in names:
        return names.index(key)
    if key.isdigit() and int(key) < len(items):
        return int(key)
    if known := _names(items):
        raise RecipeError(
            f"'{path}': there is no '{key}'; there are {', '.join(known)}{did_you_mean(key, known) or '.'}"
        )
    before = path.split(f".{key}")[0]
    raise RecipeError(
        f"'{path}': {before} is a list of {len(items)}, counted from 0; say {before}.0 for its first, "
        f"{before}.{len(items)} to add one"
    )


def _names(items: Sequence[Any]) -> list[str]:
    return [str(item["name"]) for item in items if isinstance(item, dict) and item.get("name")]


def _read(name_or_path: str | Path) -> tuple[str, str, Path | None]:
    path, name = Path(name_or_path), str(name_or_path)
    if path.suffix in {".json", ".jsonl", ".csv"}:
        raise RecipeError(
            f"{path} is a data file; a recipe, a name of `medmvl recipe list` or a YAML file, names it: "
            f"data.train.0.path={path}"
        )
    if path.is_file():
        return path.read_text(encoding="utf-8"), str(path), path.parent
    if path.is_dir():
        raise RecipeError(
            f"{path} is a folder; a recipe is a name of `medmvl recipe list` or a YAML file. To go on from the model of a "
            "folder: medmvl train fine-tune-lora model.init=FOLDER data.train.0.path=FILE"
        )
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        raise RecipeError(f"there is no recipe file {path}")
    for file in _shipped():
        if file.name == f"{name}.yaml":
            return file.read_text(encoding="utf-8"), name, None
    names = recipe_names()
    raise RecipeError(
        f"there is no recipe '{name}'{did_you_mean(name, names) or '.'} Shipped recipes: {', '.join(names)}."
    )


def _shipped() -> Iterable[Traversable]:
    return files("medmvl.recipes").iterdir()


def _explain(detail: ErrorDetails, document: JsonObject) -> str:
    """One problem in one line: the key as an override writes it, what is wrong, what was probably meant."""
    where = [str(part) for part in detail["loc"] if part != "[key]"]
    if len(where) > 1 and where[0] == "stages" and where[1].isdigit():
        stages = document.get("stages")
        stage = stages[int(where[1])] if isinstance(stages, list) else None
        where[1] = str(stage.get("name", where[1])) if isinstance(stage, dict) else where[1]
    path = ".".join(where) or "recipe"
    if detail["type"] == "extra_forbidden":
        from medmvl.training.recipe import Recipe

        known = _keys_at(Recipe, detail["loc"][:-1])
        return f"{path}: unknown key{did_you_mean(where[-1], known) or '.'} Known: {', '.join(known)}."
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] != "literal_error":
        found = detail["input"]
        said = f", found {found!r}" if isinstance(found, str) and detail["type"] != "value_error" else ""
        return f"{path}: {message}{said}"
    expected = re.findall(r"'([^']+)'", detail["ctx"]["expected"])
    return f"{path}: {message}, not {detail['input']!r}{did_you_mean(str(detail['input']).lower(), expected) or '.'}"


def _keys_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The fields of the model that a validation path leads to."""
    for step in path:
        field = model.model_fields.get(step) if isinstance(step, str) else None
        inside = _model_in(field.annotation) if field is not None else None
        model = inside or model
    return list(model.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model_in(argument))), None)
