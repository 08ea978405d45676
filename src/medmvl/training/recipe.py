"""Recipe: everything that makes a run, typed and frozen: the model's parts, the data, the stages, the seed.

Written as YAML (`medmvl.training.recipe_files`); an unknown key is an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from medmvl.data.sources import DataSource
from medmvl.json_types import JsonObject, JsonValue
from medmvl.models.model_recipe import ModelRecipe
from medmvl.models.part_names import PartName
from medmvl.models.part_tuning import PartTuning
from medmvl.rewards.registry import RewardRecipe
from medmvl.schema.strict import StrictModel
from medmvl.training.policy_recipe import GroupPolicy

DECIDED_BY_STAGES = {
    "train_batch_size": "batch_size",
    "train_micro_batch_size_per_gpu": "micro_batch_size",
    "gradient_accumulation_steps": "micro_batch_size",
    "gradient_clipping": "max_grad_norm",
    "optimizer": "learning_rate",
    "scheduler": "schedule",
    "bf16": "precision",
    "fp16": "precision",
}
"""Keys of DeepSpeed's configuration, and the key of a stage that decides each."""


KEYS_OF_OBJECTIVES = {
    "pack": ("lm",),
    "dpo": ("dpo",),
    "grpo": ("grpo",),
    "rewards": ("grpo",),
    "temperature": ("contrastive", "answer_alignment"),
}
"""Keys of a stage that some objectives alone read, and which."""


TrackerName = Literal["tensorboard", "wandb", "trackio"]


class DataRecipe(StrictModel):
    """Which samples train, which are watched during training, and which are kept for the end."""

    train: tuple[DataSource, ...] = ()
    """Sources that train, mixed by their weights."""
    validation: tuple[DataSource, ...] = ()
    """Sources for the validation loss and answers during training."""
    test: tuple[DataSource, ...] = ()
    """Sources kept for the end."""
    drop_too_long: bool = False
    """Leave out samples longer than `model.max_length`, counted and listed in the log; by default such a sample is an error."""
    prepared: bool = False
    """Keep what the processor makes of every scan on disk, so that it is read and resampled once, not once per epoch. This is
    patient data in the cache folder: `medmvl data cache` shows it, `--clear` removes it."""
    features: bool | None = None
    """Keep what frozen encoders make of every scan on disk, so that it is computed once, not once per epoch, stage, seed and
    evaluation; results are equal bit for bit. None: yes. It is patient data in the cache folder, like `prepared`."""

    @model_validator(mode="after")
    def _keys_of_training_are_there_alone(self) -> DataRecipe:
        _check_watched((*self.validation, *self.test))
        return self


class StageData(StrictModel):
    """Data of one stage; what is null is the recipe's `data`, and `[]` or `false` holds for the stage."""

    train: tuple[DataSource, ...] | None = None
    """Sources that train."""
    validation: tuple[DataSource, ...] | None = None
    """Sources for the validation loss and answers during the stage; `[]`: none."""
    test: tuple[DataSource, ...] | None = None
    """Sources kept for the end."""
    drop_too_long: bool | None = None
    """Leave out samples longer than `model.max_length`, or refuse them."""
    prepared: bool | None = None
    """Keep what the processor makes of every scan on disk, or do not."""
    features: bool | None = None
    """Keep what frozen encoders make of every scan on disk, or do not."""

    @model_validator(mode="after")
    def _keys_of_training_are_there_alone(self) -> StageData:
        _check_watched((*(self.validation or ()), *(self.test or ())))
        return self


def _check_watched(sources: Iterable[DataSource]) -> None:
    """Refuse what only training data can have: whoever writes it there expects something of it."""
    for source in sources:
        if source.replay:
            raise ValueError("replay is for data that train, not for validation or test")
        if source.weight != 1:
            raise ValueError(
                f"weight {source.weight:g} is for data that train; all samples of validation and test data count once"
            )


