"""The study file: a base recipe, named variants that each change one thing, seeds, and the test data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from medmvl.errors import RecipeError
from medmvl.training.recipe import Recipe, Strict
from medmvl.training.recipe_files import apply_override, parse_recipe, plain, resolve
from medmvl.training.run_folder import differences


class Variant(Strict):
    """One variant: what it changes of the base, as `key.path: value`. Nothing: the base itself."""

    description: str = ""
    change: dict[str, Any] = Field(default_factory=dict)


class Evaluated(Strict):
    """How every run is evaluated, on the recipe's `data.test`."""

    limit_patients: PositiveInt | None = None
    controls: bool = True
    batch_size: PositiveInt = 64
    max_new_tokens: PositiveInt = 64


class Study(Strict):
    """Many runs that answer one question."""

    schema_version: Literal[1] = 1
    question: str
    base: str
    """A shipped recipe's name, or a file beside the study file."""
    shared: dict[str, Any] = Field(default_factory=dict)
    """Changes of the base for every variant."""
    reference: str
    """The variant that the others are compared with."""
    variants: dict[str, Variant] = Field(min_length=2)
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0, 1, 2), min_length=1)
    evaluation: Evaluated = Evaluated()

    @model_validator(mode="after")
    def _reference_is_a_variant(self) -> Study:
        if self.reference not in self.variants:
            raise ValueError(
                f"reference '{self.reference}' is no variant; there are {', '.join(self.variants)}"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed stands twice in seeds")
        return self


def load_study(path: Path) -> tuple[Study, dict[str, dict[str, Any]]]:
    """Read a study file; returns it with the resolved recipe document of every variant.

    Raises:
        RecipeError: a key, value or variant that is not valid, or two variants that are the same recipe.
    """
    try:
        study = Study.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from None
    except ValidationError as error:
        known = ", ".join(Study.model_fields)
        problems = "\n".join(
            f"  {'.'.join(map(str, e['loc'])) or 'study'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_url=False)
        )
        raise RecipeError(f"study {path} is not valid:\n{problems}\nKeys of a study: {known}.") from None
    beside = path.parent / study.base
    base = beside if beside.is_file() else study.base
    documents = {
        name: _changed(base, {**study.shared, **variant.change}) for name, variant in study.variants.items()
    }
    _check_distinct(documents, str(path))
    return study, documents


def recipe_of(document: dict[str, Any], seed: int, name: str) -> Recipe:
    """The recipe of one run."""
    return parse_recipe({**document, "seed": seed}, name)


def _changed(base: str | Path, changes: dict[str, Any]) -> dict[str, Any]:
    document = resolve(base)
    for key, value in changes.items():
        flow = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
        apply_override(document, f"{key}={flow}")
    return document


def _check_distinct(documents: dict[str, dict[str, Any]], name: str) -> None:
    shown = {variant: plain(recipe_of(document, 0, f"{name}, variant {variant}"))
             for variant, document in documents.items()}  # fmt: skip
    names = list(shown)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            if not differences(shown[first], shown[second]):
                raise RecipeError(f"study {name}: variants '{first}' and '{second}' are the same recipe")
