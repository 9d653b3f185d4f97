"""One typed tree of settings; `strict.py` reads it from YAML.

Every field's docstring is its help text on the command line.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from memorysam.spec import STRIDE, Size

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
SystemName = Literal["memorysam", "mle-sam", "sam-lora", "cwsam", "cmnext", "cmx", "magic", "mcubesnet", "mean-fusion"]


class Settings(BaseModel):
    """Base of all groups of settings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class TrainedParts(Settings):
    """Which parts of the model train, where a method has them.

    The defaults are each method's own: everything but, for those that build on SAM, the image encoder's own weights.
    """

    encoder: bool | None = None
    """The image encoder's own weights; by default where training starts from random weights, and in methods that do
    not build on SAM."""
    lora: bool = True
    """The low-rank matrices in the image encoder."""
    adapters: bool = True
    """CWSAM's adapters and prompt generator."""
    memory: bool = True
    """Memory attention and memory encoder (the released training script freezes them)."""
    fusion: bool = True
    """What joins the modalities between encoder and decoder."""
    decoder: bool = True
    """The decoder; of SAM2's mask decoder not the IoU and object-score heads, which no loss reaches."""


class ModelSettings(Settings):
    """The network."""

    name: SystemName = "memorysam"
    """Which method."""
    backbone: str = "default"
    """Size of the encoder. memorysam, mle-sam: sam2-{tiny,small,base-plus,large} or sam2.1-...; sam-lora, cwsam: sam-b;
    cmnext, cmx, magic, mean-fusion: mit-{b0 to b5}; mcubesnet: resnet-101; all: micro. Default: as published."""
    weights: str | None = None
    """Where training starts: weights of the backbone (SAM2, SAM, MiT, ResNet: a .pt or .pth, a Hub directory or id), a
    released checkpoint of the system, or one of ours; 'random' for none, which only the micro backbone does unasked."""
    rehead: bool = False
    """Start from a checkpoint of ours for other classes, with a new decoder head."""
    image_size: Size = (1024, 1024)
    """Height and width of what the network sees, multiples of 32."""
    lora_rank: Count = 4
    """Rank of the low-rank matrices on q and v; 0 for none."""
    experts: Positive = 2
    """MLE-SAM: how many sensors the router keeps at most."""
    memory: bool = True
    """Whether later modalities attend to the memory of earlier ones."""
    latest: Count = 0
    """How many of the latest modalities' memories are attended to; 0 for all, as published. It bounds the cost of a
    further modality."""
    residual: bool = True
    """Memory residual connection: the mean over all modalities' masks; off: the last one's mask."""
    fusion: Literal["mean", "quality"] = "mean"
    """memorysam: all modalities count the same in that mean, as published; quality: a learned head weighs them, pixel
    by pixel, and starts as the mean."""
    object_gate: bool = False
    """SAM2's gate: where the object score is negative, all logits become -1024 and the memory is marked empty."""
    prototypes: Literal["paper", "released", "off"] = "paper"
    """Form of the class prototype loss: the paper's, the released code's, or none."""
    prototype_momentum: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Weight of the newest prototype in the moving average."""
    dropout: Fraction = 0.1
    """Dropout while training, in memory attention, and in SegFormer's head where there is one."""
    drop_path: Fraction = 0.1
    """cmnext, cmx, magic, mean-fusion: share of the samples for which the encoder's last block is left out in training;
    less in earlier ones."""
    selection_weight: Annotated[float, Field(ge=0)] = 1.0
    """magic: weight of the loss of the best and the worst sensor, within train.prototype_weight; 0 for none."""
    consistency_weight: Annotated[float, Field(ge=0)] = 1.0
    """magic: weight of the loss that makes the sensors agree that are neither best nor worst, within
    train.prototype_weight; it takes four sensors or more. 0 for none."""
    scrambled_tokens: bool = False
    """cwsam, cmnext: repeat an accident of the released code, in which tokens hold values of others (cwsam: those that
    prompts are made of; cmnext: those of further sensors, where there are several); its weights need it, and bring it
    with them."""
    filters: Positive = 3
    """mcubesnet: filter responses for each that is kept in a region; 1 keeps all, whatever the regions."""
    train: TrainedParts = TrainedParts()

    @field_validator("image_size")
    @classmethod
    def _legal(cls, size: Size) -> Size:
        if any(side <= 0 or side % STRIDE for side in size):
            near = [max(STRIDE, round(side / STRIDE) * STRIDE) for side in size]
            raise ValueError(f"{list(size)} is not made of multiples of {STRIDE}: the nearest legal size is {near}")
        return size


