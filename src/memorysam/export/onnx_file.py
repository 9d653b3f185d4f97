"""A graph as an ONNX file that can be used alone: what comes after the network travels with it.

Inputs are the normalised images `[B, K, H, W]` by the modalities' names and `size`, the height and width of the answer.
Outputs are `logits` `[B, C, H/4, W/4]`, `probabilities` `[B, C, *size]` and `labels` `[B, *size]`. How stored values
become normalised ones is in the metadata, as JSON.
"""

from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from memorysam.errors import MemorySAMError, SettingsError
from memorysam.export.about import KEY, About
from memorysam.export.graph import quietly

OPSET = 20
LARGEST = 2**31 - 1
"""Bytes that the format allows in one file."""


def require() -> None:
    """Raise if what writes ONNX files is not installed.

    Raises:
        MemorySAMError: it is not.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MemorySAMError(
            f"exporting to ONNX needs {error.name}, which is not installed", fix="pip install 'memorysam[export]'"
        ) from None


def convert(program: ExportedProgram, about: About) -> Any:
    """Return a program as an `onnx.ModelProto`, with the answer's steps after it.

    Args:
        program: of `graph.graph_of`.
        about: names its inputs.

    Raises:
        SettingsError: a step of the model that ONNX does not have, or a model above 2 GB.
    """
    import onnx

    try:
        with quietly():
            made = torch.onnx.export(
                program,
                input_names=list(about.modalities),
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
                optimize=False,
            )
            if made is None:
                raise AssertionError("with dynamo the exporter gives a program")
            _tidy(made.model)
        model = made.model_proto
    except Exception as error:  # noqa: BLE001  of many kinds, none of which says this
        raise SettingsError(
            f"this model cannot be said in ONNX: {_first_line(error)}",
            where=str(about.model.get("name")),
            fix="use the checkpoint itself",
        ) from None
    _forget_sources(model)
    _add_answer(model, about.align_corners)
    model.producer_name = KEY
    if model.ByteSize() > LARGEST:
        raise SettingsError("this model takes more than 2 GB, which one ONNX file cannot hold")
    onnx.checker.check_model(model)
    return model


def write(model: Any, path: Path, about: About) -> None:
    """Write an `onnx.ModelProto` with what it says of itself."""
    import onnx

    onnx.helper.set_model_props(model, {KEY: about.as_text()})
    path.write_bytes(model.SerializeToString())


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _tidy(model: Any) -> None:
    """Compute what is constant, and remove what is not used or there twice.

    The exporter's own optimisation also looks for patterns that onnxruntime fuses by itself: twenty times the time, for
    a graph that is not faster.
    """
    from onnx_ir.passes import common
    from onnxscript.optimizer import fold_constants_ir

    passes: Any = common  # partly without types
    passes.InlinePass()(model)
    for _ in range(2):  # what was removed leaves more that is constant
        fold_constants_ir(model)
        passes.RemoveUnusedNodesPass()(model)
    for step in (
        passes.RemoveUnusedFunctionsPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        step(model)


def _forget_sources(model: Any) -> None:
    """Remove where each node stood in which source file: paths of the machine that exports are nobody's business."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""


def _add_answer(model: Any, align: bool) -> None:
    """Add what follows the network: the one upsampling, softmax, arg-max."""
    from onnx import TensorProto, helper

    graph = model.graph
    dims = graph.output[0].type.tensor_type.shape.dim
    classes, batch = dims[1].dim_value, dims[0].dim_param or "batch"
    graph.input.append(helper.make_tensor_value_info("size", TensorProto.INT64, [2]))
    graph.initializer.append(helper.make_tensor("answer_classes", TensorProto.INT64, [1], [classes]))
    mode = "align_corners" if align else "half_pixel"
    graph.node.extend(
        [
            helper.make_node("Shape", ["logits"], ["answer_batch"], start=0, end=1),
            helper.make_node("Concat", ["answer_batch", "answer_classes", "size"], ["answer_shape"], axis=0),
            helper.make_node(
                "Resize", ["logits", "", "", "answer_shape"], ["answer_logits"], mode="linear",
                coordinate_transformation_mode=mode,
            ),
            helper.make_node("Softmax", ["answer_logits"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["answer_logits"], ["answer_labels"], axis=1, keepdims=0),
            helper.make_node("Cast", ["answer_labels"], ["labels"], to=TensorProto.UINT8),
        ]
    )  # fmt: skip
    shape: list[Any] = [batch, classes, "height", "width"]
    graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape))
    graph.output.append(helper.make_tensor_value_info("labels", TensorProto.UINT8, [batch, "height", "width"]))
