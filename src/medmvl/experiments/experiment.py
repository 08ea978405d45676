"""The experiment file: a base recipe, named variants that each change one thing, seeds, and the test data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

import medmvl.recipes
from medmvl.errors import RecipeError
from medmvl.experiments.shared import names_in
from medmvl.json_types import JsonObject
from medmvl.messages import did_you_mean
from medmvl.schema.strict import StrictModel
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import apply_override, parse_recipe, plain, resolve
from medmvl.training.run_folder import differences

EXPERIMENTS = Path(medmvl.recipes.__file__).parent / "experiments"


class Variant(StrictModel):
    """One variant: what it changes of the base, as `key.path: value`. Nothing: the base itself."""

    description: str = ""
    base: str | None = None
    """A recipe in place of the experiment's base, such as the published variant with another encoder."""
    change: JsonObject = Field(default_factory=dict)
    together: str = ""
    """Why several keys change at once, where they do: differences cannot be separated afterwards."""

    @model_validator(mode="after")
    def _must_change_one_thing(self) -> Variant:
        changed = [*(["base"] if self.base else []), *self.change]
        if (len(changed) > 1 or self.base) and not self.together:
            raise ValueError(
                f"{' and '.join(changed)} change at once; change one key per variant, or say in `together` why they "
                "belong together"
            )
        return self


class Evaluated(StrictModel):
    """How every run is evaluated, on the recipe's `data.test`."""

    limit_patients: PositiveInt | None = None
    controls: bool = True
    batch_size: PositiveInt = 64
    max_new_tokens: PositiveInt = 64
    keep_models: bool = True
    """False: weights go when a run is evaluated, those of first stages when all are; recipes, curves and answers stay."""

    @property
    def asked(self) -> JsonObject:
        """What decides the answers: the keywords of `evaluate`."""
        return self.model_dump(mode="json", exclude={"keep_models"})


class Preparation(StrictModel):
    """A recipe that is trained once for all runs, such as the LLM on text; `prepared:NAME` stands for its parts."""

    base: str
    """A shipped recipe's name, or a file next to the experiment file."""
    change: JsonObject = Field(default_factory=dict)
    seed: NonNegativeInt = 0


class Experiment(StrictModel):
    """Many runs that answer one question."""

    schema_version: Literal[1] = 1
    question: str
    base: str
    """A shipped recipe's name, or a file next to the experiment file."""
    shared: JsonObject = Field(default_factory=dict)
    """Changes of the base for every variant."""
    reference: str
    """The variant that the others are compared with."""
    variants: dict[str, Variant] = Field(min_length=2)
    prepare: dict[str, Preparation] = Field(default_factory=dict)
    contrasts: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Differences beyond those to the reference: one weight per variant, such as `{a: 1, b: -1}`; they must sum to 0."""
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0, 1, 2), min_length=1)
    evaluation: Evaluated = Evaluated()

    @model_validator(mode="after")
    def _reference_is_a_variant(self) -> Experiment:
        if self.reference not in self.variants:
            raise ValueError(
                f"reference '{self.reference}' is no variant; there are {', '.join(self.variants)}"
            )
        for name, weights in self.contrasts.items():
            strange = [variant for variant in weights if variant not in self.variants]
            if strange or name in self.variants or abs(sum(weights.values())) > 1e-9:
                raise ValueError(
                    f"contrast '{name}' needs a name of its own and weights of variants that sum to 0"
                    + (f"; '{strange[0]}' is no variant" if strange else "")
                )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is twice in seeds")
        return self


def experiment_names() -> list[str]:
    """Names of the experiments that ship with the package."""
    return sorted(
        file.stem for file in EXPERIMENTS.glob("*.yaml") if "\nvariants:" in file.read_text("utf-8")
    )


def experiment_file(name_or_path: str) -> Path:
    """The file of a shipped experiment, or the one named by its path.

    Raises:
        RecipeError: there is neither.
    """
    if Path(name_or_path).is_file():
        return Path(name_or_path)
    if name_or_path in experiment_names():
        return EXPERIMENTS / f"{name_or_path}.yaml"
    raise RecipeError(
        f"there is no experiment '{name_or_path}'{did_you_mean(name_or_path, experiment_names()) or '.'} "
        f"Shipped experiments: {', '.join(experiment_names())}; or name a YAML file"
    )


def load_experiment(path: Path) -> tuple[Experiment, dict[str, JsonObject]]:
    """Read an experiment file; returns it with the resolved recipe document of every variant.

    Raises:
        RecipeError: a key, value or variant that is not valid, or two variants that are the same recipe.
    """
    try:
        experiment = Experiment.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from None
    except ValidationError as error:
        known = ", ".join(Experiment.model_fields)
        problems = "\n".join(
            f"  {'.'.join(map(str, e['loc'])) or 'experiment'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_url=False)
        )
        raise RecipeError(
            f"experiment {path} is not valid:\n{problems}\nKeys of an experiment: {known}."
        ) from None
    base = _beside(path, experiment.base)
    documents = {
        name: _changed(
            _beside(path, variant.base) if variant.base else base, {**experiment.shared, **variant.change}
        )
        for name, variant in experiment.variants.items()
    }
    for name, document in documents.items():
        unknown = names_in(document) - set(experiment.prepare)
        if unknown:
            raise RecipeError(f"experiment {path}, variant '{name}': nothing prepares '{unknown.pop()}'")
    _check_distinct(documents, str(path))
    return experiment, documents


def preparations(
    experiment: Experiment, path: Path, documents: Mapping[str, JsonObject], only: Sequence[str] = ()
) -> dict[str, Recipe]:
    """The recipes of what an experiment, or some of its variants, needs prepared, by name.

    Args:
        experiment: the experiment.
        path: its file.
        documents: the recipe document of every variant.
        only: names of the variants that count; all where empty.

    Raises:
        RecipeError: one of the recipes is not valid.
    """
    needed = names_in([document for name, document in documents.items() if not only or name in only])
    found = {}
    for name, prepared in experiment.prepare.items():
        if name not in needed:
            continue
        document = _changed(_beside(path, prepared.base), prepared.change)
        found[name] = recipe_of(document, prepared.seed, f"{path}, preparation {name}")
    return found


def _beside(path: Path, base: str) -> str | Path:
    beside = path.parent / base
    return beside if beside.is_file() else base


def recipe_of(document: JsonObject, seed: int, name: str) -> Recipe:
    """The recipe of one run."""
    return parse_recipe({**document, "seed": seed}, name)


def _changed(base: str | Path, changes: JsonObject) -> JsonObject:
    document = resolve(base)
    for key, value in changes.items():
        flow = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
        apply_override(document, f"{key}={flow}")
    return document


def _check_distinct(documents: dict[str, JsonObject], name: str) -> None:
    shown = {
        variant: plain(recipe_of(document, 0, f"{name}, variant {variant}"))
        for variant, document in documents.items()
    }
    names = list(shown)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            if not differences(shown[first], shown[second]):
                raise RecipeError(f"experiment {name}: variants '{first}' and '{second}' are the same recipe")
