"""A GGUF file of an LLM as a plain folder: transformers' dequantised weights, its tokenizer and chat template.

What transformers would drop without a word, such as the rotary scaling of Llama 3.1, is refused: every tensor of the
file has its place, and every weight of the model comes from the file.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from tokenizers import pre_tokenizers

from medmvl.errors import MissingExtraError, UserError
from medmvl.exchange.imported import Components, ImportedLLM
from medmvl.json_types import JsonMapping
from medmvl.messages import first_of
from medmvl.models.progress_bars import without_warnings, without_weight_bars

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

MAGIC = b"GGUF"
ARCHITECTURES = ("llama", "qwen2", "qwen3", "phi3", "gemma2", "gemma3")
"""Architectures whose import was compared with the model that the file was made of. Mistral's files say llama."""
KNOWN_SPLITS = ("gpt-2", "qwen2", "deepseek-r1-qwen", "llama-bpe", "llama3", "llama-v3", "tekken", "gpt-4o")
"""Rules for splitting text (`tokenizer.ggml.pre`) that transformers follows."""
DIGIT_SPLITS = ("smollm", "starcoder", "refact", "command-r")
"""Rules by which each digit is a piece of its own before GPT-2's rule; transformers follows GPT-2's alone."""
_FORGOTTEN = {
    "attention.key_length": "head_dim",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
"""Keys that transformers does not read for every architecture, and what its configurations call them."""
_GEMMA_27B_LAYERS = (46, 62)
_SCALING_KEYS = ("rope.scaling.type", "rope.scaling.factor")
_DAMAGE = (ValueError, IndexError, KeyError, OverflowError, TypeError, AttributeError)
"""What the reader of the package gguf raises at a file that ends early."""


class _Header(NamedTuple):
    architecture: str
    fields: JsonMapping
    """Keys with plain values; long lists are left out."""
    tensors: frozenset[str]


def is_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF files do."""
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return opened.read(len(MAGIC)) == MAGIC


def recognise(source: Path, components: Components) -> bool:
    """A GGUF file, or a folder with such files and no configuration of transformers."""
    return is_gguf(source) or (
        source.is_dir() and not (source / "config.json").is_file() and bool(_inside(source))
    )


def _inside(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.gguf")) if is_gguf(path)]


def read(source: Path, components: Components) -> ImportedLLM:
    """Read an LLM out of a GGUF file, in float32.

    Raises:
        UserError: another architecture, a damaged file, tensors without a place, or settings that would be lost.
        MissingExtraError: the package gguf is not installed.
    """
    path = _one_file(source)
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtraError(
            f"{path} is read with the package gguf: pip install -e '.[gguf]' in the clone"
        )
    header = _header(path)
    _refuse_what_would_be_lost(path, header)
    with without_weight_bars(), without_warnings(), _silent_bars():
        model = _plain_model(path, header)
        tokenizer, notes = _tokenizer(path, header)

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)

    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    about = f"{header.architecture}, {millions:,.1f} M weights in float32; name it in a recipe: llm: {{path: FOLDER}}"
    return ImportedLLM(save, (about, *notes))


def _one_file(source: Path) -> Path:
    if source.is_file():
        if not is_gguf(source):
            raise UserError(f"{source} is no GGUF file: it does not begin with GGUF.")
        return source
    files = _inside(source)
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise UserError(f"{source}: expected one GGUF file, found {found}; name the file itself.")
    return files[0]


def _header(path: Path) -> _Header:
    """Keys and tensor names; the package reads the place of every tensor, so a file that ends early is noticed here."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        fields = {
            key: field.contents()
            for key, field in reader.fields.items()
            if len(field.data) == 1 or "token" not in key
        }
        tensors = frozenset(tensor.name for tensor in reader.tensors)
        architecture = str(fields["general.architecture"])
    except _DAMAGE as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is cut off or damaged ({said}); copy or download it again and compare its size and SHA-256."
        ) from None
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"{path} holds a model of the architecture {architecture!r}, which is not imported. "
            f"Imported: {', '.join(ARCHITECTURES)}."
        )
    return _Header(architecture, fields, tensors)


def _refuse_what_would_be_lost(path: Path, header: _Header) -> None:
    """Settings that change what the model computes and that transformers does not read from GGUF."""
    kind = header.fields.get(f"{header.architecture}.{_SCALING_KEYS[0]}", "none")
    factor = header.fields.get(f"{header.architecture}.{_SCALING_KEYS[1]}", 1.0)
    scaled = [name for name in sorted(header.tensors) if name.startswith(("rope_freqs", "rope_factors"))]
    if scaled or (kind != "none" and factor != 1.0):
        raise UserError(
            f"{path}: its rotary positions are scaled ({', '.join(scaled) or kind}), which transformers does not read from "
            "GGUF; the model would answer otherwise than it should. Use the same model in safetensors."
        )


