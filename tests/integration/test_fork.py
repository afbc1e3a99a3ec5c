"""A model and a store over a fork, and from two threads: said at once, and the owner goes on unharmed."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 - what a pool of processes does with errors
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from localprompt.engine.process import RequestsDied
from localprompt.errors import ModelError
from localprompt.lm.local import load_model
from localprompt.types import Message, Sampling

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

# A script: a process that has run a test suite holds too much for a fork.
MODEL = """
import os, sys, time
import localprompt

def refused(call):
    try:
        return f"answered {call()!r}"
    except localprompt.LocalPromptError as error:
        return f"{error.message} | {error.hint}"

model = localprompt.load_model(sys.argv[1], tune=False, n_ctx=512, n_threads=1)
def answer():
    return model.generate(["the answer"], localprompt.Sampling(max_tokens=4), [0])
before, worker = answer(), model.pid
if not (child := os.fork()):
    calls = [
        answer,
        lambda: model.generate([], localprompt.Sampling(max_tokens=4), []),
        lambda: model.loglikelihood([("a", "b")]),
        lambda: model.chat([localprompt.Message("user", "a")]),
        lambda: model.tokenize(["a"]),
        lambda: model.pid,
    ]
    print(*(refused(call) for call in calls), sep="\\n")
    model.close()
    with model:
        pass
    sys.exit(3)  # an end with all its finalisers
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
assert (answer(), model.pid) == (before, worker)
if not (child := os.fork()):
    time.sleep(60)
started = time.monotonic()
model.close()
seconds = time.monotonic() - started
os.kill(child, 9)
os.waitpid(child, 0)
assert seconds < 8, "the child holds no end of the worker's pipes"
print("owner", os.getpid())
"""
STORE = """
import os, sys
from pathlib import Path
from localprompt.errors import StoreError
from localprompt.store import Store

path = Path(sys.argv[1])
store = Store(path)
run = store.runs.create({"identity": {}}, seed=0, task="t", model="m", proposer="m", method="ape")
with store.runs.hold(run.id):
    if not (child := os.fork()):
        put = lambda: store.answers.put([(b"k", "score", b"v")])
        for call in (store.runs.all, store.answers.flush, store.vacuum, put):
            try:
                print("answered", call())
            except StoreError as error:
                print(error.message)
        store.close()
        sys.exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    with Store(path) as other:
        assert other.runs.is_held(run.id), "the child's end let go of its parent's lock"
store.answers.put([(b"k", "score", b"v")])
assert store.check() == []
store.close()
print("owner", os.getpid())
"""


def run(script: str, argument: Path) -> tuple[list[str], str]:
    """What a script says, and the number of its process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, str(argument)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    return lines, last.removeprefix("owner ")


@pytest.mark.parametrize("name", ["qwen", "llama"])
def test_a_forked_child_is_refused_and_ends_nothing(name: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(f"tiny_{name}")
    lines, owner = run(MODEL, path)
    whose = f"the model {path.name} belongs to process {owner} and not to this one, a forked child of it"
    assert lines == [f"{whose} | load it here: call load_model in each process, after the fork"] * 6


def test_a_store_is_not_written_by_two_processes_through_one_handle(tmp_path: Path) -> None:
    lines, owner = run(STORE, tmp_path / "s.sqlite")
    assert len(lines) == 4
    refused = f"the store {tmp_path / 's.sqlite'} was opened by process {owner}, and this is a forked child"
    assert [line.startswith(refused) for line in lines] == [True, False, True, True]
    assert lines[1] == "answered None", "nothing waited to be written"


def test_a_second_thread_is_refused_and_the_first_one_is_answered(tiny_qwen: Path) -> None:
    with load_model(tiny_qwen, tune=False, n_ctx=512, n_threads=1) as lm:
        prompts = [f"the answer {i} is" for i in range(300)]
        expected = lm.generate(prompts, Sampling(max_tokens=8), [0] * 300)
        found, errors = [], []
        begun = threading.Event()
        lm.on_progress = lambda *_: begun.set()
        first = threading.Thread(target=lambda: found.append(lm.generate(prompts, Sampling(max_tokens=8), [0] * 300)))
        first.start()
        begun.wait(60)
        while first.is_alive():
            try:
                lm.tokenize(["a"])
            except ModelError as error:
                errors.append(error.message)
            time.sleep(0.01)
        first.join()
        assert found == [expected]
        assert set(errors) == {"this model is answering another call"}


def test_a_model_that_another_thread_closes_ends_the_call_in_one_sentence(tiny_qwen: Path) -> None:
    lm = load_model(tiny_qwen, tune=False, n_ctx=512, n_threads=1)
    begun, said = threading.Event(), []
    lm.on_progress = lambda *_: begun.set()

    def ask() -> None:
        try:
            lm.generate(["the answer"] * 5_000, Sampling(max_tokens=64, temperature=1.0), list(range(5_000)))
        except ModelError as error:
            said.append(error.message)

    first = threading.Thread(target=ask)
    first.start()
    begun.wait(60)
    lm.close()
    first.join(30)
    assert said == [f"the model {tiny_qwen.name} is closed"]
    with pytest.raises(ModelError, match="is closed"):
        lm.chat([Message("user", "a")])
    lm.close()


def test_what_can_be_pickled_is_and_what_cannot_says_so(tiny_qwen: Path) -> None:
    died = RequestsDied("request 1 of 2 killed", "lower n_ctx", [5, None], [1])
    copy = pickle.loads(pickle.dumps(died))
    assert (copy.message, copy.hint, copy.results, copy.failed, copy.killers) == (
        died.message,
        died.hint,
        died.results,
        died.failed,
        died.killers,
    )
    with (
        load_model(tiny_qwen, tune=False, n_ctx=512, n_threads=1) as lm,
        pytest.raises(ModelError, match="cannot be pickled"),
    ):
        pickle.dumps(lm)
