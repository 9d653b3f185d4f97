"""ONNX files, run by onnxruntime; nothing here needs PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np

from memorysam.errors import MemorySAMError, SettingsError, WeightsError
from memorysam.export.about import KEY, About, read
from memorysam.export.answer import Answer, Images
from memorysam.spec import Size

_OUTPUTS = ("logits", "probabilities", "labels")
_NOWHERE = "/nowhere/but/in/the/file/itself"
"""Where onnxruntime is told to look for tensors that lie outside a file: it would take the working folder."""
_ERRORS_ONLY = 3


class OnnxGraph:
    """An exported ONNX file.

    Args:
        path: the file.
        device: auto, cpu or cuda; auto takes a GPU where onnxruntime was built for one.
        threads: that work on one image; 0 for all cores.

    Raises:
        WeightsError: missing, cut off, of others, or with tensors outside the file.
        MemorySAMError: onnxruntime is not installed.
        SettingsError: no such device here.
    """

    def __init__(self, path: Path, device: str = "auto", threads: int = 0) -> None:
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
        providers = _providers(runtime, device)
        try:
            # From bytes: of a path, onnxruntime would read what the file names beside it.
            self._session = runtime.InferenceSession(path.read_bytes(), options, providers=providers)
        except OSError as error:
            raise WeightsError(f"this file cannot be read: {error.strerror}", where=path) from None
        except Exception as error:  # noqa: BLE001  onnxruntime has many kinds of its own
            raise _refused(error, path) from None
        self.about: About = read(self._session.get_modelmeta().custom_metadata_map.get(KEY), path)
        inputs = tuple(one.name for one in self._session.get_inputs())
        outputs = tuple(one.name for one in self._session.get_outputs())
        if inputs != (*self.about.modalities, "size") or outputs != _OUTPUTS:
            raise WeightsError(
                f"this graph takes {list(inputs)} and gives {list(outputs)}",
                where=path,
                expected=f"{[*self.about.modalities, 'size']} and {list(_OUTPUTS)}",
                fix="use another copy",
            )

    def run(self, images: Images, size: Size) -> Answer:
        """Segment a batch; the answer has the height and width `size`."""
        given: dict[str, Any] = {name: np.ascontiguousarray(images[name]) for name in self.about.modalities}
        return Answer(*self._session.run(list(_OUTPUTS), {**given, "size": np.array(size, np.int64)}))


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MemorySAMError(
            "an ONNX file needs onnxruntime, which is not installed", fix="pip install 'memorysam[export]'"
        ) from None
    return onnxruntime


def _providers(runtime: Any, device: str) -> list[str]:
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    has_gpu = cuda in runtime.get_available_providers()
    if device == "cpu" or (device == "auto" and not has_gpu):
        return [cpu]
    if device in ("auto", "cuda") and has_gpu:
        return [cuda, cpu]
    raise SettingsError(
        f"the device {device!r} cannot be used here",
        where="device",
        expected="auto, cpu, or cuda where there is a GPU and an onnxruntime built for it",
        fix="pip install onnxruntime-gpu instead of onnxruntime" if device == "cuda" else None,
    )


def _refused(error: Exception, path: Path) -> WeightsError:
    if "xternal data" in str(error) or _NOWHERE in str(error):
        return WeightsError(
            "this ONNX file wants to read other files",
            where=path,
            expected="all tensors in the file itself, as memorysam export writes them",
            fix="export the checkpoint again",
        )
    return WeightsError(
        "this is not a whole ONNX file",
        where=path,
        expected="a file that memorysam export has written, to its end",
        fix=f"use another copy ({str(error).splitlines()[0][:200] if str(error) else type(error).__name__})",
    )