class DataSettings(Settings):
    """The data."""

    dataset: str = "scenes"
    """A dataset.yaml, or 'scenes' for the built-in procedural world."""
    root: Path | None = None
    """Folder of the data; overrides the one in dataset.yaml."""
    modalities: tuple[str, ...] | None = None
    """Which modalities, in the order in which the model sees them; all of the data set's when left out."""
    train_split: str = "train"
    """Split that is trained on."""
    val_split: str = "val"
    """Split on which the best checkpoint is chosen."""
    ignore_invalid: Literal["never", "train", "always"] = "never"
    """Whether pixels that the data set's mask calls invalid lose their label (MCubeS' near infrared): in training, or
    in scores as well. Published results of the CMNeXt family, MemorySAM's among them, do without."""
    cache: Literal["auto", "off"] | Path = "auto"
    """Decoded arrays that `memorysam cache` has written: a folder; auto: the one in the root, if there is one."""
    workers: Count = 2
    """Processes that read and augment; 0 reads in the training process."""
    patience: Annotated[float, Field(ge=0)] = 600.0
    """Seconds after which a process that reads is taken for hanging, as on a network drive; 0 waits for ever."""
    on_bad: Literal["error", "skip"] = "error"
    """What becomes of a sample that cannot be read: an error, or another takes its place in training, none in scores;
    each is listed once (skipped.jsonl)."""
    skip_share: Fraction = 0.001
    """At most this share of a split may be skipped, rounded up to whole samples."""
    scenes: tuple[Positive, Positive, Positive] = (2000, 100, 200)
    """Number of training, validation and test scenes of the procedural world."""
    scenes_seed: Count = 0
    """Which world: another number, other scenes."""

    @property
    def may_skip(self) -> float | None:
        """The share of a split that may be skipped; None where a sample that cannot be read is an error."""
        return self.skip_share if self.on_bad == "skip" else None


class AugmentSettings(Settings):
    """Training augmentation; defaults are the paper's."""

    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.5, 2.0)
    """Range of the random scale, relative to the network's size."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip."""
    jitter: Fraction = 0.2
    """Probability of colour jitter on photometric modalities."""
    jitter_strength: Fraction = 0.5
    """Brightness, contrast and saturation are each multiplied by 1 +- this."""
    blur: Fraction = 0.2
    """Probability of a 3x3 Gaussian blur on photometric modalities."""

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError(f"the smallest scale {scale[0]} is above the largest {scale[1]}")
        return scale


_ONLY_WITH = {
    "momentum": ("optimizer", "sgd"), "power": ("schedule", "poly"), "lr_min": ("schedule", "cosine"),
    "ohem_probability": ("loss", "ohem"), "ohem_least": ("loss", "ohem"),
}  # fmt: skip
"""Options of training that mean nothing but with one choice of another."""


