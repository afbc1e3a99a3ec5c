"""Models in several files: each thing that goes wrong with the parts has a sentence and a way out of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import pytest
from gguf_files import TENSORS, write

from localprompt.engine.gguf_validator import validate
from localprompt.engine.parts import files_of, split_paths
from localprompt.errors import ModelError
from localprompt.lm.loading import source_of

HEAD = TENSORS["token_embd.weight"]
_REST = ("general.architecture", "llama.context_length", "llama.block_count", "llama.embedding_length")
_WORDS = tuple(f"tokenizer.ggml.{name}" for name in ("model", "tokens", "scores", "token_type"))


def part(
    path: Path, number: int, count: int = 2, tensors: Mapping[str, Any] | None = None, total: int | None = None
) -> Path:
    """Part `number`, from 1, which holds one tensor; as in real ones only the first has more than three keys."""

    def keys(writer: gguf.GGUFWriter) -> None:
        writer.add_uint16("split.no", number - 1)
        writer.add_uint16("split.count", count)
        writer.add_int32("split.tensors.count", count if total is None else total)

    without = () if number == 1 else (*_REST, *_WORDS)
    return write(path, more=keys, without=without, tensors=tensors or {f"t{number}": HEAD})


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, ...]:
    paths = split_paths(tmp_path / "m-00001-of-00003.gguf")
    return tuple(part(path, number, 3) for number, path in enumerate(paths, start=1))


def refusal(path: Path) -> tuple[str, str]:
    with pytest.raises(ModelError) as error:
        validate(path)
    return error.value.message, error.value.hint


def test_the_parts_of_a_model_are_one(parts: tuple[Path, ...]) -> None:
    header = validate(parts[0])
    assert [tensor.name for tensor in header.tensors] == ["t1", "t2", "t3"]
    assert header.file_size == sum(path.stat().st_size for path in parts)
    assert files_of(parts[0]) == parts


def test_a_later_part_names_the_first(parts: tuple[Path, ...]) -> None:
    assert refusal(parts[1])[0] == f"{parts[1]} is part 2 of 3: give {parts[0]}"
    parts[0].unlink()
    assert refusal(parts[1])[0] == f"{parts[1]} is part 2 of 3, and the first part {parts[0].name} is not beside it"
    renamed = parts[1].rename(parts[1].with_name("second.gguf"))
    assert refusal(renamed) == (
        f"{renamed} is part 2 of 3 of a split model",
        "give its first part, NAME-00001-of-00003.gguf",
    )
    posing = renamed.rename(parts[0])
    assert "is part 2 of 3 of a split model" in refusal(posing)[0]


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 1), (1, 0), (2, 1)])
@pytest.mark.parametrize("name", ["merged.gguf", "x-00001-of-00003.gguf"])
def test_parts_put_together_by_cat_are_named_as_such(
    parts: tuple[Path, ...], tmp_path: Path, order: tuple[int, ...], name: str
) -> None:
    merged = tmp_path / name
    merged.write_bytes(b"".join(parts[i].read_bytes() for i in order))
    message, hint = refusal(merged)
    assert message == f"{merged} is the 3 parts of a split model put together by cat, which makes no model"
    assert "give the first part and keep the others beside it" in hint


def test_a_missing_part_is_named(parts: tuple[Path, ...]) -> None:
    parts[2].unlink()
    message, hint = refusal(parts[0])
    assert message == f"{parts[2]} is missing: m-00001-of-00003.gguf is part 1 of 3"
    assert "download the file again" not in hint


def test_a_part_that_has_not_arrived_as_a_whole_is_named(parts: tuple[Path, ...]) -> None:
    data = parts[1].read_bytes()
    parts[1].write_bytes(data[:-64])
    message, hint = refusal(parts[0])
    assert message.startswith(str(parts[1]))
    assert "truncated" in message
    assert "download the file again" in hint
    parts[1].write_bytes(data[:50])
    assert refusal(parts[0])[0].startswith(str(parts[1]))


def test_parts_of_different_models_are_told_apart_as_far_as_they_can(parts: tuple[Path, ...], tmp_path: Path) -> None:
    part(parts[1], 2, count=4)
    assert refusal(parts[0])[0] == f"{parts[1]} is not part 2 of 3: it says that it is part 2 of 4"
    part(parts[1], 3, count=3)
    assert refusal(parts[0])[0] == f"{parts[1]} is not part 2 of 3: it says that it is part 3 of 3"
    write(parts[1])
    assert refusal(parts[0])[0] == f"{parts[1]} is not part 2 of 3: it is a whole model"
    part(parts[1], 2, 3, tensors={"t1": HEAD})
    assert f"m-00001-of-00003.gguf and {parts[1].name} both hold the tensor 't1'" in refusal(parts[0])[0]
    part(parts[1], 2, 3, tensors={"t2": HEAD, "t9": HEAD})
    assert "hold 4 tensors and not 3: one is of another model" in refusal(parts[0])[0]


def test_a_first_part_of_another_name_is_told_its_own(parts: tuple[Path, ...], tmp_path: Path) -> None:
    link = tmp_path / "model.gguf"
    link.symlink_to(parts[0].name)
    message, hint = refusal(link)
    assert message == f"{link} is part 1 of 3 of a split model, and by this name the other parts are not found"
    assert hint == f"give {parts[0]}"
    link.unlink()
    renamed = parts[0].rename(link)
    assert refusal(renamed)[1].startswith("name it m-00001-of-00003.gguf")
    part(tmp_path / "other-00002-of-00003.gguf", 2, 3)
    assert refusal(renamed)[1].startswith("name it NAME-00001-of-00003.gguf"), "whose it is cannot be said"


def test_the_parts_in_a_hubs_cache_are_found_by_their_names_there(parts: tuple[Path, ...], tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0f"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, path in enumerate(parts):
        (snapshot / path.name).symlink_to(path.rename(blobs / f"{number:064x}"))
    first = snapshot / parts[0].name
    assert len(validate(first).tensors) == 3
    assert source_of(first) == str(first), "a resumed run must find the parts too"
    assert refusal(blobs / f"{0:064x}")[1] == f"give {first}"


def test_a_whole_model_may_be_called_as_a_part_is(tmp_path: Path) -> None:
    path = write(tmp_path / "m-00001-of-00002.gguf")
    assert len(validate(path).tensors) == 2
    assert files_of(path) == (path,)


def test_numbers_that_are_no_part_are_refused(tmp_path: Path) -> None:
    path = part(tmp_path / "m.gguf", 3, count=2)
    assert "says that it is part 3 of 2" in refusal(path)[0]
