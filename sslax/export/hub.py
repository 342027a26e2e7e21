"""Files of the Hugging Face Hub, by name: hf:OWNER/NAME[@REVISION][/FILE], through its own client, huggingface_hub.

Without FILE it is model.safetensors, else pytorch_model.bin. The client keeps files in its cache ($HF_HOME) and downloads each
once. With HF_HUB_OFFLINE=1 it uses the cache alone. HF_ENDPOINT names another server, HF_TOKEN gives access to gated files.
"""

import os
import pathlib
import re
from typing import Any

from sslax.errors import InputError

PREFIX = "hf:"
_NAME = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/@]+))?(/(?P<file>.+))?")
_FILES = ("model.safetensors", "pytorch_model.bin")


def on_hub(name: str) -> bool:
    """Whether a name is that of a file of the hub."""
    return name.startswith(PREFIX)


def download(name: str) -> pathlib.Path:
    """The path of a file of the hub in the client's cache, where it is downloaded first if it is not there.

    Args:
      name: hf:OWNER/NAME[@REVISION][/FILE]; a REVISION is a branch, a tag or a commit.

    Raises:
      InputError: if the name has another form, huggingface_hub is not installed, the hub cannot be reached, or it has no such
        file.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(f"weights are {name}; a file of the hub must be hf:OWNER/NAME[@REVISION][/FILE].")
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise InputError(
            f'weights are {name}, which needs huggingface_hub; run pip install "huggingface_hub>=1.0".'
        ) from error
    wanted = [match["file"]] if match["file"] else list(_FILES)
    cached = False
    for place, file in enumerate(wanted):
        where: dict[str, Any] = {"revision": match["revision"], "local_files_only": cached}
        where["endpoint"] = os.environ.get("HF_ENDPOINT")
        try:
            return pathlib.Path(hub.hf_hub_download(match["repo"], file, **where))
        except Exception as error:
            # The client has waited and tried again; the next file could only be in its cache.
            cached = isinstance(error, hub.errors.LocalEntryNotFoundError)
            absent = isinstance(error, hub.errors.EntryNotFoundError)
            if not absent or place + 1 == len(wanted):
                raise _said(hub.errors, error, name, wanted) from error
    raise AssertionError("the loop returns or raises")


def _said(errors: Any, error: Exception, name: str, files: list[str]) -> InputError:
    """The sentence for an error of the client."""
    listed = " or ".join(files)
    if isinstance(error, errors.GatedRepoError):
        return InputError(
            f"weights are {name}, which is gated; accept its terms on the hub, and set HF_TOKEN to your token."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return InputError(
            f"weights are {name}, which the hub does not have; check OWNER/NAME, or set HF_TOKEN if it is private."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"weights are {name}, which has no such revision; it must be a branch, a tag or a commit.")
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return InputError(
            f"weights are {name}, but the hub cannot be reached and {listed} is not in the cache; connect to the network and "
            "leave HF_HUB_OFFLINE unset, or download the file elsewhere and give its path."
        )
    if isinstance(error, errors.EntryNotFoundError):
        return InputError(f"weights are {name}, which has no {listed}; give its weights as hf:OWNER/NAME/FILE.")
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(f"weights are {name}, which cannot be downloaded: {first.rstrip('.')}.")
