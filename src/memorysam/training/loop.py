"""The training loop, written out."""

import math
import time
from collections.abc import Generator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from memorysam.config import RunSettings
from memorysam.data.catalog import DataSet, open_dataset, resolve
from memorysam.data.dataset import Batch, SegmentationDataset, Source, collate, fingerprint
from memorysam.data.loading import Loader
from memorysam.data.transforms import TrainTransform
from memorysam.errors import TrainingError, listing
from memorysam.evaluation.evaluate import Evaluation, evaluate
from memorysam.models import weights
from memorysam.models.base import SegmentationModel
from memorysam.models.tune import for_training
from memorysam.spec import Task, select
from memorysam.training.average import WeightAverage
from memorysam.training.checkpoint import BEST, Progress, load_state, save_state
from memorysam.training.interrupt import Interrupt
from memorysam.training.objective import Objective, training_loss
from memorysam.training.optimizer import optimizer_of, set_rate
from memorysam.training.progress import ProgressBar, say
from memorysam.training.run import RunFolder
from memorysam.training.sampler import TrainSampler, shown_modalities
from memorysam.training.schedule import schedule
from memorysam.training.start import accelerate, start
from memorysam.training.statistics import share_statistics


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    progress: Progress
    finished: bool
    signal: int | None = None
    """The signal that ended it early."""


def train(
    settings: RunSettings,
    out: Path,
    *,
    resume: bool = False,
    allow_changes: bool = False,
    beside: Path | None = None,
    stop_after: int | None = None,
) -> Outcome:
    """Train a model and leave everything about it in a run folder.

    Args:
        settings: of the run.
        out: the run folder.
        resume: continue the run in it, bit for bit.
        allow_changes: continue although settings or data have changed.
        beside: folder of the settings file, against which paths in it are resolved.
        stop_after: stop after this step as if interrupted (for tests and short looks).

    Raises:
        MemorySAMError: anything a user can mend: settings, data, a full disk, a loss that is not finite.
    """
    accelerator = accelerate(settings.train)
    settings = settings.model_copy(update={"data": resolve(settings.data, beside)})
    dataset = open_dataset(settings.data, settings.model.image_size)
    task = Task(
        modalities=select(dataset.modalities, settings.data.modalities or dataset.usual),
        classes=dataset.classes,
        image_size=settings.model.image_size,
    )
    main = accelerator.is_main_process
    folder = RunFolder(out, settings, resume=resume, allow_changes=allow_changes, main=main)
    torch.manual_seed(settings.train.seed)
    model = start(settings, task, quiet=not main)
    training = Training(settings, folder, model, dataset, accelerator)
    if resume:
        training.restore(allow_changes)
    with Interrupt() as interrupt, closing(folder):
        signal = training.run(interrupt, stop_after)
    finished = training.progress.step >= training.total_steps
    return Outcome(out, training.progress, finished, signal)


