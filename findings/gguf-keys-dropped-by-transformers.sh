#!/usr/bin/env bash
# A GGUF of a Qwen3 whose heads are 64 wide (qwen3.attention.key_length = 64), and one of a Llama with rope_freqs.weight, as Llama 3.1 and later have it.
# Expected by a user: from_pretrained(gguf_file=...) reads both, as llama.cpp does. Seen: the configuration says 128, and the rotary factors are
# left out without a word: the Llama's rope_parameters stay "default".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON' 2>errors.txt || { tail -3 errors.txt; exit 1; }
import gguf, numpy as np, transformers
from transformers import AutoConfig, AutoModelForCausalLM


def header(path, architecture, head):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(256), writer.add_embedding_length(64), writer.add_block_count(1), writer.add_feed_forward_length(96)
    writer.add_head_count(4), writer.add_head_count_kv(4), writer.add_layer_norm_rms_eps(1e-5), writer.add_vocab_size(128)
    writer.add_key_length(head), writer.add_value_length(head), writer.add_rope_dimension_count(head), writer.add_rope_freq_base(1e4)
    return writer


def write(writer, tensors):
    rng = np.random.default_rng(0)
    for name, shape in tensors.items():
        writer.add_tensor(f"{name}.weight", rng.normal(size=shape).astype(np.float32))
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()


common = {"token_embd": (128, 64), "output_norm": (64,), "blk.0.attn_norm": (64,), "blk.0.ffn_norm": (64,),
          "blk.0.ffn_gate": (96, 64), "blk.0.ffn_up": (96, 64), "blk.0.ffn_down": (64, 96)}
qkv = {f"blk.0.attn_{n}": (64, 64) for n in ("q", "k", "v", "output")}
write(header("llama.gguf", "llama", 16), common | qkv | {"rope_freqs": (8,)})
write(header("qwen3.gguf", "qwen3", 64), common)
width = AutoConfig.from_pretrained(".", gguf_file="qwen3.gguf").head_dim
model, told = AutoModelForCausalLM.from_pretrained(".", gguf_file="llama.gguf", output_loading_info=True)
rope = model.config.rope_parameters["rope_type"]
print(f"transformers {transformers.__version__}: Qwen3's head_dim {width}, expected 64; Llama's rope_type {rope!r}, expected scaled;",
      f"left out and told: {told['unexpected_keys'] or 'nothing'}")
raise SystemExit(0 if width == 128 and rope == "default" and not told["unexpected_keys"] else 1)
PYTHON