class Preference(StrictModel):
    """Settings of the `dpo` objective."""

    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """`sigmoid`: DPO (arXiv 2305.18290); `ipo`: squared distance of the log-ratio per token from 1 / (2 beta) (2310.12036)."""
    beta: PositiveFloat = 0.1
    """How strongly the model is held to the stage's first weights; smaller lets it go further."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of pairs taken to be the wrong way round, for `sigmoid` (conservative DPO)."""
    sft_weight: NonNegativeFloat = 0.0
    """Weight of the mean cross entropy per token of the chosen answer."""

    @model_validator(mode="after")
    def _smoothing_is_of_sigmoid(self) -> Preference:
        if self.label_smoothing and self.loss != "sigmoid":
            raise ValueError(f"label_smoothing is for the loss sigmoid, not {self.loss}")
        return self


class Stage(StrictModel):
    """One stage: an objective, what of the model trains, on what, for how long."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name of the stage, and of its folder in the run."""
    objective: Literal["lm", "classification", "contrastive", "answer_alignment", "dpo", "grpo"] = "lm"
    """Loss: `lm` for answers, `classification` of a sample's `labels`, `contrastive` between images and texts,
    `answer_alignment` between the answer and what a connector that reads the question makes of the image, without the LLM,
    `dpo` for pairs of a `chosen` and a `rejected` answer, `grpo` for the model's own answers and what `rewards` pay."""
    dpo: Preference | None = None
    """Settings of the `dpo` objective; None: their defaults."""
    grpo: GroupPolicy | None = None
    """Settings of the `grpo` objective; None: their defaults."""
    rewards: tuple[RewardRecipe, ...] = ()
    """Rewards of answers in the `grpo` objective; none: the verdict of the task's judge (`judge`)."""
    parts: dict[PartName, PartTuning]
    """Tuning per part: `frozen`, `full`, `lora`, `dora` or `last_k`; a part that is not named is frozen."""
    any_model: bool = False
    """Leave out of `parts` what the model does not have, for recipes that fit several models."""
    data: StageData | None = None
    """Data of this stage alone; None: the recipe's."""

    epochs: PositiveFloat | None = None
    """Length in passes over the data; give either this or `max_steps`."""
    max_steps: PositiveInt | None = None
    """Length in optimizer steps."""
    batch_size: PositiveInt
    """Samples per optimizer step, summed over all processes: the result does not depend on how many there are. For `dpo` these
    are pairs, for `grpo` prompts."""
    micro_batch_size: PositiveInt | None = None
    """Samples that a process holds at once; None: its whole share of the batch."""
    eval_batch_size: PositiveInt | None = None
    """Samples that a process holds at once in validation; None: as in training."""
    group: Literal["length", "study", "none"] = "length"
    """Samples that share a batch: those of similar length, or questions about the same pixels."""
    samples_per_study: PositiveInt = 4
    """Samples of the same pixels next to each other at most, with `group: study`: more cost less each and mix fewer studies."""
    pack: bool = False
    """Put the samples of a micro batch one after another in one row, each seeing itself only, instead of padding them; what
    samples with the same pixels begin with, those pixels' tokens among it, is computed once. The same loss and the same steps
    for less work, above all with `group: study`. For `lm`, and LLM families tested so."""

    learning_rate: PositiveFloat
    """Peak learning rate of parts that name none of their own."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of AdamW; norms, biases and embeddings never decay."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Course of the learning rate after the warmup."""
    warmup: NonNegativeFloat = 0.03
    """Warmup: below 1 a share of the steps, otherwise their number."""
    max_grad_norm: NonNegativeFloat = 1.0
    """Largest norm of the gradient; a longer one is scaled down."""
    temperature: PositiveFloat = 0.07
    """First temperature of the `contrastive` and `answer_alignment` objectives; it is learned."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 where a GPU has it, float32 otherwise."""
    gradient_checkpointing: bool = False
    """Recompute activations of the LLM and the encoders in the backward pass: slower, far less memory."""
    num_workers: NonNegativeInt = 0
    """Processes that read ahead; 0: the training process reads itself."""

    log_steps: PositiveInt = 10
    """Steps between two entries of the history."""
    eval_steps: PositiveInt | None = None
    """Steps between validations; None: at the end of the stage only."""
    until: dict[str, float] = Field(default_factory=dict)
    """Validation metrics that end the stage as soon as all are reached, such as `{label_accuracy: 0.99}`; a loss is reached
    from above. `max_steps` is then the most. It suits `schedule: constant`, as the others count on the last step."""
    save_steps: PositiveInt | None = None
    """Steps between checkpoints; None: ten over the stage."""
    keep_checkpoints: PositiveInt = 2
    """Checkpoints that stay on disk while the stage runs."""

    @model_validator(mode="after")
    def _must_be_possible(self) -> Stage:
        if (self.epochs is None) == (self.max_steps is None):
            found = (
                f"found epochs {self.epochs} and max_steps {self.max_steps}"
                if self.epochs
                else "found neither"
            )
            raise ValueError(
                f"stage '{self.name}': give either epochs or max_steps, and the other as null "
                f"(stages.{self.name}.epochs=null on the command line); {found}"
            )
        if not self.has_heads and all(tuning.mode == "frozen" for tuning in self.parts.values()):
            raise ValueError(f"stage '{self.name}' would train nothing: set one of its parts to full or lora")
        if self.until and self.eval_steps is None:
            raise ValueError(f"stage '{self.name}': until needs eval_steps, the steps between validations")
        if (
            self.group != "study"
            and self.samples_per_study != Stage.model_fields["samples_per_study"].default
        ):
            raise ValueError(f"stage '{self.name}': samples_per_study is for group study, not '{self.group}'")
        trained = {part for part, tuning in self.parts.items() if tuning.mode != "frozen"}
        for key, objectives in KEYS_OF_OBJECTIVES.items():
            if self.objective not in objectives and getattr(self, key) != Stage.model_fields[key].default:
                raise ValueError(
                    f"stage '{self.name}': {key} is for the objective {' and '.join(objectives)}, not '{self.objective}'"
                )
        if self.has_heads and not any("encoder" in part for part in self.parts):
            raise ValueError(
                f"stage '{self.name}': '{self.objective}' is about encoders, but none of its parts is one; "
                "a frozen one trains the objective's own heads alone"
            )
        if self.objective == "answer_alignment" and not any("connector" in part for part in trained):
            raise ValueError(
                f"stage '{self.name}': 'answer_alignment' trains connectors, but none of its parts is one"
            )
        return self

    @property
    def policy(self) -> GroupPolicy:
        """Settings of the `grpo` objective: those of the recipe, or the defaults."""
        return self.grpo or GroupPolicy()

    @property
    def has_heads(self) -> bool:
        """Whether the objective has weights of its own that are worth training next to a frozen model: a probe."""
        return self.objective in ("classification", "contrastive")

    @property
    def connects(self) -> bool:
        """Whether visuals go through their connectors; two objectives read what the encoders give."""
        return not self.has_heads

    def runs(self, part: str) -> bool:
        """Whether a part of the model computes anything in this stage."""
        if part == "llm":
            return self.objective not in ("classification", "answer_alignment")
        return self.connects or "connector" not in part

    @property
    def answers_per_sample(self) -> int:
        """Answers that a sample is trained with: those of its group in the `grpo` objective, else one."""
        return self.policy.group_size if self.objective == "grpo" else 1

    @property
    def holds_reference(self) -> bool:
        """Whether the weights that train are held once more, as they were at first."""
        return self.objective == "grpo" and self.policy.kl > 0

    def share(self, num_processes: int) -> tuple[int, int]:
        """How a global batch is cut: `(micro batch size, accumulation steps)` of each process.

        Raises:
            ValueError: the batch cannot be divided evenly.
        """
        micro = self.micro_batch_size or max(1, self.batch_size // num_processes)
        if self.batch_size % (micro * num_processes):
            raise ValueError(
                f"stage '{self.name}': batch_size {self.batch_size} is not a multiple of {num_processes} processes x "
                f"micro_batch_size {micro}"
            )
        return micro, self.batch_size // (micro * num_processes)


class Distributed(StrictModel):
    """How more than one GPU is used; nothing here: DDP. Both go through accelerate."""

    fsdp: JsonObject | None = None
    """`fsdp_config` of transformers' TrainingArguments (FSDP2); `{}` takes its defaults."""
    deepspeed: JsonObject | None = None
    """A DeepSpeed configuration, such as `{zero_optimization: {stage: 2}}`. What a stage says is not said again here:
    batch sizes, clipping, precision, optimizer and schedule."""

    @property
    def shards(self) -> bool:
        """Whether weights, gradients or moments are divided among the processes."""
        return self.fsdp is not None or self.deepspeed is not None

    @property
    def zero_stage(self) -> int:
        """Stage of ZeRO, 0 to 3."""
        return int(((self.deepspeed or {}).get("zero_optimization") or {}).get("stage", 0))

    @property
    def shards_weights(self) -> bool:
        """Whether weights themselves are divided: FSDP2 and ZeRO-3."""
        return self.fsdp is not None or self.zero_stage == 3

    @property
    def shared_bytes(self) -> int:
        """Bytes that are divided, out of the 16 of a trained parameter (weight, gradient, two moments in float32)."""
        return 16 if self.fsdp is not None else {0: 0, 1: 8, 2: 12, 3: 16}[self.zero_stage]

    @model_validator(mode="after")
    def _one_of_them(self) -> Distributed:
        if self.fsdp is not None and self.deepspeed is not None:
            raise ValueError("fsdp and deepspeed exclude each other")
        return self

    @field_validator("fsdp")
    @classmethod
    def _second_version(cls, said: JsonObject | None) -> JsonObject | None:
        version: JsonValue = 2 if said is None else said.get("version", said.get("fsdp_version", 2))
        if int(version) != 2:
            raise ValueError(f"version {version}: expected 2, FSDP2; transformers has given up the first")
        return said

    @field_validator("deepspeed")
    @classmethod
    def _nothing_twice(cls, said: JsonObject | None) -> JsonObject | None:
        for key, stage_key in DECIDED_BY_STAGES.items():
            value = (said or {}).get(key, "auto")
            if key in ("bf16", "fp16") and isinstance(value, dict):
                value = value.get("enabled", "auto")
            if value != "auto" and (key, value) != ("fp16", False):
                raise ValueError(f"{key} is {value!r}, but {stage_key} of a stage decides it: leave it out")
        return said


class Recipe(StrictModel):
    """A run: `medmvl train` turns it into a model."""

    schema_version: Literal[1] = 1
    """Version of this format."""
    description: str = ""
    """One line for `medmvl recipe list`."""
    seed: NonNegativeInt = 0
    """Seed for fresh weights, order and dropout."""
    model: ModelRecipe
    """The parts, or a saved model to start from."""
    data: DataRecipe = DataRecipe()
    """Data of all stages that name none of their own; not needed where each stage does."""
    stages: tuple[Stage, ...] = Field(min_length=1)
    """Stages in order; each goes on from the model of the one before."""
    distributed: Distributed = Distributed()
    """Sharding over GPUs."""
    report_to: tuple[TrackerName, ...] = ("tensorboard",)
    """Trackers that show the numbers besides `history.jsonl`, all on this machine: `wandb` is offline unless
    `WANDB_MODE` says otherwise."""

    @model_validator(mode="after")
    def _stages_are_distinct_and_fed(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages have the same name: {', '.join(names)}")
        for stage in self.stages:
            small = [part for part, tuning in stage.parts.items() if tuning.mode == "qlora"]
            if small and self.distributed.shards:
                raise ValueError(
                    f"stage '{stage.name}': {small[0]} is qlora; its 4 bits are not sharded: leave out distributed, or use lora"
                )
            if stage.objective == "grpo" and self.distributed.shards:
                raise ValueError(
                    f"stage '{stage.name}': grpo decodes with the model that trains, which needs whole weights in each "
                    "process; leave out distributed"
                )
            data = self.data_of(stage)
            if not data.train:
                raise ValueError(f"stage '{stage.name}' has no training data; set data.train")
            if stage.eval_steps and not data.validation:
                raise ValueError(
                    f"stage '{stage.name}': eval_steps needs data.validation, which its validations read; there is none"
                )
        self._all_data_is_used()
        return self

    def _all_data_is_used(self) -> None:
        if self.data.train and all(stage.data and stage.data.train for stage in self.stages):
            names = ", ".join(f"'{stage.name}'" for stage in self.stages)
            raise ValueError(
                f"data.train would train nothing: all stages ({names}) name data of their own; set stages.NAME.data.train, "
                "set stages.NAME.data to null where a stage should train on data.train, or set data.train to []"
            )

    def data_of(self, stage: Stage) -> DataRecipe:
        """The data of a stage: what it says itself, and the rest of the recipe's."""
        own = {name: value for name, value in stage.data or () if value is not None}
        return self.data.model_copy(update=own)
