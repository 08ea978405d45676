"""Build a small model from parts, save it, and load it again with transformers' own Auto classes.

Every part is a dict with a `type`; the tables in medmvl.models.encoders and medmvl.models.connectors list them.

    python examples/03_build_a_model.py
"""

import tempfile

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

import medmvl  # noqa: F401  (makes the Auto classes know MedM-VL)
from medmvl.models.assemble import assemble
from medmvl.models.model_recipe import ModelRecipe

LLM = {
    "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
RECIPE = ModelRecipe.model_validate(
    {
        "llm": {"config": LLM, "tokenizer_vocab_size": 300},
        "volume_encoder": {
            "type": "vit3d", "size": [16, 32, 32], "patch_size": [8, 8, 8], "in_channels": 1,
            "width": 32, "num_layers": 1, "num_heads": 4,
        },
        "volume_connector": {"type": "spatial_pooling", "factors": [2, 2, 2]},
        "volume_processor": {"size": [16, 32, 32], "windows": ["full"]},
        "max_length": 128,
    }
)  # fmt: skip

model, processor = assemble(RECIPE, texts=["Is there a nodule? Yes, in the left upper lobe.", "No."], seed=0)
for name, part in model.named_children():
    print(f"{name:<18}{sum(weight.numel() for weight in part.parameters()):>9,} weights")
print("one volume becomes", processor.tokens_of("volume"), "tokens of the LLM")

with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    loaded = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
    loaded_processor = AutoProcessor.from_pretrained(folder, local_files_only=True)

same = all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
assert same, "a saved model loads with the same weights"
print("saved and loaded:", type(loaded).__name__, "and", type(loaded_processor).__name__)
