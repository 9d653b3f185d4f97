"""Models from the Hugging Face Hub, in `transformers` format."""

from pathlib import Path

from memorysam.errors import WeightsError

OLDER = "pytorch_model.bin"
"""What `transformers` wrote before .safetensors; some repositories, such as nvidia/mit-b2, have nothing else."""


def fetch(name: str) -> Path:
    """Download a model, or find it in the local cache; return its folder.

    Raises:
        WeightsError: there is none of that name, or no way to it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        folder = Path(
            snapshot_download(name, allow_patterns=["config.json", "*.safetensors", "*.safetensors.index.json"])
        )
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=["config.json", OLDER]))
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise WeightsError(
            f"there is no file or folder {name!r}, and it cannot be fetched from the Hub",
            where=name,
            fix=str(error).splitlines()[0],
        ) from None
    return folder
