"""The training loop, written out."""

import math
import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from memorysam.config import RunSettings
from memorysam.data.catalog import DataSet, open_dataset, resolve
from memorysam.data.dataset import Source, fingerprint
from memorysam.evaluation.evaluate import Evaluation, evaluate
from memorysam.models import weights
from memorysam.models.base import SegmentationModel
from memorysam.models.tune import for_training
from memorysam.spec import Task, select
from memorysam.training.average import WeightAverage
from memorysam.training.checkpoint import BEST, Progress, load_state, save_state
from memorysam.training.data_record import data_record, refuse_other_data
from memorysam.training.feed import Feed
from memorysam.training.finite import Buffers, not_finite, require_finite_weights
from memorysam.training.interrupt import Interrupt, Interrupted
from memorysam.training.objective import Objective, training_loss
from memorysam.training.optimizer import optimizer_of, set_rate
from memorysam.training.progress import ProgressBar, say
from memorysam.training.run import RunFolder
from memorysam.training.sampler import TrainSampler, shown_modalities
from memorysam.training.schedule import schedule
from memorysam.training.start import accelerate, start
from memorysam.training.statistics import share_statistics
from memorysam.training.together import highest, told
from memorysam.training.watch import Watch


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
    with told():
        return _train(settings, out, resume, allow_changes, beside, stop_after)


