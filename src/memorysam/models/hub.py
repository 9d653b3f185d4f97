"""The Hugging Face Hub: models fetched from it, and put there."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memorysam.errors import WeightsError

OLDER = "pytorch_model.bin"
"""What `transformers` wrote before .safetensors; some repositories, such as nvidia/mit-b2, have nothing else."""
FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar", ".yaml", ".json")
"""Endings of what is meant as a file, not as a name on the Hub."""

_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def is_id(source: str | Path) -> bool:
    """Whether a text has the form of a Hub id, `user/name` or `user/name@revision`, and nothing lies there."""
    words = Path(source).as_posix()
    return bool(_ID.fullmatch(words)) and not words.startswith(".") and not (
        words.lower().endswith(FILES) or Path(source).exists()
    )  # fmt: skip


def is_cached(source: str) -> bool:
    """Whether something of a Hub id was downloaded before."""
    from huggingface_hub import constants

    name = source.partition("@")[0].replace("/", "--")
    return (Path(constants.HF_HUB_CACHE) / f"models--{name}").is_dir()


def fetch(source: str) -> Path:
    """Download a model, or find it in the local cache; return its folder.

    Args:
        source: `user/name`, or `user/name@revision`: a branch, a tag or a commit.

    Raises:
        WeightsError: there is none of that name, or no way to it.
    """
    from huggingface_hub import snapshot_download

    found = _ID.fullmatch(source)
    if found is None:
        raise WeightsError("this is no Hub id", where=source, expected="user/name, or user/name@revision")
    name, revision = found["name"], found["revision"]
    with _explained(f"there is no file or folder {source!r}, and it cannot be fetched from the Hub", source):
        patterns = ["config.json", "*.safetensors", "*.safetensors.index.json"]
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=["config.json", OLDER]))
    return folder


def require_access(name: str, token: str | None = None) -> str:
    """Return the token with which to write to `user/name`: the one given, that of HF_TOKEN, or of the login.

    Raises:
        WeightsError: there is none, or the name is not one of the Hub's.
    """
    from huggingface_hub import get_token

    if not _ID.fullmatch(name) or "@" in name:
        raise WeightsError("this is no name on the Hub", where=name, expected="user/name")
    token = token or get_token()
    if not token:
        raise WeightsError(
            "there is no access token for the Hub",
            where=name,
            expected="one with the right to write, from https://huggingface.co/settings/tokens",
            fix="run `hf auth login`, or set HF_TOKEN",
        )
    return token


def upload(
    folder: Path,
    name: str,
    *,
    message: str,
    private: bool = False,
    token: str | None = None,
    revision: str | None = None,
    exist_ok: bool = False,
) -> str:
    """Put the files of a folder on the Hub, as one commit; return its address.

    Args:
        folder: all of it is uploaded.
        name: `user/name`.
        message: of the commit.
        private: whether a repository that is new can be seen by its owner only.
        token: of access, with the right to write; by default that of HF_TOKEN or of the login.
        revision: branch; made if it is not there.
        exist_ok: whether the repository may be there already; its files of the same names are then replaced.

    Raises:
        WeightsError: no token, no right, no network, a name that is taken or not allowed.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=require_access(name, token))
    with _explained(f"{name!r} cannot be put on the Hub", name):
        api.create_repo(name, private=private or None, exist_ok=exist_ok)  # None: as its owner has it by default
        if private and exist_ok and not api.model_info(name).private:
            raise WeightsError(
                "this model is there already, and everybody can see it",
                where=name,
                fix="make it private on its page first, choose another name, or leave private out",
            )
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message=message, revision=revision))


@contextmanager
def _explained(what: str, where: str) -> Iterator[None]:
    """Say in this package's words what went wrong on the way to the Hub."""
    from huggingface_hub import errors
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of the HTTP library that it uses

    try:
        yield
    except WeightsError:
        raise
    except (HTTPError, errors.HFValidationError, OSError, ValueError) as error:
        raise WeightsError(what, where=where, fix=_reason(error)) from None


def _reason(error: Exception) -> str:
    from huggingface_hub import errors
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    if isinstance(error, errors.GatedRepoError):
        return "its owner gives access on request: ask for it on its page, then run `hf auth login`"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such model there, or it is private: check the name, or run `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return "it has no such revision: name a branch, a tag or a commit that is there"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return "the access token is not valid for this, or has no right to write there: make another one"
    if status == 409:
        return "there is a model of that name already: exist_ok=True (--update) adds a commit to it"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return "it was not downloaded before, and the Hub cannot be reached: check the network, or unset HF_HUB_OFFLINE"
    if status is None and isinstance(error, HTTPError):
        return f"the Hub cannot be reached: check the network ({_first_line(error)})"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
