"""A model together with what turns files, or arrays, into its input."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from memorysam.config import EvaluateSettings
from memorysam.evaluation.inference import probabilities
from memorysam.models.base import Segmentation, SegmentationModel
from memorysam.models.tune import for_inference
from memorysam.prediction import Input, prepared, read_scene, size_of
from memorysam.prediction import Prediction as Prediction
from memorysam.prediction import match as match
from memorysam.prediction import predict_files as predict_files


class Predictor(nn.Module):
    """A model together with what turns files and arrays into its input.

    It is called like the model: `{modality: [B, K, H, W]}` in, `Segmentation` out. Whatever it does not have itself,
    it has from the model.

    Args:
        model: any segmentation model.
    """

    def __init__(self, model: SegmentationModel) -> None:
        super().__init__()
        self.model = model

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def forward(self, images: Mapping[str, Tensor]) -> Segmentation:
        """Segment normalised tensors; see the model."""
        output: Segmentation = self.model(images)
        return output

    def predict(self, images: Mapping[str, Input], settings: EvaluateSettings | None = None) -> Prediction:
        """Segment one scene.

        Args:
            images: any non-empty subset of the model's sensors, and the map of regions of a model that has one: paths,
                or arrays `[H, W]` or `[H, W, K]` of the values that a file would hold (colour in RGB order). All of
                one size.
            settings: whole image or windows, scales, flips.

        Raises:
            InputError, DataError: an unknown modality, a file that cannot be read, or images of different sizes.
        """
        settings = settings or EvaluateSettings()
        raw = read_scene(images, self.task)
        device = next(self.model.parameters()).device
        tensors = {
            name: torch.from_numpy(image).to(device) for name, image in prepared(raw, self.task, settings).items()
        }
        was_training = self.model.training
        self.model.eval()
        try:
            found = probabilities(self.model, tensors, size_of(raw), settings)[0]
        finally:
            self.model.train(was_training)
        labels = found.argmax(dim=0).to(torch.uint8).cpu().numpy()
        return Prediction.of(labels, found.cpu().numpy(), raw, self.task)

    def for_inference(self, precision: Literal["fp32", "bf16"] = "fp32") -> None:
        """Prepare the model, in place, for predictions and nothing else; see `models.tune`."""
        for_inference(self.model, precision)