def _plain_model(path: Path, header: _Header) -> PreTrainedModel:
    """Transformers' dequantised weights in a model that is not marked as quantised, so that it can be saved."""
    from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig

    try:
        config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
        for key, attribute in _FORGOTTEN.items():
            value = header.fields.get(f"{header.architecture}.{key}")
            if value is not None and hasattr(config, attribute):
                setattr(config, attribute, value)
        if hasattr(config, "query_pre_attn_scalar"):
            config.query_pre_attn_scalar = _gemma_scale(config)
        found: Any = AutoModelForCausalLM.from_pretrained(
            path.parent,
            config=config,
            gguf_file=path.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
            local_files_only=True,
        )
    except (*_DAMAGE, RuntimeError, OSError) as error:
        raise UserError(f"{path} could not be loaded by transformers: {str(error).splitlines()[0]}") from None
    loaded, loading = found
    _check_whole(path, header, loaded, loading)
    config = loaded.config
    config._name_or_path = ""
    for key in ("quantization_config", "_model_name_or_path"):
        config.__dict__.pop(key, None)
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = loaded.generation_config
    return cast("PreTrainedModel", plain)


def _gemma_scale(config: PreTrainedConfig) -> int:
    """Square of the divisor of Gemma's scores: no key says it; llama.cpp knows the two models of 27 B by their layers."""
    if config.num_hidden_layers in _GEMMA_27B_LAYERS:
        return int(config.hidden_size // config.num_attention_heads)
    return int(config.head_dim)


def _check_whole(path: Path, header: _Header, model: PreTrainedModel, loading: JsonMapping) -> None:
    """Every weight of the model is from the file, every tensor of the file is in the model."""
    from transformers.modeling_gguf_pytorch_utils import TensorProcessor, get_gguf_hf_weights_map

    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    missing = sorted(set(loading["missing_keys"]) - tied)
    unfit = [f"{name} (not in the file)" for name in missing]
    unfit += [f"{entry[0]} (another shape)" for entry in loading["mismatched_keys"]]
    places = get_gguf_hf_weights_map(model, TensorProcessor())
    unfit += [f"{name} (no place in the model)" for name in sorted(header.tensors - places.keys())]
    if unfit:
        raise UserError(
            f"{path}: {len(unfit)} tensors do not fit the {header.architecture} that the file describes: {first_of(unfit)}"
        )


def _tokenizer(path: Path, header: _Header) -> tuple[PreTrainedTokenizerFast | None, tuple[str, ...]]:
    """The file's tokenizer, which splits text as the model was taught, and what the user must know of it."""
    from medmvl.models.tokenizers import read_tokenizer

    if "tokenizer.ggml.model" not in header.fields:
        return None, (
            "the file holds no tokenizer: name one in the recipe, llm: {path: FOLDER, tokenizer: FOLDER}",
        )
    try:
        tokenizer = read_tokenizer(path.parent, gguf_file=path.name, local_files_only=True)
    except (*_DAMAGE, OSError) as error:
        raise UserError(f"{path}: its tokenizer cannot be read: {str(error).splitlines()[0]}") from None
    notes = (
        ()
        if tokenizer.chat_template
        else ("the file holds no chat template: set llm.chat_template in the recipe",)
    )
    return tokenizer, (*notes, *_split_as_taught(tokenizer, header))


def _split_as_taught(tokenizer: PreTrainedTokenizerFast, header: _Header) -> tuple[str, ...]:
    """Give a byte-level tokenizer its own rule for splitting text; a note says where that rule is not known."""
    if header.fields["tokenizer.ggml.model"] != "gpt2":
        return ()
    rule = header.fields.get("tokenizer.ggml.pre")
    if rule in DIGIT_SPLITS:
        digits = pre_tokenizers.Digits(individual_digits=True)
        by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, by_bytes])
        return ()
    if rule in KNOWN_SPLITS:
        return ()
    return (
        f"warning: the tokenizer's rule for splitting text ({rule!r}) is not known here; text is split as GPT-2 does, and "
        "numbers or spaces may become other tokens than the model was taught",
    )


@contextmanager
def _silent_bars() -> Iterator[None]:
    """Transformers draws one more bar, with a class of its own, while it dequantises."""
    from transformers import modeling_gguf_pytorch_utils

    module: Any = modeling_gguf_pytorch_utils
    before = module.tqdm
    module.tqdm = lambda items, **_: items
    try:
        yield
    finally:
        module.tqdm = before
