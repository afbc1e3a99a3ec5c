"""A GGUF model in a worker process as a LanguageModel. Level 3."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from localprompt.engine.build import check_build
from localprompt.engine.device_list import visible
from localprompt.engine.export import find_faults
from localprompt.engine.gguf import GGUFHeader
from localprompt.engine.gguf_validator import validate
from localprompt.engine.parts import files_of
from localprompt.engine.placement import fitted
from localprompt.engine.process import EngineProcess, RequestsDied
from localprompt.engine.settings import EngineSettings, read_settings
from localprompt.engine.team import Team
from localprompt.engine.tuning import Trial, Tuned, find_difference, tuned
from localprompt.errors import ConfigError, ContextOverflow, ModelError, WorkerDied
from localprompt.hub import files as models
from localprompt.interface.arguments import checked
from localprompt.lm.base import ModelFacts
from localprompt.lm.rendered import Rendered, spans_of
from localprompt.types import EngineStats, Generation, Loglikelihood, Message, Sampling

_SEED_BITS = 2**64 - 1
"""What the engine uses of a seed."""


class LocalModel(AbstractContextManager["LocalModel"]):
    """One GGUF file, loaded in a worker process; a context manager. See `LanguageModel` for the contract.

    It belongs to the process that loaded it: in a forked child each call raises ModelError. One call at a time: a
    second one from another thread raises ModelError and harms nothing.

    A request that kills every worker is found, and the call raises `RequestsDied` with the answers of the others.

    Args:
        model: the file; or its header, where `validate` has said yes to it already.
        settings: how it is loaded and batched.
        name: for people; the file's stem by default.
        vocabulary_only: load no weights; see `vocabulary`.
    """

    def __init__(
        self, model: Path | GGUFHeader, settings: EngineSettings, name: str = "", *, vocabulary_only: bool = False
    ) -> None:
        self.path = model.path if isinstance(model, GGUFHeader) else model
        self.name = name or self.path.stem
        self.settings = settings
        self.on_progress: Callable[[int, int], None] = lambda *_: None
        """Called during `loglikelihood` and `generate` with (requests done, requests in all)."""
        self.trials: tuple[Trial, ...] = ()
        """What the open choices gave when they were measured: those that were taken, and the others."""
        kind = Team if settings.n_engines > 1 and not vocabulary_only else EngineProcess
        self._engine = kind(model, settings, vocabulary_only=vocabulary_only)

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        """Refuse: a worker process cannot be handed on.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"the loaded model {self.name} cannot be pickled", "call load_model in each process")

    def close(self) -> None:
        """End the worker process; whatever asks this model afterwards, or while it goes, gets a ModelError.

        A forked child ends nothing: the worker is its parent's.
        """
        self._engine.close()

    def vocabulary(self) -> LocalModel:
        """Return the same model without its weights, in a process of its own: it tokenises and renders, nothing else.

        It takes a hundred megabytes where the model takes gigabytes. It does not know how long a context may be.
        """
        return LocalModel(self._engine.header, self.settings, self.name, vocabulary_only=True)

    @property
    def engine(self) -> EngineProcess:
        """The engine, for whoever asks it more than a `LanguageModel` answers; one call at a time, here too."""
        return self._engine

    @property
    def pid(self) -> int:
        """Process id of the engine."""
        return self._engine.pid

    @property
    def stats(self) -> EngineStats:
        """Cumulative work, over restarts of the worker too."""
        return self._engine.stats

    @cached_property
    def facts(self) -> ModelFacts:
        """What the model is. Its identity: `file`, `llama_cpp`, and fields of `EngineSettings`; the file is read."""
        build = importlib.metadata.version("llama-cpp-python")
        chat = {"thinking": self.thinking} if self.thinking else {}
        where = {"gpus": [each for _, each in self.on_gpus["devices"]]} if self.on_gpus else {}
        identity = {"file": content_hash(self.path), "llama_cpp": build, **self.settings.numerics(), **where, **chat}
        fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        return ModelFacts(self.name, fingerprint, self.n_ctx, self.has_chat, self.has_fim, True, identity)

    @property
    def fingerprint(self) -> str:
        """Hash of the file's content, the llama.cpp build and the settings that change numbers."""
        return self.facts.fingerprint

    @property
    def n_ctx(self) -> int:
        """Most tokens of one request: the KV cells, or what the model was trained for if that is less."""
        return min(self.settings.n_ctx, int(self._engine.info["n_ctx_train"]))

    @property
    def n_vocab(self) -> int:
        """Number of tokens in the vocabulary."""
        return int(self._engine.info["n_vocab"])

    @cached_property
    def pieces(self) -> tuple[Sequence[bytes], Mapping[int, str], frozenset[int]]:
        """What each token adds to a text, the names of those that add nothing, and the tokens that end a text."""
        pieces, names, ends = self._engine.call("pieces")
        return pieces, dict(names), frozenset(ends)

    @property
    def has_chat(self) -> bool:
        """True if the file carries a chat template with which messages can be written, and all of what they say."""
        return bool(self._engine.info["chat_template"]) and not self._engine.info["chat"]["problem"]

    @property
    def thinking(self) -> str:
        """What is done so that a chat's answer comes before any thought; empty for models that do not reason.

        It is a part of the identity in `facts`.
        """
        return str(self._engine.info["chat"].get("thinking", ""))

    @property
    def on_gpus(self) -> dict[str, Any]:
        """What llama.cpp has put on GPUs, of each engine as many layers; empty if nothing is. See `LoadLog.facts`."""
        each: list[dict[str, Any]] = [engine.info.get("on_gpus", {}) for engine in self._engine.members]
        if not all(each):
            return {}
        devices = [device for found in each for device in found["devices"]]
        held = {name: size for found in each for name, size in found["mebibytes"].items()}
        return {**each[0], "devices": devices, "mebibytes": held}

    @cached_property
    def doubts(self) -> tuple[str, ...]:
        """A sentence for each thing in the file that makes answers worse than the model's own; empty if there is none.

        A chat template that cannot be used is among them: what can be asked in plain text then is.
        """
        problem = self._engine.info["chat"]["problem"]
        without = (f"{problem}; so prompts are asked of this model in plain text, not in a chat",) if problem else ()
        try:
            faults = find_faults(self._engine.header, {**self._engine.call("writing"), "special": self.special_tokens})
        except WorkerDied:
            faults = ("the engine dies over blank space or the marks of the chat template: bytes have no token",)
        return (*without, *faults)

    @property
    def has_fim(self) -> bool:
        """True if the vocabulary has the fill-in-the-middle tokens for prefix and suffix."""
        return {"fim_pre", "fim_suf"} <= set(self.special_tokens)

    @property
    def special_tokens(self) -> dict[str, tuple[int, str]]:
        """Id and text of the tokens `bos`, `eos`, `fim_pre`, `fim_suf` and `fim_mid`, as far as there are any."""
        return {name: (token, text) for name, (token, text) in self._engine.info["special"].items()}

    @checked
    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, with BOS where the model wants one."""
        result: list[list[int]] = self._encoded("encode", [[str(text), spans_of(text)] for text in texts])
        return result

    @checked
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, same order and length as `texts`."""
        return [len(tokens) for tokens in self.tokenize(texts)]

    @checked
    def chat(self, messages: Sequence[Message], opening: str = "") -> Rendered:
        """Return the text of a chat up to the assistant's answer, which begins with `opening`.

        A base model gets the messages as plain text, a blank line between them.

        Raises:
            ConfigError: for a message that is no `Message`, such as a dict.
            ModelError: if the template refuses the messages, or leaves out or changes what they say.
        """
        turns = [[message.role, message.content] for message in messages]
        self._engine.check_usable()
        facts = self._engine.info["chat"]
        if facts["problem"]:
            raise ModelError(facts["problem"], facts["hint"])
        if not self.has_chat:
            return Rendered("".join(f"{content}\n\n" for _, content in turns), ()) + opening
        ((text, spans),) = self._engine.call("chat", requests=[turns])
        return Rendered(text, spans) + opening

    @checked
    def fim(self, prefix: str, suffix: str) -> Rendered:
        """Return a fill-in-the-middle prompt: prefix-suffix-middle, or suffix-prefix for models without a middle token.

        Raises:
            ModelError: if the vocabulary has no fill-in-the-middle tokens.
        """
        if not self.has_fim:
            raise ModelError(f"{self.name} has no fill-in-the-middle tokens", "use another mode, such as forward")
        pre, suf, mid = (self.special_tokens.get(f"fim_{name}", (0, ""))[1] for name in ("pre", "suf", "mid"))
        text, spans = "", []
        for mark, behind in [(pre, prefix), (suf, suffix), (mid, "")] if mid else [(suf, suffix), (pre, prefix)]:
            spans.append((len(text), len(text) + len(mark)))
            text += mark + behind
        return Rendered(text, spans)

    @checked
    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Return the log-likelihood of each continuation after its context; see `LanguageModel`."""
        wanted = [[str(context), str(continuation), spans_of(context)] for context, continuation in pairs]
        encoded = self._encoded("encode_pairs", wanted)
        for number, (tokens, _) in enumerate(encoded):
            self._check_length(number, len(tokens), 0, pairs[number][0])
        return self._engine.map("score", encoded, self.on_progress, lambda each: Loglikelihood(*each))

    @checked
    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """Return one completion per prompt; see `LanguageModel`.

        Raises:
            ConfigError: if the grammar does not compile, before anything is computed.
        """
        return self.generate_drafted(prompts, sampling, seeds, [()] * len(prompts))

    @checked
    def generate_drafted(
        self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int], drafts: Sequence[Sequence[str]]
    ) -> list[Generation]:
        """Return what `generate` does, sooner where completions turn out as one of their drafts says.

        Args:
            prompts: as in `generate`.
            sampling: as in `generate`.
            seeds: as in `generate`.
            drafts: for each prompt, texts that its completion may be, the likeliest first. They are checked against
                what is drawn and change it only as another batch does.

        Raises:
            ConfigError: if the grammar does not compile, before anything is computed.
        """
        if not len(prompts) == len(seeds) == len(drafts):
            counts = f"{len(prompts)} prompts with {len(seeds)} seeds and drafts for {len(drafts)}"
            raise ConfigError(counts, "give each prompt a seed and a list of drafts")
        encoded = [tokens or [self._engine.info["start_token"]] for tokens in self.tokenize(prompts)]
        for number, tokens in enumerate(encoded):
            self._check_length(number, len(tokens), sampling.max_tokens, prompts[number])
        guesses = self._draft_tokens(drafts)
        requests = [[t, asdict(sampling), s & _SEED_BITS, g] for t, s, g in zip(encoded, seeds, guesses, strict=True)]
        return self._engine.map("generate", requests, self.on_progress, lambda each: Generation(*each))

    @checked
    def prefill_rate(self, n_tokens: int = 512) -> float:
        """Return tokens per second of decoding one fresh sequence: what `llama-bench` calls pp512."""
        return float(self._engine.call("prefill_rate", n_tokens=n_tokens))

    @checked
    def generation_rate(self, n_tokens: int = 128) -> float:
        """Return tokens per second of one fresh sequence, one token a decode: what `llama-bench` calls tg128."""
        return float(self._engine.call("generation_rate", n_tokens=n_tokens))

    def find_difference(self) -> str:
        """Return why scores are not exact, though the settings say so; "" if they are."""
        return find_difference(self._engine, content_hash(self.path))

    def _encoded(self, op: str, texts: Sequence[Any]) -> list[Any]:
        try:
            return self._engine.map(op, texts)
        except RequestsDied as died:  # tokens answer nobody's question
            raise died.over([None] * len(texts), died.killers) from None

    def _draft_tokens(self, drafts: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """Return the tokens of drafts, without BOS; of none where some of them kill the tokeniser."""
        texts = list(dict.fromkeys(text for of_prompt in drafts for text in of_prompt))
        if not texts:
            return [[] for _ in drafts]
        bos, _ = self.special_tokens.get("bos", (None, ""))
        try:
            found = dict(zip(texts, self.tokenize(texts), strict=True))
        except RequestsDied:
            return [[] for _ in drafts]
        return [[[token for token in found[text] if token != bos] for text in of_prompt] for of_prompt in drafts]

    def _check_length(self, number: int, n_prompt: int, n_new: int, text: str) -> None:
        if n_prompt + n_new > self.n_ctx:
            asked = f"{n_prompt} tokens" + (f" and {n_new} to generate" if n_new else "")
            raise ContextOverflow(
                f"request {number} ({text[:40]!r}...) has {asked}, the context has {self.n_ctx}",
                "shorten it, or raise n_ctx if the model was trained for more",
            )


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file; of a split model, the hash of the hashes of its parts."""
    hashes = [models.identity(part) for part in files_of(path)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


@checked
def load_model(name_or_path: str | Path, /, *, tune: bool = True, **settings: Any) -> LocalModel:
    """Return a loaded model, by card name (pulled if missing), as another program has it, or by a GGUF file's path.

    What is pulled is logged to the logger `localprompt`: `logging.basicConfig(level=logging.INFO)` shows it.

    Args:
        name_or_path: such as `qwen2.5-coder-1.5b-instruct`, `ollama:qwen2.5:7b` or `./my.gguf`.
        tune: measure the fastest settings once for this model on this machine (seconds; remembered).
        settings: fields of `EngineSettings`; what is given here is not measured.

    Raises:
        ConfigError: for an unknown setting or model name, with the nearest known one.
        ModelError: if the file is missing, malformed or cannot be loaded, or if it is to be exact and its scores are
            not.
    """
    chosen = read_settings(settings)
    path = models.resolve(name_or_path)
    header = validate(path)  # nothing native reads a file before this says yes
    check_build()
    chosen = fitted(header, chosen, frozenset(settings), visible())
    choice = tuned(path, content_hash(path), chosen, frozenset(settings)) if tune else Tuned(chosen)
    name = path.stem if models.file_at(name_or_path) else str(name_or_path)
    lm = LocalModel(header, choice.settings, name)
    lm.trials = choice.trials
    return _proved(lm)


def _proved(lm: LocalModel) -> LocalModel:
    """Return a model that is loaded, closed again if it is to be exact and is not."""
    try:
        if lm.settings.exact and (difference := lm.find_difference()):
            raise ModelError(
                f"{lm.name} has no exact scores on this machine: {difference}",
                "leave exact out; the noise of scores is measured then",
            )
    except BaseException:
        lm.close()
        raise
    return lm


def load_vocabulary(name_or_path: str | Path) -> LocalModel:
    """Return a model without its weights, by card name (pulled if missing) or by path; see `LocalModel.vocabulary`.

    Raises:
        ConfigError: for an unknown model name, with the nearest known one.
        ModelError: if the file is missing or malformed.
    """
    path = models.resolve(name_or_path)
    name = path.stem if models.file_at(name_or_path) else str(name_or_path)
    return LocalModel(path, EngineSettings(), name, vocabulary_only=True)
