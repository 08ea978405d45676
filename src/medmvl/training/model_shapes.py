"""The model of a recipe with shapes and without memory, whether or not its weights are on this machine."""

from __future__ import annotations

from pathlib import Path

import torch

from medmvl.errors import RecipeError
from medmvl.models.assemble import refuse_gguf
from medmvl.models.configuration import MedMVLConfig
from medmvl.models.known_sizes import IMAGE_TOWERS, LLM_CONFIGS, VOLUME_ENCODERS, llm_config
from medmvl.models.model_recipe import ModelRecipe
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.parts import PartSettings
from medmvl.models.visual_preprocessor import VisualPreprocessor
from medmvl.training.recipe import Recipe


def without_paths(recipe: ModelRecipe) -> tuple[ModelRecipe, tuple[str, ...]]:
    """The recipe with configurations in place of models that are not here, and what was put in."""
    if recipe.init is not None or recipe.llm is None:
        return recipe, ()
    document, notes = recipe.model_dump(mode="json", exclude_unset=True), []
    name = recipe.llm.path
    if name is not None:
        refuse_gguf(name)
    if name is not None and not Path(name).is_dir():
        config = llm_config(name)
        if config is None:
            raise RecipeError(
                f"llm: {name} is not on this machine and not in the table of public models; name a folder, or to estimate "
                f"the nearest of {', '.join(LLM_CONFIGS)}"
            )
        document["llm"] = {"config": config, "tokenizer_vocab_size": config["vocab_size"]}
        notes.append(f"{name} is not here: its sizes are from the table of public models")
    for key, table in (("image_encoder", IMAGE_TOWERS), ("volume_encoder", None)):
        part = document.get(key)
        if not isinstance(part, dict) or "path" not in part or Path(part["path"]).is_dir():
            continue
        rest = {k: v for k, v in part.items() if k != "path"}
        config = table.get(part["path"]) if table is not None else VOLUME_ENCODERS.get(part["type"])
        if config is None:
            raise RecipeError(
                f"{key}: {part['path']} is not on this machine and not in the table of public models."
            )
        document[key] = rest | {"config": config} if table is not None else config | rest
        notes.append(f"{part['path']} is not here: its sizes are from the table of public models")
    return ModelRecipe.model_validate(document), tuple(notes)


def build_empty(recipe: ModelRecipe, preprocessor: VisualPreprocessor) -> MedMVLForConditionalGeneration:
    """The model with shapes and without memory."""
    from transformers import AutoConfig

    if recipe.init is not None:
        config = MedMVLConfig.from_pretrained(recipe.init, local_files_only=True)
    else:
        assert recipe.llm is not None
        if recipe.llm.path is not None:
            llm = AutoConfig.from_pretrained(recipe.llm.path, local_files_only=True)
        else:
            settings = dict(recipe.llm.config or {})
            settings.setdefault("vocab_size", recipe.llm.tokenizer_vocab_size or 32_000)
            llm = AutoConfig.for_model(settings.pop("model_type"), **settings)
        config = MedMVLConfig(llm=llm, **preprocessor.parts.configs(), image_token_id=0, volume_token_id=1)
    with torch.device("meta"):
        return MedMVLForConditionalGeneration(config)


def part_type(recipe: ModelRecipe, name: str) -> str:
    """The type of a part, as the recipe names it."""
    part: PartSettings | str | None = getattr(recipe, name)
    if name == "llm" or part is None:
        return str((recipe.llm.config or {}).get("model_type", recipe.llm.path)) if recipe.llm else "saved"
    if isinstance(part, str):
        return f"slices ({part})"
    inner = (part.get("config") or {}).get("model_type")
    return str(part["type"]) + (f" ({inner})" if inner else "")


def missing_data(recipe: Recipe) -> list[str]:
    """Data files that the recipe names and that are not on this machine."""
    sources = [s for stage in recipe.stages for s in recipe.data_of(stage).train]
    return sorted({s.path for s in sources if s.path is not None and not Path(s.path).is_file()})


def missing_models(recipe: Recipe) -> list[str]:
    """Models that the recipe names and that are not on this machine."""
    model = recipe.model
    parts = (model.image_encoder, model.volume_encoder)
    named = [part.get("path") for part in parts if isinstance(part, dict)]
    named += [model.init, model.llm.path if model.llm else None]
    return [path for path in named if path is not None and not Path(path).is_dir()]
