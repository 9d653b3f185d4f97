"""What is measured, and the calls that are timed: a forward pass and a training step, the baseline's and ours."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

from memorysam.benchmark.baseline import PlainMemorySAM
from memorysam.benchmark.machine import TYPES
from memorysam.benchmark.parts import NoWatch, Watch
from memorysam.config import ModelSettings, TrainSettings
from memorysam.errors import SettingsError
from memorysam.models import tune, weights
from memorysam.models.base import Segmentation
from memorysam.models.factory import backbone_of, create
from memorysam.models.lora import lora_layers
from memorysam.models.memorysam import MemorySAM
from memorysam.spec import IGNORE, Modality, Task, as_classes
from memorysam.strict import build
from memorysam.training.objective import Objective, training_loss
from memorysam.training.optimizer import optimizer_of

MOST_MODALITIES = 16
_SEED = 1
_QUIET = NoWatch()


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    model: ModelSettings
    modalities: int = 2
    classes: int = 25
    batch: int = 1
    repeats: int = 5
    precisions: tuple[str, ...] = ("fp32", "bf16")
    train: bool = True
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        backbone_of(self.model)
        if self.model.name != "memorysam":
            raise SettingsError("there is a baseline for memorysam only", where="name")
        for name, least, most in (
            ("modalities", 1, MOST_MODALITIES),
            ("classes", 2, IGNORE),
            ("batch", 1, None),
            ("repeats", 1, None),
        ):
            value = getattr(self, name)
            if value < least or (most is not None and value > most):
                raise SettingsError(
                    f"{value} {name}" if name in ("modalities", "classes", "repeats") else f"a {name} of {value}",
                    where=f"--{name}",
                    expected=f"at least {least}" + (f", at most {most}" if most else ""),
                )
        if not self.precisions:
            raise SettingsError("this option needs a value", where="--precision", expected="fp32, bf16, or both")

    @property
    def task(self) -> Task:
        """What the model does; every modality has three channels."""
        return Task(
            modalities=tuple(Modality(name=f"modality{i + 1}", channels=3) for i in range(self.modalities)),
            classes=as_classes([f"class{i}" for i in range(self.classes)]),
            image_size=self.model.image_size,
        )

    def seeing(self, modalities: int) -> "Plan":
        """Return the same with another number of modalities."""
        return replace(self, modalities=modalities)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "backbone": backbone_of(self.model),
            "image_size": list(self.model.image_size),
            "modalities": self.modalities,
            "classes": self.classes,
            "batch": self.batch,
            "repeats": self.repeats,
            "precisions": list(self.precisions),
            "weights": self.model.weights or "fresh",
            "options": self.model.model_dump(
                mode="json", exclude_defaults=True, exclude={"name", "backbone", "image_size", "weights"}
            ),
        }


def model_settings(backbone: str, size: int, options: dict[str, Any], weights_from: str | None = None) -> ModelSettings:
    """Return checked settings of a model.

    Args:
        backbone: its name.
        size: height and width of the images.
        options: other settings of the model, as in `model:` of a settings file.
        weights_from: a file, folder or Hub id; None for fresh weights.

    Raises:
        SettingsError: a value that is not allowed.
    """
    values = {**options, "backbone": backbone, "image_size": (size, size), "weights": weights_from}
    settings = build(ModelSettings, values, "the command line", spell=_spelled)
    backbone_of(settings)
    return settings


def _spelled(key: str) -> str:
    if key == "image_size":
        return "--size"
    return f"--{key}" if key in ("backbone", "weights") else f"--set {key}"


def make_model(plan: Plan) -> MemorySAM:
    """Build the model: without weights of its own it gets fresh ones, and deltas of LoRA that make a difference.

    What trains is what does with pretrained weights: not the image encoder's own.

    Raises:
        WeightsError: weights that cannot be read.
        SettingsError: weights of something else.
    """
    torch.manual_seed(_SEED)
    if plan.model.weights is None:
        model = create(plan.model, plan.task, from_scratch=False)
        for layer in lora_layers(model):
            nn.init.normal_(layer.q_up, std=0.02)
            nn.init.normal_(layer.v_up, std=0.02)
    else:
        model, _ = weights.load(plan.model.weights, plan.task, plan.model)
    if not isinstance(model, MemorySAM):
        raise SettingsError("there is a baseline for memorysam only", where="--weights")
    if model.sam2.name != backbone_of(plan.model):
        raise SettingsError(
            f"these are weights of {model.sam2.name}",
            where="--weights",
            expected=f"weights of {backbone_of(plan.model)}",
            fix=f"add --backbone {model.sam2.name}",
        )
    return model.to(plan.device)


def make_images(plan: Plan) -> dict[str, Tensor]:
    """Return noise: `{modality: [B, 3, H, W]}`."""
    draw = torch.Generator().manual_seed(_SEED)
    height, width = plan.model.image_size
    shape = (plan.batch, 3, height, width)
    return {name: torch.randn(shape, generator=draw).to(plan.device) for name in plan.task.names}


def make_labels(plan: Plan) -> Tensor:
    """Return blocks of random classes `[B, H, W]`, some without a label."""
    draw = torch.Generator().manual_seed(_SEED)
    height, width = plan.model.image_size
    blocks = torch.randint(0, plan.classes, (plan.batch, 1, height // 16, width // 16), generator=draw)
    blocks[:, :, 0] = IGNORE
    return F.interpolate(blocks.float(), size=(height, width), mode="nearest")[:, 0].long().to(plan.device)


@dataclass(frozen=True)
class Inference:
    """A forward pass, up to logits at full size."""

    model: nn.Module
    images: dict[str, Tensor]
    precision: str = "fp32"

    def __call__(self, watch: Watch = _QUIET) -> Tensor:
        """Return logits `[B, C, H, W]`."""
        size = next(iter(self.images.values())).shape[-2:]
        with torch.inference_mode(), watch.stages(self.model):
            output: Segmentation = self.model(self.cast())
            with watch.part("upsampling"):
                return output.at(size)

    def cast(self) -> dict[str, Tensor]:
        """Return the images in the precision of the model."""
        return {name: image.to(TYPES[self.precision]) for name, image in self.images.items()}


@dataclass(frozen=True)
class TrainingStep:
    """A step as the training loop takes it: forward, loss, backward, norm of the gradient, optimizer."""

    model: nn.Module
    loss: Callable[[Segmentation, Tensor], Tensor]
    optimizer: optim.Optimizer
    images: dict[str, Tensor]
    labels: Tensor
    precision: str = "fp32"

    def __call__(self, watch: Watch = _QUIET) -> Tensor:
        """Return the loss."""
        device = self.labels.device.type
        with watch.part("optimizer"):
            self.optimizer.zero_grad(set_to_none=True)
        with watch.stages(self.model), torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16"):
            output: Segmentation = self.model(self.images)
        with watch.part("loss"):
            loss = self.loss(output, self.labels)
        with watch.part("backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        with watch.part("optimizer"):
            trained = [p for group in self.optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(trained, float("inf"))
            self.optimizer.step()
        return loss.detach()


def plain_inference(model: MemorySAM, images: dict[str, Tensor]) -> Inference:
    """Return the baseline's forward pass; `model` is left as it is."""
    return Inference(PlainMemorySAM(model).eval(), images)


def our_inference(model: MemorySAM, images: dict[str, Tensor], precision: str) -> Inference:
    """Return our forward pass; `model` is left as it is."""
    return Inference(tune.for_inference(deepcopy(model), precision), images, precision)


def plain_training(model: MemorySAM, plan: Plan, images: dict[str, Tensor], labels: Tensor) -> TrainingStep:
    """Return the baseline's training step; `model` is left as it is."""
    plain = PlainMemorySAM(model, plan.model.dropout).train()
    trained = [p for p in plain.parameters() if p.requires_grad]
    return TrainingStep(plain, plain.loss, optim.AdamW(trained, lr=TrainSettings().lr), images, labels)


def our_training(
    model: MemorySAM, images: dict[str, Tensor], labels: Tensor, precision: str, checkpointing: bool = False
) -> TrainingStep:
    """Return our training step; `model` is left as it is."""
    options = TrainSettings()
    own = tune.for_training(deepcopy(model))
    own.train()
    own.recompute_activations(checkpointing)
    objective = Objective(options, own.task)

    def loss(output: Segmentation, labels: Tensor) -> Tensor:
        return training_loss(own, output, labels, objective)[0]

    return TrainingStep(own, loss, optimizer_of(own, options), images, labels, precision)
