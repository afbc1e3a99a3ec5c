"""Model cards and what is done with files on disk; sources that need pip or a hub are in tests/e2e."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from localprompt.errors import ConfigError, ModelError
from localprompt.hub import cards
from localprompt.hub import files as models
from localprompt.hub.fetch import SourceFailed, fetch_from_hub
from localprompt.lm.loading import source_of

CONTENT = b"GGUF and so on"
NOBODY = 65_534
CARD = """
name = "tiny"
family = "Tiny"
parameters = 1_000
quantisation = "Q4_0"
context_length = 128
licence = "Apache-2.0"
kind = "chat"
fim = false

[[files]]
name = "tiny.gguf"
size_bytes = 14
sha256 = "{sha256}"

[[sources]]
kind = "hf"
repo = "someone/tiny"
revision = "main"
""".replace("{sha256}", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALPROMPT_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def read(tmp_path: Path, text: str) -> cards.ModelCard:
    path = tmp_path / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return cards.read_card(path)


def install(card: cards.ModelCard, content: bytes = CONTENT) -> Path:
    path = models.models_dir() / card.name / card.files[0].name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_every_shipped_card_is_valid_and_pinned_or_says_why_not() -> None:
    shipped = cards.cards()
    assert {"smollm2-135m-instruct", "qwen2.5-coder-1.5b-instruct", "gemma-3-270m"} <= {card.name for card in shipped}
    assert [card.size_bytes for card in shipped] == sorted(card.size_bytes for card in shipped)
    for card in shipped:
        assert card.sha256_note or all(file.sha256 for file in card.files)
        assert card.licence in ("Apache-2.0", "MIT") or card.licence_notice
        assert all(
            source.revision != "main" or card.sha256_note for source in card.sources if hasattr(source, "revision")
        )


def test_no_two_cards_are_of_one_file() -> None:
    hashes = [file.sha256 for card in cards.cards() for file in card.files if file.sha256]
    assert len(hashes) == len(set(hashes)) >= 32


def test_a_cards_packages_and_members_belong_together() -> None:
    sources = [source for card in cards.cards() for source in card.sources if isinstance(source, cards.PackageSource)]
    assert len(sources) == 4
    for source in sources:
        for package, member in zip(source.packages, source.members, strict=True):
            assert member.startswith(package.partition("==")[0].replace("-", "_") + "/")


def test_an_unknown_card_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        models.card_named("smollm-135m-instruct")
    assert error.value.hint == "did you mean 'smollm2-135m-instruct'?"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("family", "familly", "unknown key 'familly'"),
        ('family = "Tiny"', "", "family is missing"),
        ("parameters = 1_000", 'parameters = "1B"', "parameters must be int"),
        ("fim = false", "fim = 0", "fim must be bool"),
        ('"chat"', '"chatty"', "kind is 'chatty'"),
        ('name = "tiny"', 'name = "other"', "is not the file's"),
        ('name = "tiny"', 'name = "../tiny"', "the name '../tiny'"),
        ("tiny.gguf", "../tiny.gguf", "not a plain file name"),
        ('sha256 = "', 'sha256 = "ABC', "not 64 lower-case hexadecimal digits"),
        ("sha256 =", "# sha256 =", "needs a sha256_note"),
        ('kind = "hf"', 'kind = "http"', "kind is 'http'"),
        ("repo =", "repository =", "unknown key 'repository'"),
        ("[[files]]", "[files]", "must be tables"),
        ("[[files]]", "[[files", "tiny.toml"),
    ],
)
def test_a_card_with_a_mistake_is_refused_with_file_and_key(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, CARD.replace(old, new, 1))
    assert complaint in error.value.message
    assert "tiny.toml" in error.value.message


@pytest.mark.parametrize("package", ["--index-url=x==1", "name", "name==1 --pre", "https://example.org/x.whl"])
def test_a_package_is_a_name_and_a_version_and_nothing_else(tmp_path: Path, package: str) -> None:
    text = CARD.replace(
        'kind = "hf"\nrepo = "someone/tiny"\nrevision = "main"',
        f'kind = "pypi"\npackages = ["{package}"]\nmembers = ["a"]',
    )
    with pytest.raises(ConfigError, match="name==version"):
        read(tmp_path, text)


def test_an_existing_file_wins_over_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gemma-3-270m").write_bytes(CONTENT)
    assert models.resolve("gemma-3-270m") == tmp_path / "gemma-3-270m"
    assert models.resolve(tmp_path / "gemma-3-270m") == tmp_path / "gemma-3-270m"


def test_a_folder_that_is_named_as_a_card_stands_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gemma-3-270m").mkdir()
    assert source_of("gemma-3-270m") == "gemma-3-270m"
    assert models.card_named("gemma-3-270m").name == "gemma-3-270m"
    (tmp_path / "mine.gguf").touch()
    assert source_of("mine.gguf") == str(tmp_path / "mine.gguf")


def test_a_file_in_the_home_folder_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.gguf").touch()
    assert source_of("~/mine.gguf") == str(models.resolve("~/mine.gguf")) == str(tmp_path / "mine.gguf")


def test_an_unknown_model_names_the_nearest_card_and_a_missing_file_itself() -> None:
    with pytest.raises(ConfigError) as error:
        models.resolve("qwen2.5-coder-1.5b")
    assert error.value.hint == "did you mean 'qwen2.5-coder-1.5b-instruct'?"
    with pytest.raises(ModelError, match=r"no file models/nothing\.gguf"):
        models.resolve("models/nothing.gguf")
    with pytest.raises(ModelError, match=f"^{re.escape(str(Path.cwd()))} is a folder"):
        models.resolve("")  # of a variable of the shell that is not set


def test_an_installed_model_is_used_if_its_hash_is_right(tmp_path: Path) -> None:
    card = read(tmp_path, CARD)
    assert models.installed(card) is None
    path = install(card)
    assert models.installed(card) == path
    assert models.pull(card) == path


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_models_folder_that_this_user_may_not_look_into_is_a_sentence(tmp_path: Path) -> None:
    card = read(tmp_path, CARD)
    folder = install(card).parent
    folder.chmod(0)
    if os.geteuid() == 0:  # permissions do not bind root
        os.seteuid(NOBODY)
    try:
        assert models.installed(card) is None
        with pytest.raises(ModelError, match=r"cannot store tiny in .*: Permission denied"):
            models.pull(card)
    finally:
        os.seteuid(os.getuid())
        folder.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (CONTENT, 0, r"^tiny in .* cannot be read: Permission denied; "),
        (b"other", 0o444, r"; it cannot be removed; set LOCALPROMPT_MODELS to a folder of yours, and pull it again;"),
    ],
)
def test_a_model_in_somebody_elses_folder_that_is_unreadable_or_another_is_a_sentence(
    content: bytes, mode: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as theirs:  # pytest's own folders are closed to others
        Path(theirs).chmod(0o755)
        monkeypatch.setenv("LOCALPROMPT_MODELS", theirs)
        card = read(tmp_path, CARD)
        path = install(card, content)
        path.chmod(mode)
        path.parent.chmod(0o555)
        if os.geteuid() == 0:  # permissions do not bind root
            os.seteuid(NOBODY)
        try:
            with pytest.raises(ModelError) as raised:
                models.pull(card)
        finally:
            os.seteuid(os.getuid())
            path.parent.chmod(0o755)
    assert re.search(said, f"{raised.value.message}; {raised.value.hint}")


def test_a_pull_that_fails_on_a_disk_without_the_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    card = read(tmp_path, CARD.replace("= 14", "= 4_000_000_000"))
    for free, beginning in (
        (3_000_000_000, "make room: it takes 4.00 GB, "),
        (5_000_000_000, "check the network and "),
    ):
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        with pytest.raises(ModelError, match="tiny could not be pulled") as raised:
            models.pull(card)
        assert raised.value.hint.startswith(beginning)


def test_what_a_killed_pull_left_is_removed_a_day_later_though_the_model_is_there(tmp_path: Path) -> None:
    card = read(tmp_path, CARD)
    folder = install(card).parent
    for name, seconds in (("old", 90_000), ("new", 0)):
        (folder / f".pull-{name}").mkdir()
        (folder / f".pull-{name}" / "tiny.gguf").write_bytes(CONTENT)
        then = time.time() - seconds
        os.utime(folder / f".pull-{name}", (then, then))
    models.pull(card)
    assert sorted(path.name for path in folder.iterdir()) == [".pull-new", "tiny.gguf"]


def test_a_file_with_another_hash_is_not_used_and_removed(tmp_path: Path) -> None:
    card = read(tmp_path, CARD)
    path = install(card, b"something else")
    with pytest.raises(ModelError, match=r"tiny\.gguf has the SHA-256 [0-9a-f]{64}, but the card says"):
        models.pull(card)
    assert not path.exists()


def test_without_a_pinned_hash_the_first_file_is_held_to(tmp_path: Path) -> None:
    card = read(tmp_path, CARD.replace("sha256 =", "# sha256 =").replace("fim =", 'sha256_note = "unknown"\nfim ='))
    path = install(card)
    assert models.pull(card) == path
    assert hashlib.sha256(CONTENT).hexdigest() in (path.parent / "tiny.gguf.sha256").read_text(encoding="utf-8")

    install(card, b"another file, changed upstream")
    with pytest.raises(ModelError, match="of the first download"):
        models.pull(card)
    assert not path.exists()


def test_a_hash_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(CONTENT)
    first = models.sha256(path)
    assert first == hashlib.sha256(CONTENT).hexdigest()

    status = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert models.sha256(path) == first  # same path, size and time: not read again

    os.utime(path, ns=(0, 0))
    assert models.sha256(path) == hashlib.sha256(CONTENT[::-1]).hexdigest()


def test_a_damaged_memory_of_hashes_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(CONTENT)
    models.sha256(path)
    for memory in (tmp_path / "cache").rglob("sha256/*"):
        memory.write_bytes(b"\xff nonsense")
    assert models.sha256(path) == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("endpoint", ["hf-mirror.com", "ftp//nowhere", ""])
def test_an_address_of_a_hub_that_is_none_fails_like_a_source(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    source, file = cards.HubSource("no/such", "main"), cards.ModelFile("x.gguf", 1)
    with pytest.raises(SourceFailed, match="cannot be reached"):
        fetch_from_hub(source, file, tmp_path)