class TrainSettings(Settings):
    """The optimisation; defaults are the paper's for DELIVER with all four modalities."""

    epochs: Positive = 200
    """Passes over the training split."""
    batch_size: Positive = 4
    """Samples in one step, over all processes and accumulated passes."""
    accumulate: Positive = 1
    """Forward passes that make up one step; divides the batch."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or stochastic gradient descent with momentum."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of sgd; 0 for none."""
    lr: Annotated[float, Field(gt=0)] = 6e-4
    """Learning rate after warm-up."""
    lr_factors: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Factors on the learning rate by part of the model, such as 10 for the decoder; 1 for parts that are not named.
    memorysam info lists the parts of a model."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay, with sgd that of the gradient (an L2 penalty); one-dimensional parameters have none."""
    schedule: Literal["poly", "cosine"] = "poly"
    """The learning rate after warm-up: polynomial decay, which would reach 0 one epoch after the last, or half a cosine
    down to lr_min at the last step."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 10
    """Length of the linear warm-up."""
    warmup_ratio: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the learning rate at which warm-up starts."""
    power: Annotated[float, Field(ge=0)] = 0.9
    """Power of the polynomial decay."""
    lr_min: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate at the end of the cosine."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the whole gradient; none by default, as in the original."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Score, and keep as the best, a moving average of the weights, in which the past has this weight (0.99, say); 0
    for none, as in the original."""
    prototype_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the prototype loss (lambda of Eq. 13)."""
    modality_dropout: Fraction = 0.0
    """Share of the forward passes that see a random subset of the modalities instead of all; every subset is equally
    likely. A model that has never seen a sensor missing is lost without it."""
    modality_order: Literal["fixed", "shuffle"] = "fixed"
    """memorysam: the order of the modalities in each forward pass, the data's or a random one, so that the memory may
    start from any of them. Predictions always take the data's."""
    loss: Literal["ohem", "cross-entropy"] = "ohem"
    """Main loss: cross entropy on the hard pixels (online hard example mining), or on all that are labelled."""
    dice: Fraction = 0.0
    """Share d of a soft Dice loss in the main one: (1 - d) * cross entropy + d * Dice."""
    class_weights: tuple[Annotated[float, Field(ge=0)], ...] = ()
    """Weights of the classes in the cross entropy, one each in the order of their ids; a class of weight 0 does not
    count. The Dice loss takes all classes alike."""
    ohem_probability: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """Pixels whose true class has less than this probability are hard and kept."""
    ohem_least: Annotated[float, Field(gt=0, le=1)] = 1 / 16
    """At least this share of the labelled pixels is kept."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: mixed precision; weights, losses and prototypes stay fp32."""
    device: Literal["auto", "cpu"] = "auto"
    """auto: a GPU where there is one."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    seed: Count = 3407
    """Fixes initial weights, data order, augmentation and dropout."""
    validate_every: Positive = 1
    """Epochs between two looks at the validation split."""
    save_every: Annotated[float, Field(gt=0)] = 10.0
    """Minutes between two saves of the whole state, besides the one after each epoch."""
    timeout: Annotated[float, Field(gt=0)] = 10.0
    """Minutes that the processes of a run wait for each other before they take one of them for lost."""
    log_every: Positive = 10
    """Steps between two lines in the log."""
    tensorboard: bool | None = None
    """TensorBoard logs; by default if tensorboard is installed."""
    wandb: Literal["off", "offline", "online"] = "off"
    """Weights & Biases: offline keeps what it logs in the run folder, for `wandb sync`."""

    @field_validator("momentum", "power", "lr_min", "ohem_probability", "ohem_least")
    @classmethod
    def _has_an_effect(cls, value: float, info: ValidationInfo) -> float:
        name = info.field_name or ""
        owner, choice = _ONLY_WITH[name]
        if value != cls.model_fields[name].default and info.data.get(owner, choice) != choice:
            raise ValueError(f"it has an effect with `{owner}: {choice}` only; leave it out")
        return value

    @field_validator("lr_min")
    @classmethod
    def _below(cls, value: float, info: ValidationInfo) -> float:
        if value > info.data.get("lr", value):
            raise ValueError(f"at most the learning rate, {info.data['lr']}")
        return value

    @field_validator("class_weights")
    @classmethod
    def _some(cls, weights: tuple[float, ...]) -> tuple[float, ...]:
        if weights and not any(weights):
            raise ValueError("at least one class whose weight is above 0")
        return weights


class EvaluateSettings(Settings):
    """How predictions are made and scored."""

    protocol: Literal["paper", "strict"] = "paper"
    """paper: scored at the network's size, an absent class counts as 0. strict: at the label's own size, absent classes
    are left out of the mean."""
    method: Literal["resize", "centre", "native", "windows"] = "resize"
    """resize: the whole image at the network's size. centre: scaled to cover it, and cut to its centre; what lies
    outside does not count. native: at its own size. windows: overlapping windows of the network's size, at the image's
    own."""
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Share of a window that it has in common with its neighbour, at least."""
    flip: bool = False
    """Average with the mirrored image."""
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    """Average over these scales of the image."""
    batch_size: Positive = 1
    """Images at once."""


class RunSettings(Settings):
    """Everything that makes a training run."""

    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    augment: AugmentSettings = AugmentSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()


def packaged(kind: str = "") -> dict[str, Path]:
    """Return the settings files that come with the package by name, such as demo and table1/rgb-d; or the datasets."""
    here = Path(__file__)
    # Installed, they lie in the package; in a checkout, at its top.
    folders = (here.parent / "configs" / kind, here.parents[2] / "configs" / kind)
    found = {}
    for folder in reversed(folders):
        for path in sorted(folder.rglob("*.yaml")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if kind or not name.startswith("datasets/"):
                found[name] = path
    return found
