"""Models that other programs keep: found by each program's own layout, and a sentence where they cannot be used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np
import programs
import pytest
from gguf_files import TENSORS, write

from localprompt.errors import ConfigError, ModelError
from localprompt.hub import files
from localprompt.hub.elsewhere import PROGRAMS, located, look_into
from localprompt.hub.found import MAX_ENTRIES, MAX_PROBLEMS, MAX_TEXT_BYTES
from localprompt.lm.loading import place_of, source_of

NOBODY = 65_534
DOCKER_GGUF = "application/vnd.docker.ai.gguf.v3"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs.empty_home(tmp_path / "home", monkeypatch)
    return tmp_path / "home"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model.gguf")


def stating(add: Callable[[gguf.GGUFWriter], object]) -> Callable[[gguf.GGUFWriter], object]:
    """Write keys where converters write them: before the vocabulary."""

    def more(writer: gguf.GGUFWriter) -> None:
        add(writer)
        keys = writer.kv_data[0]
        for name in [name for name in keys if name.startswith("tokenizer.")]:
            keys[name] = keys.pop(name)

    return more


@pytest.fixture
def projector(tmp_path: Path) -> Path:
    return write(tmp_path / "clip.gguf", more=stating(lambda writer: writer.add_string("general.type", "mmproj")))


@pytest.fixture
def embedder(tmp_path: Path) -> Path:
    return write(tmp_path / "embed.gguf", more=stating(lambda writer: writer.add_uint32("llama.pooling_type", 1)))


def parts(folder: Path, count: int = 2) -> list[Path]:
    """The files of a split model."""

    def keys(number: int) -> Callable[[gguf.GGUFWriter], None]:
        def add(writer: gguf.GGUFWriter) -> None:
            writer.add_uint16("split.no", number - 1)
            writer.add_uint16("split.count", count)

        return add

    names = [f"big-Q8_0-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
    tensor = TENSORS["output.weight"]
    return [
        write(folder / name, more=keys(number), tensors={f"t{number}": tensor})
        for number, name in enumerate(names, start=1)
    ]


def names(scheme: str) -> dict[str, str]:
    """What a program is found to keep: the reason why it cannot be used, by name."""
    return {model.name: model.refused for model in look_into(scheme).models}


def refusal(name: str) -> tuple[str, str]:
    with pytest.raises((ConfigError, ModelError)) as error:
        located(name)
    return error.value.message, error.value.hint


def path_of(name: str) -> Path:
    found = located(name)
    assert found is not None
    return found.path


# Ollama --------------------------------------------------------------------------------------------------------------


def put_ollama(home: Path, name: str, file: Path, *more: tuple[str, bytes], **config: str) -> Path:
    layers = [("model", file.read_bytes()), ("template", b"{{ .Prompt }}"), ("license", b"MIT"), *more]
    return programs.ollama(home / ".ollama" / "models", name, layers, config or None)


def test_ollamas_models_are_named_as_it_names_them_and_used_where_they_lie(home: Path, model: Path) -> None:
    blob = put_ollama(home, "registry.ollama.ai/library/qwen2.5/7b", model)
    put_ollama(home, "registry.ollama.ai/library/smollm2/latest", model)
    put_ollama(home, "registry.ollama.ai/someone/tuned/v1", model)
    put_ollama(home, "hf.co/bartowski/X-GGUF/Q4_K_M", model)
    assert list(names("ollama")) == [
        "hf.co/bartowski/X-GGUF:Q4_K_M",
        "qwen2.5:7b",
        "smollm2:latest",
        "someone/tuned:v1",
    ]
    for name in ("qwen2.5:7b", "QWEN2.5:7B", "registry.ollama.ai/library/qwen2.5:7b", "smollm2", "someone/tuned:v1"):
        assert path_of(f"ollama:{name}") == blob
    found = located("ollama:qwen2.5:7b")
    assert found is not None
    assert (found.quantisation, found.architecture, found.size_bytes) == ("Q4_K_M", "llama", model.stat().st_size)
    assert found.sha256 == (hashlib.sha256(model.read_bytes()).hexdigest(),)
    assert refusal("ollama:qwen2.5")[1] == "did you mean 'ollama:qwen2.5:7b'?"


def test_ollamas_folder_is_the_one_that_its_variable_names_beside_the_services(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", "~/disk")
    layers = [("model", model.read_bytes())]
    programs.ollama(home / "disk", "registry.ollama.ai/library/mine/1b", layers)
    service = programs.ollama(home / "service" / "models", "registry.ollama.ai/library/its/1b", layers, separator=":")
    assert list(names("ollama")) == ["its:1b", "mine:1b"]
    assert path_of("ollama:its:1b") == service  # blobs of older versions have a colon in their names


def test_what_ollama_keeps_and_is_no_model_here_is_named_with_the_reason(
    home: Path, model: Path, projector: Path, embedder: Path
) -> None:
    library = "registry.ollama.ai/library"
    put_ollama(home, f"{library}/vision/7b", model, ("projector", projector.read_bytes()))
    put_ollama(home, f"{library}/embed/1b", embedder)
    sees = stating(lambda writer: writer.add_uint32("llama.vision.block_count", 27))
    packed = {**TENSORS, "v.patch_embd.weight": TENSORS["output.weight"]}
    put_ollama(home, f"{library}/packed/4b", write(home / "packed.gguf", more=sees, tensors=packed))
    put_ollama(home, f"{library}/apart/4b", write(home / "apart.gguf", more=sees))
    put_ollama(home, f"{library}/oss/20b", write(home / "oss.gguf", architecture="gptoss"))
    put_ollama(home, f"{library}/tuned/1b", model, ("adapter", b"lora"))
    put_ollama(home, f"{library}/split/1b", model, ("model", b"another"))
    put_ollama(home, f"{library}/cloud/1b", model, remote_host="https://ollama.com:443")
    put_ollama(home, f"{library}/mlx/1b", model, model_format="safetensors")
    programs.ollama(home / ".ollama" / "models", f"{library}/tensors/1b", [("tensor", b"weights")])
    put_ollama(home, f"{library}/cut/1b", write(home / "cut.gguf", add_bos=True)).write_bytes(b"GGUF")
    put_ollama(home, f"{library}/gone/1b", write(home / "gone.gguf", add_bos=False)).unlink()
    found = names("ollama")
    assert found.pop("vision:7b") == found.pop("apart:4b") == ""
    assert "lacks the file" in found.pop("gone:1b")
    assert "ends inside its header" in found.pop("cut:1b")
    assert found == {
        "embed:1b": "is an embedding model, which writes no text",
        "packed:4b": "is a model packed with its projector of pictures, which only Ollama reads",
        "oss:20b": "is a model in a form that only Ollama reads",
        "tuned:1b": "is a model with an adapter, which is not applied here",
        "split:1b": "is in 2 files, which llama.cpp cannot find by their names",
        "cloud:1b": "runs at https://ollama.com:443, not on this machine",
        "mlx:1b": "is no GGUF model: its format is safetensors",
        "tensors:1b": "is no GGUF model: its format is gguf",
    }
    assert refusal("ollama:embed:1b")[0] == "ollama:embed:1b is an embedding model, which writes no text"
    assert "embed" not in refusal("ollama:embedded:1b")[1]


def test_a_blob_of_another_size_than_its_manifest_says_is_not_used(home: Path, model: Path) -> None:
    blob = put_ollama(home, "registry.ollama.ai/library/qwen2.5/7b", model)
    with blob.open("ab") as file:
        file.write(b"more")
    n = model.stat().st_size
    assert refusal("ollama:qwen2.5:7b")[0] == (
        f"ollama:qwen2.5:7b has a file of {n + 4:,} bytes instead of {n:,}: pull it again"
    )


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"layers": 7}',
        '{"layers": [1, null, "x"], "config": 3}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../etc/passwd"}]}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": 5, "size": "x"}]}',
        '{"layers": [], "config": {"digest": "sha256:/etc/passwd"}}',
        " " * (MAX_TEXT_BYTES + 1),
    ],
    ids=lambda text: text[:20],
)
def test_a_hostile_manifest_is_a_sentence_and_the_others_are_found(home: Path, model: Path, manifest: str) -> None:
    put_ollama(home, "registry.ollama.ai/library/good/1b", model)
    bad = home / ".ollama/models/manifests/registry.ollama.ai/library/bad/1b"
    bad.parent.mkdir()
    bad.write_text(manifest, encoding="utf-8")
    look = look_into("ollama")
    said = [*look.problems, *(model.refused for model in look.models if model.name == "bad:1b")]
    assert len(said) == 1
    assert said[0]
    assert names("ollama")["good:1b"] == ""
    with pytest.raises((ConfigError, ModelError)):
        located("ollama:bad:1b")


def test_a_pipe_in_the_place_of_a_manifest_is_not_waited_for(home: Path, model: Path) -> None:
    put_ollama(home, "registry.ollama.ai/library/good/1b", model)
    pipe = home / ".ollama/models/manifests/registry.ollama.ai/library/good/2b"
    os.mkfifo(pipe)
    assert look_into("ollama").problems == [f"{pipe}: not a regular file"]


# LM Studio, Jan, GPT4All, llama.cpp ----------------------------------------------------------------------------------


def test_lm_studio_is_found_by_its_variable_pointer_older_folder_and_settings(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found_in(folder: str) -> bool:
        path = programs.lmstudio(home / folder, "org/Model-GGUF/model-Q4_K_M.gguf", model)
        same = list(names("lmstudio")) == ["org/Model-GGUF/model-Q4_K_M.gguf"]
        assert path_of("lmstudio:org/Model-GGUF") == path_of("lmstudio:model-q4_k_m") == path
        return same

    assert found_in(".lmstudio/models")
    assert found_in(".cache/lm-studio/models")
    (home / ".lmstudio-home-pointer").write_text(f"{home}/elsewhere\n", encoding="utf-8")
    assert found_in("elsewhere/models")
    (home / "elsewhere" / "settings.json").write_text(
        json.dumps({"downloadsFolder": str(home / "d")}), encoding="utf-8"
    )
    assert found_in("d")
    monkeypatch.setenv("LMSTUDIO_HOME", str(home / "told"))
    assert found_in("told/models")
    (home / "told" / "settings.json").write_text("{", encoding="utf-8")
    assert found_in("told/models")


def test_split_models_are_one_and_projectors_are_named_as_such(home: Path, model: Path, projector: Path) -> None:
    models = home / ".lmstudio" / "models" / "org" / "big"
    models.mkdir(parents=True)
    files = parts(models)
    programs.lmstudio(models.parent.parent, "org/big/mmproj-big.gguf", projector)
    assert names("lmstudio") == {
        "org/big/big-Q8_0-00001-of-00002.gguf": "",
        "org/big/mmproj-big.gguf": "is a projector of pictures or sound",
    }
    found = located("lmstudio:org/big")  # the projector is no other meaning of it
    assert found is not None
    assert (found.path, found.quantisation) == (files[0], "Q8_0")
    assert found.size_bytes == sum(path.stat().st_size for path in files)
    files[1].unlink()
    assert refusal("lmstudio:org/big/big-Q8_0-00001-of-00002.gguf")[0].endswith(f"lacks the file {files[1]}")
    files[0].rename(files[1])
    assert refusal("lmstudio:org/big/big-Q8_0-00002-of-00002.gguf")[0].endswith(f"lacks the file {files[0]}")


def test_a_model_in_parts_that_lacks_its_first_is_named_once(home: Path) -> None:
    models, snapshot = home / ".lmstudio/models/org/big", home / ".cache/huggingface/hub/models--org--big/snapshots/abc"
    for folder in (models, snapshot):
        folder.mkdir(parents=True)
        for number in (2, 3, 4):
            (folder / f"big-{number:05}-of-00004.gguf").touch()
    found = [*names("lmstudio").items(), *names("hf").items()]
    assert [name for name, _ in found] == ["org/big/big-00002-of-00004.gguf", "org/big:big-00002-of-00004.gguf"]
    assert all(refused.endswith("big-00001-of-00004.gguf") for _, refused in found)


def test_a_name_that_several_models_have_names_them(home: Path, model: Path) -> None:
    for level in ("Q4_K_M", "Q8_0"):
        programs.lmstudio(home / ".lmstudio" / "models", f"org/m/m-{level}.gguf", model)
    message, hint = refusal("lmstudio:org/m")
    assert message == "'lmstudio:org/m' may be any of 2 models"
    assert hint == "give one: lmstudio:org/m/m-Q4_K_M.gguf or lmstudio:org/m/m-Q8_0.gguf"


def test_jans_models_are_found_by_their_model_yml(home: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = home / ".local" / "share" / "Jan" / "data"
    path = programs.jan(data, "unsloth/Qwen3-4B/Q4_K_M", model)
    imported = programs.jan(data, "imported", model)
    (imported.parent / "model.yml").write_text(f'model_path: "{model}"\n', encoding="utf-8")
    programs.jan(data, "empty", model).with_name("model.yml").write_text("name: empty\n", encoding="utf-8")
    assert names("jan") == {
        "empty": "has a model.yml that names no file",
        "imported": "",
        "unsloth/Qwen3-4B/Q4_K_M": "",
    }
    assert (path_of("jan:unsloth/Qwen3-4B/Q4_K_M"), path_of("jan:imported")) == (path, model)

    other = programs.jan(home / "other", "moved", model)
    (home / ".local/share/Jan/settings.json").write_text(
        json.dumps({"data_folder": str(home / "other")}), encoding="utf-8"
    )
    assert path_of("jan:moved") == other
    monkeypatch.setenv("JAN_DATA_FOLDER", str(data))
    assert path_of("jan:imported") == model


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("model_path:  'llamacpp/models/it/model.gguf' \r", ""),
        ("model_path: llamacpp/models/it/model.gguf\r", ""),
        ("model_path: a" + " " * 1_000_000 + "b", "cannot be read: File name too long"),
        ("model_path:" + " " * 1_000_000 + "\t", "has a model.yml that names no file"),
        ("model_path: a\0b", "has a model.yml that names no file"),
    ],
    ids=["quotes", "line end of Windows", "spaces within", "spaces alone", "NUL"],
)
def test_the_line_of_jan_that_names_a_file_is_read_in_no_time_whatever_it_holds(
    home: Path, model: Path, line: str, refused: str
) -> None:
    path = programs.jan(home / ".local" / "share" / "Jan" / "data", "it", model)
    path.with_name("model.yml").write_bytes(f"name: it\n{line}\nsize_bytes: 1\n".encode())
    start = time.process_time()
    assert names("jan") == {"it": refused}
    assert time.process_time() - start < 2


def test_gpt4alls_models_are_found_and_unfinished_ones_named_so(home: Path, model: Path, embedder: Path) -> None:
    folder = home / ".local" / "share" / "nomic.ai" / "GPT4All"
    path = programs.flat(folder, "Llama-3.2-1B-Instruct-Q4_0.gguf", model)
    programs.flat(folder, "incomplete-Phi.gguf", model)
    programs.flat(folder, "nomic-embed-text-v1.5.f16.gguf", embedder)
    encoder = write(home / "bert.gguf", more=stating(lambda writer: writer.add_bool("llama.attention.causal", False)))
    programs.flat(folder, "bert.gguf", encoder)
    programs.flat(folder, "gpt-4.rmodel", model)  # a name of a remote model
    assert names("gpt4all") == {
        "Llama-3.2-1B-Instruct-Q4_0.gguf": "",
        "bert.gguf": "is an encoder",
        "incomplete-Phi.gguf": "is a download that has not ended",
        "nomic-embed-text-v1.5.f16.gguf": "is an embedding model, which writes no text",
    }
    assert path_of("gpt4all:llama-3.2-1b-instruct-q4_0") == path

    other = programs.flat(home / "models", "m.gguf", model)
    config = home / ".config" / "nomic.ai" / "GPT4All.ini"
    config.parent.mkdir(parents=True)
    config.write_text(f"[General]\nmodelPath={home}/models\n", encoding="utf-8")
    assert path_of("gpt4all:m") == other


def test_llama_cpps_older_cache_is_flat(home: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "ggml-org_gemma-3-1b-it-GGUF_gemma-3-1b-it-Q4_K_M.gguf"
    path = programs.flat(home / ".cache" / "llama.cpp", name, model)
    (path.with_suffix(".gguf.json")).write_text("{}", encoding="utf-8")
    programs.flat(path.parent, "half.gguf.downloadInProgress", model)
    assert names("llamacpp") == {name: ""}
    monkeypatch.setenv("LLAMA_CACHE", str(home / "told"))
    told = programs.flat(home / "told", "m.gguf", model)
    assert path_of("llamacpp:m") == told


# Hugging Face, Docker ------------------------------------------------------------------------------------------------


def test_the_hubs_cache_is_found_as_its_library_finds_it(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found_in(folder: str) -> None:
        (link,) = programs.hub(home / folder, "Qwen/Qwen3-0.6B-GGUF", {"Qwen3-0.6B-Q8_0.gguf": model})
        assert path_of("hf:Qwen/Qwen3-0.6B-GGUF") == path_of("hf:Qwen/Qwen3-0.6B-GGUF:Q8_0") == link

    found_in(".cache/huggingface/hub")
    for variable, value, folder in (
        ("XDG_CACHE_HOME", "xdg", "xdg/huggingface/hub"),
        ("HF_HOME", "hf", "hf/hub"),
        ("HUGGINGFACE_HUB_CACHE", "older", "older"),
        ("HF_HUB_CACHE", "newer", "newer"),
    ):
        monkeypatch.setenv(variable, str(home / value))
        found_in(folder)
    monkeypatch.setenv("LLAMA_CACHE", str(home / "llama"))  # new builds write the hub's layout there
    programs.hub(home / "llama", "org/other", {"other.gguf": model})
    assert list(names("hf")) == ["Qwen/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf", "org/other:other.gguf"]


def test_of_several_revisions_the_main_one_counts_and_hashes_are_the_blobs_names(home: Path, model: Path) -> None:
    cache, other = home / ".cache" / "huggingface" / "hub", write(home / "other.gguf", add_bos=True)
    programs.hub(cache, "org/m", {"m.gguf": other, "old/only-Q4_0.gguf": other}, commit="0" * 40, main=False)
    (link,) = programs.hub(cache, "org/m", {"m.gguf": model}, commit="b" * 40)
    assert list(names("hf")) == ["org/m:m.gguf", "org/m:old/only-Q4_0.gguf"]
    found = located("hf:org/m:m.gguf")
    assert found is not None
    assert (found.path, found.sha256) == (link, (hashlib.sha256(model.read_bytes()).hexdigest(),))
    assert "may be any of 2" in refusal("hf:org/m")[0]


def test_a_split_model_of_the_hub_is_one_with_the_hash_of_each_part(home: Path, tmp_path: Path) -> None:
    files = {f"Q8_0/{path.name}": path for path in parts(tmp_path)}
    links = programs.hub(home / ".cache" / "huggingface" / "hub", "org/big", files)
    found = located("hf:org/big:Q8_0")
    assert found is not None
    assert found.name == "org/big:Q8_0/big-Q8_0-00001-of-00002.gguf"
    assert found.path == links[0]
    assert found.sha256 == tuple(programs.digest(path.read_bytes()) for path in files.values())


def test_links_of_the_hub_are_followed_but_not_believed_where_they_lead_out_of_it(home: Path, model: Path) -> None:
    cache = home / ".cache" / "huggingface" / "hub"
    (link,) = programs.hub(cache, "org/m", {"m.gguf": model})
    elsewhere = home / ("c" * 64)
    shutil.copyfile(model, elsewhere)
    link.unlink()
    link.symlink_to(elsewhere)
    found = located("hf:org/m")
    assert found is not None
    assert found.sha256 == ()
    (link.parent / "circle").symlink_to(link.parent)
    link.unlink()
    link.symlink_to(link)
    assert names("hf") == {"org/m:m.gguf": "cannot be read: Too many levels of symbolic links"}


def test_dockers_models_are_found_by_tag_and_by_id(home: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, content = home / ".docker" / "models", model.read_bytes()
    blob = programs.docker(models, ["index.docker.io/ai/smollm2:latest"], [(DOCKER_GGUF, content), ("licence", b"MIT")])
    assert names("docker") == {"ai/smollm2:latest": ""}
    found = located("docker:ai/smollm2")
    assert found is not None
    assert (found.path, found.sha256) == (blob, (programs.digest(content),))
    programs.docker(models, [], [(DOCKER_GGUF, content)])
    programs.docker(models, ["ai/two:1b"], [(DOCKER_GGUF, content), (DOCKER_GGUF, content)])
    programs.docker(models, ["ai/safe:1b"], [("application/vnd.docker.ai.safetensors", b"weights")])
    untagged, *others = sorted(names("docker").items())
    assert len(untagged[0]) == 12
    assert located(f"docker:{untagged[0]}") is not None
    assert others == [
        ("ai/safe:1b", "is no GGUF model"),
        ("ai/smollm2:latest", ""),
        ("ai/two:1b", "is in 2 files, which llama.cpp cannot find by their names"),
    ]
    monkeypatch.setenv("MODELS_PATH", str(home / "none"))
    assert names("docker") == {}


def test_a_hostile_index_of_docker_leads_nowhere(home: Path) -> None:
    models = home / ".docker" / "models"
    models.mkdir(parents=True)
    entries = [{"id": "sha256:../../x"}, {"id": 5}, 7, {"id": f"sha256:{'a' * 64}", "tags": ["x" * 1000, 7]}]
    (models / "models.json").write_text(json.dumps({"models": entries}), encoding="utf-8")
    look = look_into("docker")
    assert [model.name for model in look.models] == ["a" * 12]
    assert len(look.problems) == 1
    (models / "models.json").write_text("{}", encoding="utf-8")
    assert look_into("docker").models == []


# All of them ---------------------------------------------------------------------------------------------------------

FOLDERS = {
    "ollama": ".ollama/models/manifests",
    "lmstudio": ".lmstudio/models",
    "hf": ".cache/huggingface/hub",
    "llamacpp": ".cache/llama.cpp",
    "docker": ".docker/models",
    "jan": ".local/share/Jan/data/llamacpp/models",
    "gpt4all": ".local/share/nomic.ai/GPT4All",
}


@pytest.fixture
def open_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder that every user can reach: those of pytest belong to one."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    programs.empty_home(folder, monkeypatch)
    yield folder
    for each in folder.rglob("*"):
        each.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("scheme", PROGRAMS)
def test_a_folder_that_cannot_be_read_is_a_sentence_for_every_program(open_home: Path, scheme: str) -> None:
    folder = open_home / FOLDERS[scheme]
    folder.mkdir(parents=True)
    folder.chmod(0)
    if os.geteuid() == 0:  # permissions do not bind root
        os.seteuid(NOBODY)
    try:
        assert look_into(scheme).problems == [f"{folder}: cannot be read: Permission denied"]
        message, hint = refusal(f"{scheme}:it")
    finally:
        os.seteuid(os.getuid())
    assert message == f"no model '{scheme}:it' was found; {folder}: cannot be read: Permission denied"
    assert hint == "can your user read what lies there?"


@pytest.mark.parametrize("scheme", PROGRAMS)
def test_a_program_that_is_not_there_keeps_nothing_and_says_where_was_looked(home: Path, scheme: str) -> None:
    assert (look_into(scheme).models, look_into(scheme).problems) == ([], [])
    message, hint = refusal(f"{scheme}:it")
    assert str(home) in message
    assert PROGRAMS[scheme].variable in hint


def test_an_endless_folder_is_looked_at_up_to_a_bound(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localprompt.hub.found.MAX_ENTRIES", 5)
    assert MAX_ENTRIES > 5
    folder = home / FOLDERS["gpt4all"]
    folder.mkdir(parents=True)
    for number in range(9):
        (folder / f"{number}.txt").touch()
    assert "the rest was not looked at" in look_into("gpt4all").problems[0]


def test_of_many_files_that_cannot_be_read_some_are_named(home: Path, model: Path) -> None:
    for number in range(MAX_PROBLEMS + 9):
        bad = home / FOLDERS["ollama"] / "host" / "space" / f"bad{number:02}" / "1b"
        bad.parent.mkdir(parents=True)
        bad.write_text("{", encoding="utf-8")
    problems = look_into("ollama").problems
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1].startswith("more than 20 files and folders cannot be read")


def test_other_names_are_no_business_of_these_programs() -> None:
    assert located("qwen3-8b") is None
    assert located("./ollama") is None
    assert files.kept_elsewhere(Path("ollama:x")) is None


def test_a_hash_is_taken_from_the_name_without_reading_but_never_called_computed(home: Path, model: Path) -> None:
    blob = put_ollama(home, "registry.ollama.ai/library/qwen2.5/7b", model)
    truth = blob.name.removeprefix("sha256-")
    changed = bytearray(model.read_bytes())
    changed[-1] ^= 1
    blob.write_bytes(changed)  # as long as before: only reading it all would tell
    assert files.resolve("ollama:qwen2.5:7b") == blob
    assert files.identity(blob) == truth
    assert files.sha256(blob) == hashlib.sha256(changed).hexdigest()
    assert files.identity(blob) == files.sha256(blob)  # what was computed wins


def test_a_file_that_ends_elsewhere_than_its_header_says_is_hashed(home: Path, model: Path) -> None:
    padded = home / "padded.gguf"
    padded.write_bytes(model.read_bytes() + bytes(4096))
    (link,) = programs.hub(home / ".cache/huggingface/hub", "org/m", {"m.gguf": padded})
    (link.resolve()).write_bytes(padded.read_bytes()[:-1] + b"x")
    files.resolve("hf:org/m")
    assert files.identity(link) == files.sha256(link) != link.resolve().name


def test_a_run_keeps_the_name_and_two_names_of_one_file_are_one_place(home: Path, model: Path) -> None:
    blob = put_ollama(home, "registry.ollama.ai/library/qwen2.5/7b", model)
    assert source_of("ollama:qwen2.5:7b") == "ollama:qwen2.5:7b"
    assert place_of("ollama:qwen2.5:7b") == place_of(blob) == str(blob.resolve())
    with pytest.raises((ConfigError, ModelError), match="nothing"):
        place_of("ollama:nothing")


def test_the_level_is_the_programs_word_or_the_files_or_in_its_name(home: Path, tmp_path: Path) -> None:
    level = stating(lambda writer: writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16))
    says = write(tmp_path / "f16.gguf", more=level)
    silent = write(tmp_path / "x.gguf", tensors={"t": np.ones((1, 32), np.float32)})
    folder = home / FOLDERS["gpt4all"]
    programs.flat(folder, "a.gguf", says)
    programs.flat(folder, "gpt-oss-20b-mxfp4.gguf", silent)
    programs.flat(folder, "c.Q4_K_M.gguf", silent)
    programs.flat(folder, "d-UD-Q4_K_XL.gguf", silent)
    assert [found.quantisation for found in look_into("gpt4all").models] == ["F16", "Q4_K_M", "", "MXFP4"]
