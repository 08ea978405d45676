"""Checkpoints in the format of MSIIP/MedM-VL with random weights, and a plain computation of what its code gives."""

from __future__ import annotations

import io
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from medmvl.models.tokenizers import train_tokenizer
from tests.factories.models import LLMS, TEXTS
from tests.factories.parts import randomise

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)
ENDS = {
    "llama": "</s>",
    "llama3": "<|eot_id|>",
    "phi": "<|endoftext|>",
    "phi3": "<|endoftext|>",
    "qwen2": "<|im_end|>",
}
_TOWER = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
          "image_size": 32, "patch_size": 8}  # fmt: skip
_PHI = {"model_type": "phi", "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 512, "tie_word_embeddings": False}  # fmt: skip


class MSIIPCheckpoint:
    """A checkpoint in `folder/ckpt`, its components beside it, and the modules it was saved from.

    Args:
        folder: to write.
        llm: `lvlm_llm_type`.
        encoder: `siglip` or `clip`.
        connector: `mlp` or `attn_pooling`.
        depth: linear layers of the connector.
        layer: the selected hidden state.
        select: `patch` or `cls_patch`.
        head: `own`, `tied` (saved, equal to the embedding) or `missing` (tied and not saved).
        shards: 0 for one safetensors file, else that many shards; -1 for a pickle.
    """

    def __init__(
        self, folder: Path, llm: str = "qwen2", encoder: str = "siglip", connector: str = "mlp", depth: int = 2,
        layer: int = -1, select: str = "cls_patch", head: str = "own", shards: int = 0,
    ) -> None:  # fmt: skip
        torch.manual_seed(0)
        self.llm_type, self.layer, self.select = llm, layer, select
        self.folder, self.head = folder / "ckpt", head
        self.folder.mkdir(parents=True)
        size = self._tokenizer(llm)
        config = AutoConfig.for_model(**self._llm_config(llm, size, tied=head != "own"))
        self.llm = AutoModelForCausalLM.from_config(config)
        vision: Any = (CLIPVisionConfig if encoder == "clip" else SiglipVisionConfig)(**_TOWER)
        self.tower: Any = (CLIPVisionModel if encoder == "clip" else SiglipVisionModel)(vision)
        widths = [24, *[24] * depth]
        layers: list[nn.Module] = [nn.Linear(a, b) for a, b in pairwise(widths)]
        self.mlp = nn.Sequential(
            *[m for n, part in enumerate(layers) for m in ([nn.GELU()] if n else []) + [part]]
        )
        self.attention = (
            nn.MultiheadAttention(24, 8, batch_first=True) if connector == "attn_pooling" else None
        )
        self.query = torch.randn(16, 24)
        for module in (self.llm, self.tower, self.mlp, *([self.attention] if self.attention else [])):
            randomise(module, 1)
        self.llm.tie_weights()
        config.save_pretrained(folder / "llm")
        vision.save_pretrained(folder / "tower")
        size_of: Any = {"height": 32, "width": 32}
        images: Any = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size_of) if encoder == "clip" else (
            SiglipImageProcessorPil(size=size_of))  # fmt: skip
        images.save_pretrained(folder / "tower")
        self._save({
            "lvlm_llm_type": llm, "lvlm_llm_name_or_path": "llm", "lvlm_llm_max_length": 256,
            "lvlm_encoder_image_type": encoder, "lvlm_encoder_image_name_or_path": "tower",
            "lvlm_encoder_image_select_layer": layer, "lvlm_encoder_image_select_feature": select,
            "lvlm_connector_image_type": connector, "lvlm_connector_image_name": f"mlp{depth}x_gelu",
        }, shards)  # fmt: skip

    @staticmethod
    def _llm_config(llm: str, vocab_size: int, *, tied: bool) -> dict[str, Any]:
        base = {"phi": _PHI, "llama3": LLMS["llama"]}.get(llm) or LLMS[llm]
        return {**base, "vocab_size": vocab_size + 8, "tie_word_embeddings": tied}

    def _tokenizer(self, llm: str) -> int:
        """LLaMA's and Phi-3's are SentencePiece models alone, as slow tokenizers save them; the others byte-level."""
        if llm not in ("llama", "phi3"):
            tokenizer = train_tokenizer(TEXTS, 360)
            more = [ENDS[llm], *(["<|begin_of_text|>"] if llm == "llama3" else [])]
            tokenizer.add_special_tokens(
                {"additional_special_tokens": more}, replace_extra_special_tokens=False
            )
            tokenizer.eos_token = ENDS[llm]
            tokenizer.save_pretrained(self.folder)
            self.pieces = None
            return len(tokenizer)
        made = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([SYSTEM, *TEXTS] * 3), model_writer=made, vocab_size=420, model_type="bpe",
            byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, unk_id=0, bos_id=1,
            eos_id=2, pad_id=-1, hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
        (self.folder / "tokenizer.model").write_bytes(made.getvalue())
        self.pieces = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
        end, size = ENDS[llm], self.pieces.get_piece_size()
        special = {0: "<unk>", 1: "<s>", 2: "</s>"} | ({size: end} if end != "</s>" else {})
        decoder = {str(i): {"content": t, "special": True, "lstrip": False, "rstrip": False, "normalized": False,
                            "single_word": False} for i, t in special.items()}  # fmt: skip
        self.special = {text: i for i, text in special.items()}
        settings = {"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True, "add_eos_token": False,
                    "bos_token": "<s>", "eos_token": end, "unk_token": "<unk>", "pad_token": "<unk>",
                    "added_tokens_decoder": decoder}  # fmt: skip
        (self.folder / "tokenizer_config.json").write_text(json.dumps(settings))
        return size + len(special) - 3

    def _save(self, config: dict[str, Any], shards: int) -> None:
        (self.folder / "config.json").write_text(json.dumps({"model_type": "lvlm", **config}))
        weights: dict[str, Tensor] = {f"llm.{n}": t.clone() for n, t in self.llm.state_dict().items()}
        if self.head == "missing":
            weights.pop("llm.lm_head.weight")
        weights |= {f"encoder_image.encoder.vision_model.{n.removeprefix('vision_model.')}": t
                    for n, t in self.tower.state_dict().items()}  # fmt: skip
        weights |= {f"connector_image.connector.{n}": t for n, t in self.mlp.state_dict().items()}
        if self.attention is not None:
            weights |= {f"connector_image.attn.{n}": t for n, t in self.attention.state_dict().items()}
            weights["connector_image.query"] = self.query
        if shards == 0:
            save_file(weights, self.folder / "model.safetensors")
        elif shards < 0:
            torch.save(weights, self.folder / "pytorch_model.bin")
        else:
            names, places = list(weights), {}
            for number in range(shards):
                own = names[number::shards]
                places |= dict.fromkeys(own, f"model-{number}.safetensors")
                save_file({n: weights[n] for n in own}, self.folder / f"model-{number}.safetensors")
            (self.folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))

    def visual_tokens(self, pixels: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, tokens, width)`."""
        states = self.tower(pixels, output_hidden_states=True).hidden_states[self.layer]
        if self.select == "patch":
            states = states[:, 1:]
        if self.attention is not None:
            query = self.query.expand(len(states), -1, -1)
            states = self.attention(query, states, states)[0]
        return torch.as_tensor(self.mlp(states))

    def logits(self, ids: list[int], visual: list[Tensor]) -> Tensor:
        """Of ids in which -200 stands for the next visual tokens `(tokens, width)`."""
        embed, waiting = self.llm.get_input_embeddings(), iter(visual)
        rows = [next(waiting) if i == -200 else embed(torch.tensor([i])) for i in ids]
        return torch.as_tensor(self.llm(inputs_embeds=torch.cat(rows)[None]).logits[0])

    def sentencepiece_ids(self, prompt: str) -> list[int]:
        """As the slow tokenizer gives them for the pieces between images: each is a text of its own."""
        assert self.pieces is not None
        ids = [1]
        for piece in re.split("(<image>|" + "|".join(map(re.escape, self.special)) + ")", prompt):
            if piece == "<image>":
                ids.append(-200)
            elif piece in self.special:
                ids.append(self.special[piece])
            elif piece:
                ids += self.pieces.encode(piece)
        return ids
