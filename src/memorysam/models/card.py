"""The model card: what somebody who finds a model on the Hub must know, filled from the model and its run."""

import json
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from memorysam.models.base import SegmentationModel
from memorysam.models.card_tables import Facts, cell, inputs, number, parameters, scores, sides, training
from memorysam.models.known_bases import KnownBase, known_base
from memorysam.spec import Modality


@dataclass
class _Page:
    """Markdown, piece by piece."""

    pieces: list[str] = field(default_factory=list)

    def add(self, *pieces: str) -> None:
        self.pieces += pieces

    def __str__(self) -> str:
        return "\n\n".join(self.pieces) + "\n"


def card(model: SegmentationModel, facts: Facts) -> str:
    """Return the text of README.md: YAML for the Hub, then what people read."""
    known = known_base(facts.base) if facts.base else None
    name = facts.name.split("/")[-1] if facts.name else _title(model, facts)
    page = _Page()
    page.add(f"---\n{_metadata(model, facts, known, name)}\n---", f"# {cell(name)}", _summary(model, facts))
    page.add("## Use", _use(model, facts))
    page.add("## Input", inputs(model), f"Network size (height x width): {sides(model.task.image_size)}.")
    page.add("## Classes and scores", *scores(model, facts))
    page.add("## Not measured", _limits(model, facts))
    page.add("## Training", *training(facts))
    page.add("## Parameters", parameters(model))
    page.add("## Licence", _licence(facts, known))
    return str(page)


def _title(model: SegmentationModel, facts: Facts) -> str:
    return f"{model.settings()['name']} {facts.dataset}".removesuffix(" unknown")


def _metadata(model: SegmentationModel, facts: Facts, known: KnownBase | None, name: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    about: dict[str, Any] = {"license": facts.license or (known.license if known else "unknown")}
    if known and not facts.license and known.license_name:
        about |= {"license_name": known.license_name, "license_link": known.license_link}
    on_hub = known.hub if known else facts.base if facts.base and _is_hub_id(facts.base) else None
    if on_hub:
        about["base_model"] = on_hub.partition("@")[0]
    scores = facts.scores
    if scores and scores.get("miou") is not None:
        about["eval_results"] = [
            EvalResult(
                task_type="image-segmentation",
                task_name="semantic segmentation",
                dataset_type=re.sub(r"[^a-z0-9]+", "-", facts.dataset.lower()).strip("-") or "unknown",
                dataset_name=facts.dataset,
                dataset_split=str(scores.get("split") or "unknown"),
                metric_type="mean_iou",
                metric_name=f"mIoU in %, protocol {scores['protocol']}",
                metric_value=round(float(scores["miou"]), 2),
            )
        ]
    data = ModelCardData(
        library_name="memorysam",
        pipeline_tag="image-segmentation",
        tags=["memorysam", "semantic-segmentation", "multi-modal", "sensor-fusion", str(model.settings()["name"])],
        metrics=["mean_iou"],
        model_name=name,
        **about,
    )
    return data.to_yaml()


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1


def _summary(model: SegmentationModel, facts: Facts) -> str:
    settings = model.settings()
    task = model.task
    sensors = ", ".join(task.sensors) + (f" (guided by {', '.join(task.regions)})" if task.regions else "")
    start = facts.base or ("random weights" if facts.from_scratch else "unknown weights")
    text = (
        f"Semantic segmentation into {len(task.classes)} classes from {number(len(task.sensors), 'sensor')}: "
        f"{sensors}. System {settings['name']}, backbone {settings['backbone']}, trained on {facts.dataset}, starting "
        f"from {start}. "
        "Any subset of the sensors is a valid input."
    )
    if facts.light:
        text += (
            f"\n\nThis is the light form: it holds what differs from {facts.base}, which is needed to load it. "
            "A checksum makes sure that it is the right one."
        )
    return text


def _use(model: SegmentationModel, facts: Facts) -> str:
    where = facts.name or "."
    files = ", ".join(f'"{m.name}": "{m.name}{_ending(m)}"' for m in model.task.modalities)
    base = f", base={json.dumps(facts.base)}" if facts.light and facts.base and not _is_hub_id(facts.base) else ""
    hint = f"`{facts.base}` is a file or folder that you need to have. " if base else ""
    here = "" if facts.name else "`.` is the folder of this page: run it there, or name the folder or the Hub id. "
    return (
        f"With `memorysam` installed (this was written by version {version('memorysam')}):\n\n"
        f"```python\nimport memorysam\n\nmodel = memorysam.load({json.dumps(where)}{base})\n"
        f"result = model.predict({{{files}}})  # files, or arrays [height, width, channels]\n"
        "print(result.shares())  # of the image, by class; result.labels [height, width] has the class ids\n```\n\n"
        f"{here}{hint}Images of one scene must be registered and of one size."
    )


def _ending(modality: Modality) -> str:
    return ".png" if modality.channels in (1, 3) else ".npy"


def _limits(model: SegmentationModel, facts: Facts) -> str:
    train = facts.settings.get("train", {})
    lines = []
    if facts.scores:
        lines.append(f"other data than {facts.dataset}, split `{facts.scores.get('split') or 'unknown'}`")
        if len(model.task.sensors) > 1:
            seen = train.get("modality_dropout")
            trained = "unknown whether it was trained for that" if seen is None else (
                f"trained with random subsets in {seen:.0%} of the passes" if seen else "it was not trained for that"
            )  # fmt: skip
            lines.append(f"fewer sensors than all ({trained})")
        if not facts.scores.get("by"):
            lines.append("single conditions, such as night or fog")
    else:
        lines.append("everything: how well it does is not recorded here")
    lines += ["damaged or badly registered sensors", "whether its probabilities are calibrated", "speed"]
    return "\n".join(f"- {cell(line)}" for line in lines)


def _licence(facts: Facts, known: KnownBase | None) -> str:
    own = f"This model: {facts.license}." if facts.license else "This model: nothing was said by who shares it."
    if facts.from_scratch:
        return f"{own} It was trained from random weights. That of the data set is not recorded here."
    name = facts.base or "not recorded"
    if known is None:
        base = f"The weights that training started from ({name}): unknown."
    else:
        link = f" ({known.license_link})" if known.license_link else ""
        base = f"The weights that training started from, {name}, which by their name are {known.title}: "
        base += f"{known.licence}{link}."
    return f"{own} {base} That of the data set is not recorded here."
