"""The whole road in one file: a patient, a conversation, a batch, the loss, and a few steps that lower it.

`medmvl train` does this with stages, validation, checkpoints and resuming.

    python examples/04_train_a_step.py
"""

import torch

from medmvl.models.assemble import assemble
from medmvl.models.model_recipe import ModelRecipe
from medmvl.phantoms import iter_patient_samples, make_patient
from medmvl.phantoms.source import load

LLM = {
    "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
VIT = {"width": 32, "num_layers": 1, "num_heads": 4, "in_channels": 1}
RECIPE = {
    "llm": {"config": LLM, "tokenizer_vocab_size": 400},
    "image_encoder": {"type": "vit2d", "size": [16, 16], "patch_size": [4, 4], **VIT},
    "image_connector": {"type": "mlp"},
    "image_processor": {"size": [16, 16], "channels": 1, "mean": [0.5], "std": [0.5]},
    "volume_encoder": {"type": "vit3d", "size": [8, 16, 16], "patch_size": [4, 4, 4], **VIT},
    "volume_connector": {"type": "spatial_pooling", "factors": [2, 2, 2]},
    "volume_processor": {"size": [8, 16, 16], "windows": ["full"]},
    "max_length": 512,
}

patients = [make_patient(seed=0, index=index, preset="tiny") for index in range(4)]
samples = [sample for patient in patients for sample in iter_patient_samples(patient)][:16]
texts = [message.text for sample in samples for message in sample.messages]
model, processor = assemble(ModelRecipe.model_validate(RECIPE), texts=texts, seed=0)

see = processor.visual_loader(load)
prepared = [processor.prepare(sample.messages, see, supervised=True, name=sample.id) for sample in samples]
batch = processor.collate(prepared)
print(
    "input_ids", tuple(batch["input_ids"].shape), "with", len(batch["visual_table"]), "visuals in the table"
)
answer = prepared[0].labels[prepared[0].labels != -100]
print("what is learned from the first:", repr(processor.tokenizer.decode(answer)))

optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
model.train()
losses = []
for step in range(8):
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    print(f"step {step}  loss {losses[-1]:.3f}")
assert losses[-1] < losses[0], "the loss falls"