class Training:
    """One run: what it is made of, and where it is.

    Args:
        settings: of the run.
        folder: where everything goes.
        model: on the CPU.
        dataset: with the splits that settings name.
        accelerator: for devices, precision and processes.
    """

    def __init__(
        self,
        settings: RunSettings,
        folder: RunFolder,
        model: SegmentationModel,
        dataset: DataSet,
        accelerator: Accelerator,
    ) -> None:
        options = settings.train
        self.settings, self.options, self.folder, self.accelerator = settings, options, folder, accelerator
        self.model = for_training(model.to(accelerator.device))
        self.model.train()
        self.model.recompute_activations(options.checkpointing)
        names = model.task.names
        data = settings.data
        ignored = data.ignore_invalid
        self.train_source: Source = dataset.source(data.train_split, names, ignore_invalid=ignored != "never")
        self.val_source: Source = dataset.source(data.val_split, names, ignore_invalid=ignored == "always")
        self.sampler = TrainSampler(
            len(self.train_source.ids),
            options.batch_size,
            rank=accelerator.process_index,
            ranks=accelerator.num_processes,
            passes=options.accumulate,
            seed=options.seed,
        )
        self.total_steps = options.epochs * self.sampler.steps_per_epoch
        self.objective = Objective(options, model.task)
        self.optimizer = optimizer_of(model, options)
        self.factor = schedule(options, self.sampler.steps_per_epoch)
        self.average = WeightAverage(self.model, options.average)
        self.progress = Progress()
        self.wrapped: nn.Module = accelerator.prepare(self.model)
        # The same weights on every rank, but not the same dropout.
        torch.manual_seed(options.seed + 1 + accelerator.process_index)

    def restore(self, allow_changes: bool) -> None:
        """Continue where the run was saved.

        Raises:
            TrainingError: the data set is not the one that the run was trained on.
        """
        self.progress, head, average, notes = load_state(self.folder.path, self.model, self.optimizer)
        self.average.restore(average)
        now = fingerprint(self.train_source)
        if head["data"] != now and not allow_changes:
            raise TrainingError(
                "the training data has changed since this run was saved",
                where=self.settings.data.dataset,
                expected=f"{head['samples']} samples, {head['data']}; now {len(self.train_source.ids)}, {now}",
                fix="restore the data, or pass --allow-changes to go on with what is there",
            )
        if self.accelerator.is_main_process:
            self.folder.rewind_log(self.progress.step)
            for note in notes:
                say(note)

    def run(self, interrupt: Interrupt, stop_after: int | None = None) -> int | None:
        """Train to the end, or until a signal comes; return the signal."""
        loader = self._loader()
        batches = iter(loader)
        saved = began = time.monotonic()
        quiet = not self.accelerator.is_main_process
        bar = ProgressBar(self.total_steps, self.progress.step, "training", quiet=quiet)
        with bar, closing(batches):  # the worker processes end with this block, however it ends
            while True:
                if self._validation_due():
                    self.save()  # a validation that fails must not cost the epoch
                    self.validate()
                    self.save()
                    saved = time.monotonic()
                if self.progress.step >= self.total_steps:
                    return None
                facts = self.step(batches)
                self.progress = replace(self.progress, step=self.progress.step + 1)
                facts["waiting"] = loader.waited / max(time.monotonic() - began, 1e-9)
                bar.advance(self.progress.step, loss=f"{facts['loss']:.3f}", waiting=f"{facts['waiting']:.0%}")
                if self.progress.step % self.options.log_every == 0:
                    self._log(facts)
                signal = interrupt.anywhere(self.accelerator.device)
                stopping = signal is not None or self.progress.step == stop_after
                if stopping or self._agreed(time.monotonic() - saved > 60 * self.options.save_every):
                    self.save()
                    saved = time.monotonic()
                if stopping:
                    say(f"stopped after step {self.progress.step}; --resume continues from here", quiet)
                    return signal

    def step(self, batches: Generator[Batch, None, None]) -> dict[str, float]:
        """One optimizer step over all forward passes; return what to log.

        Raises:
            TrainingError: the loss or a gradient is not finite; nothing has been changed by this step.
        """
        rate = self.options.lr * self.factor(self.progress.step)
        set_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for i in range(self.options.accumulate):
            batch = next(batches).to(self.accelerator.device)
            last = i == self.options.accumulate - 1
            # Ranks exchange gradients once per step.
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                task, key = self.model.task, (self.options.seed, self.progress.step, i)
                names = shown_modalities(task.names, self.options.modality_dropout, key, task.regions)
                with self._precision():
                    output = self.wrapped({name: batch.images[name] for name in names})
                loss, terms = training_loss(self.model, output, batch.label, self.objective)
                if len(names) < len(batch.images):
                    # Distributed training waits for every gradient, also those of what was not used.
                    loss = loss + 0.0 * sum(p.sum() for p in self._trained())
                self.accelerator.backward(loss / self.options.accumulate)
            for name, term in {"loss": loss.detach(), **terms}.items():
                sums[name] = sums.get(name, torch.zeros_like(term)) + term / self.options.accumulate
        norm = nn.utils.clip_grad_norm_(self._trained(), self.options.clip or math.inf)
        values = self.accelerator.reduce(torch.stack([*sums.values(), norm]), "mean").tolist()  # the one wait
        facts = dict(zip([*sums, "gradient"], values, strict=True))
        if not all(math.isfinite(value) for value in values):
            raise self._not_finite(facts)
        self.optimizer.step()
        share_statistics(self.model)
        self.average.update(self.progress.step + 1)
        return {**facts, "lr": rate}

    def validate(self) -> Evaluation:
        """Score the validation split; keep the model if it is the best so far."""
        with self.average.lent():
            return self._validate()

    def _validate(self) -> Evaluation:
        with self._precision():
            result = evaluate(
                self.model,
                self.val_source,
                self.settings.evaluate,
                split=self.settings.data.val_split,
                workers=self.settings.data.workers,
            )
        score = result.scores.miou
        better = self.progress.best is None or score > self.progress.best
        self.progress = replace(self.progress, validated=self.progress.step)
        if better:
            self.progress = replace(self.progress, best=score, best_step=self.progress.step)
        if self.accelerator.is_main_process:
            if better:
                weights.save(self.folder.path / BEST, self.model, **self._about(), scores=result.as_dict())
            epoch = self.progress.step // self.sampler.steps_per_epoch
            self.folder.log(step=self.progress.step, validation=result.as_dict())
            say(f"epoch {epoch}: mIoU {score:.2f} on {result.facts['split']}{' (best)' if better else ''}")
        return result

    def save(self) -> None:
        """Write the whole state."""
        save_state(self.folder.path, self.model, self.optimizer, self.progress, self.average.tensors, **self._about())

    def _trained(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def _precision(self) -> torch.autocast:
        """Mixed precision for the network; losses, prototypes and weights stay in float32."""
        enabled = self.options.precision == "bf16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=enabled)

    def _about(self) -> dict[str, Any]:
        return {
            "settings": self.settings.model_dump(mode="json"),
            "data": fingerprint(self.train_source),
            "samples": len(self.train_source.ids),
            "step": self.progress.step,
        }

    def _loader(self) -> Loader[Batch]:
        self.sampler.start = self.progress.step
        transform = TrainTransform(self.model.task.image_size, self.settings.augment, self.model.task.modalities)
        dataset = SegmentationDataset(self.train_source, self.model.task.modalities, transform, self.options.seed)
        pin = self.accelerator.device.type == "cuda"
        return Loader(dataset, self.sampler, collate, self.settings.data.workers, pin)

    def _validation_due(self) -> bool:
        """Whether the run stands at the end of an epoch that has yet to be validated, also after resuming there."""
        epoch, rest = divmod(self.progress.step, self.sampler.steps_per_epoch)
        if rest or epoch == 0 or self.progress.validated == self.progress.step:
            return False
        return epoch % self.options.validate_every == 0 or epoch == self.options.epochs

    def _agreed(self, wish: bool) -> bool:
        """Whether to save is a matter of this rank's clock; all ranks must do the same, so the first decides."""
        if self.accelerator.num_processes == 1:
            return wish
        vote = torch.tensor([int(wish)], device=self.accelerator.device)
        torch.distributed.broadcast(vote, 0)
        return bool(vote.item())

    def _log(self, facts: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            self.folder.log(step=self.progress.step, epoch=self.progress.step / self.sampler.steps_per_epoch, **facts)

    def _not_finite(self, facts: dict[str, float]) -> TrainingError:
        ids = [self.train_source.ids[index] for _, index in self.sampler.step(self.progress.step)]
        values = ", ".join(f"{name} {value:.4g}" for name, value in facts.items())
        return TrainingError(
            f"step {self.progress.step + 1} is not finite: {values}",
            where=f"samples {listing(ids, 16)}",
            expected="finite losses and gradients; the step was not taken",
            fix="look at these samples with check-data, lower train.lr, set train.clip, or use precision fp32",
        )