def _train(
    settings: RunSettings, out: Path, resume: bool, allow_changes: bool, beside: Path | None, stop_after: int | None
) -> Outcome:
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
    with Interrupt(quiet=not main) as interrupt, closing(folder):
        training.begin(resume, allow_changes)
        signal = training.run(interrupt, stop_after)
    return Outcome(out, training.progress, training.finished, signal)


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
        self.buffers = Buffers(self.model)
        self.average = WeightAverage(self.model, options.average)
        self.progress = Progress()
        self.wrapped: nn.Module = accelerator.prepare(self.model)
        # The same weights on every rank, but not the same dropout.
        torch.manual_seed(options.seed + 1 + accelerator.process_index)

    def begin(self, resume: bool = False, allow_changes: bool = False) -> None:
        """Note what the run begins with, or continue where it was saved.

        Raises:
            TrainingError: the data set is not the one that the run was trained on.
            WeightsError: weights that are not finite.
        """
        now = data_record(self.train_source, self.val_source)
        if resume:
            self._restore(None if allow_changes else now)
        require_finite_weights(self.model, self.folder.path if resume else self.settings.model.weights)
        self.folder.describe(now)

    def _restore(self, data: Mapping[str, Any] | None) -> None:
        self.progress, head, average, notes = load_state(self.folder.path, self.model, self.optimizer)
        self.average.restore(average)
        if data is not None:
            refuse_other_data(self.folder.described(), data, head, self.train_source, self.settings.data.dataset)
        if self.accelerator.is_main_process:
            self.folder.rewind_log(self.progress.step, self.progress.validated)
            for note in notes:
                say(note)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.progress.step >= self.total_steps and not self._validation_due()

    def run(self, interrupt: Interrupt, stop_after: int | None = None) -> int | None:
        """Train to the end, or until a signal comes; return the signal."""
        saved = began = time.monotonic()
        quiet = not self.accelerator.is_main_process
        bar = ProgressBar(self.total_steps, self.progress.step, "training", quiet=quiet)
        with bar, self._feed() as feed:  # the worker processes end with this block, however it ends
            while not self.finished:
                # Whether it is time to save is a matter of a rank's clock, and all of them must do the same.
                late = int(time.monotonic() - saved > 60 * self.options.save_every)
                signal, late = highest(self.accelerator.device, interrupt.signal or 0, late)
                stopping = bool(signal) or self.progress.step == stop_after
                if stopping or late:
                    self.save()
                    saved = time.monotonic()
                if stopping:
                    return self._stopped(signal)
                if self._validation_due():
                    self.save()  # a validation that fails must not cost the epoch
                    try:
                        self.validate(interrupt)
                    except Interrupted as stop:
                        return self._stopped(stop.number)
                    self.save()
                    saved = time.monotonic()
                    continue
                facts = self.step(feed)
                self.progress = replace(self.progress, step=self.progress.step + 1)
                facts["waiting"] = feed.waited / max(time.monotonic() - began, 1e-9)
                bar.advance(self.progress.step, loss=f"{facts['loss']:.3f}", waiting=f"{facts['waiting']:.0%}")
                if self.progress.step % self.options.log_every == 0:
                    self._log(facts)
        return interrupt.signal

    def _stopped(self, signal: int) -> int | None:
        quiet = not self.accelerator.is_main_process
        say(f"stopped after step {self.progress.step}; --resume continues from here", quiet)
        return signal or None

    def step(self, feed: Feed) -> dict[str, float]:
        """One optimizer step over all forward passes; return what to log.

        Raises:
            TrainingError: the loss or a gradient is not finite; nothing has been changed by this step.
            MemorySAMError: samples that cannot be read, on this rank or another.
        """
        rate = self.options.lr * self.factor(self.progress.step)
        set_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        passes = feed.read()
        self.buffers.keep()
        sums: dict[str, Tensor] = {}
        for i in range(self.options.accumulate):
            batch = passes[i].to(self.accelerator.device)
            last = i == self.options.accumulate - 1
            # Ranks exchange gradients once per step.
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                task, key = self.model.task, (self.options.seed, self.progress.step, i)
                shuffle = self.options.modality_order == "shuffle"
                names = shown_modalities(task.names, self.options.modality_dropout, key, task.regions, shuffle=shuffle)
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
        error = not_finite(self.progress.step + 1, facts, self._ids(), passes)
        if error is not None:
            self.buffers.restore()
            raise error
        self.optimizer.step()
        share_statistics(self.model)
        self.average.update(self.progress.step + 1)
        return {**facts, "lr": rate}

    def validate(self, interrupt: Interrupt) -> Evaluation:
        """Score the validation split; keep the model if it is the best so far.

        Raises:
            Interrupted: a signal came; nothing has changed.
        """
        with self.average.lent():
            return self._validate(interrupt)

    def _validate(self, interrupt: Interrupt) -> Evaluation:
        data, batch_size = self.settings.data, self.settings.evaluate.batch_size
        watch = Watch(interrupt, self.accelerator.device, len(self.val_source.ids), batch_size)
        with self._precision(), watch:
            result = evaluate(
                self.model,
                self.val_source,
                self.settings.evaluate,
                split=data.val_split,
                workers=data.workers,
                patience=data.patience,
                skip_share=data.may_skip,
                progress=watch,
            )
        if self.accelerator.is_main_process:
            for one in result.facts.get("skipped", ()):
                self._skipped(data.val_split, one["id"], one["what"])
        score = result.scores.miou
        kept = not self.accelerator.is_main_process or (self.folder.path / BEST).exists()
        better = not kept or self.progress.best is None or score > self.progress.best
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
        self.folder.make_again()
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

    def _feed(self) -> Feed:
        self.sampler.start = self.progress.step
        told = partial(self._skipped, self.settings.data.train_split)
        task, device = self.model.task, self.accelerator.device
        return Feed(self.train_source, task.modalities, self.settings, self.sampler, device, told)

    def _skipped(self, split: str, sample: str, what: str) -> None:
        """List a sample that cannot be read; each rank those that it met."""
        if self.folder.skipped(split, sample, what):
            say(f"left out: {sample} of {split}: {what}")

    def _validation_due(self) -> bool:
        """Whether the run stands at the end of an epoch that has yet to be validated, also after resuming there."""
        epoch, rest = divmod(self.progress.step, self.sampler.steps_per_epoch)
        if rest or epoch == 0 or self.progress.validated == self.progress.step:
            return False
        return epoch % self.options.validate_every == 0 or epoch == self.options.epochs

    def _log(self, facts: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            self.folder.log(step=self.progress.step, epoch=self.progress.step / self.sampler.steps_per_epoch, **facts)

    def _ids(self) -> list[str]:
        """Return the samples of the step that is under way, over all ranks."""
        return [self.train_source.ids[index] for _, index in self.sampler.step(self.progress.step)]
