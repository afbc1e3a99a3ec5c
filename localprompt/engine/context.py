"""Sequences of tokens that a model has read, and decode calls that extend them. Level 2, imported by the worker alone.

llama.cpp aborts the process on ordinary mistakes, so every precondition is checked here before the call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import llama_cpp as C  # noqa: N812 - C as in the C API
import numpy as np
from numpy.typing import NDArray

from localprompt.engine.cells import Cells
from localprompt.engine.plan import Copy, Drop, PlannedBatch
from localprompt.engine.prefixes import Prefixes
from localprompt.engine.radix import RadixTree
from localprompt.engine.settings import LEAST_EXACT_ROWS, EngineSettings
from localprompt.engine.shared_walk import TRUNK, Reuse
from localprompt.errors import ModelError
from localprompt.types import EngineStats

_DECODE_HINTS = {1: "the KV cache is too small for this request: raise n_ctx", -2: "not enough memory: lower n_ctx"}


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a context."""

    n_ctx: int
    """Cells in all."""
    n_seq_max: int
    """Sequences; also the most rows with logits in one decode call."""
    has_streams: bool = False
    """The cells are dealt out to the sequences, equally many each; else all may use all."""

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return self.n_ctx // self.n_seq_max if self.has_streams else self.n_ctx


class Next(NamedTuple):
    """A token that is decoded next: one that a completion has drawn, or a guess what follows it."""

    id: int
    token: int
    position: int


class _Row(NamedTuple):
    token: int
    position: int
    sharers: tuple[int, int]
    """It belongs to `ids[first : first + count]` of the call."""
    output: bool


class Context:
    """What a model has read in one memory of llama.cpp's.

    Attributes:
        stats: rows, rows with logits and calls so far.
        copies_whole: nothing but a whole sequence can be copied, and no row can belong to two.
        prefixes: what is kept from call to call; `Engine` says how much.
        has_windows: some layers look back only so far.
        joins_neighbours: rows of several sequences are computed together where their ids follow one another.

    Raises:
        ModelError: if llama.cpp cannot make it.
    """

    def __init__(self, model: Any, n_vocab: int, settings: EngineSettings, shape: Shape) -> None:
        self.shape = shape
        self.settings = settings
        self.stats = EngineStats()
        self.copies_whole = self.joins_neighbours = shape.has_streams
        self.has_windows = C.llama_model_n_swa(model) > 0
        self._n_vocab = n_vocab
        self._context = _make_context(model, settings, shape)
        self._memory = C.llama_get_memory(self._context)
        self._batch = _Batch(settings.n_ubatch, shape.n_seq_max)
        self.prefixes = Prefixes((), 0)
        self._cells = Cells()
        self._filler = shape.n_seq_max - 1
        self._n_written = 0

    def close(self) -> None:
        """Give the memory back."""
        C.llama_free(self._context)

    # Sequences

    @property
    def ids(self) -> Sequence[int]:
        """Sequence ids for whoever uses the context; in exact mode it uses the last two itself."""
        every = range(self.shape.n_seq_max - 2 * self.settings.exact)
        kept = set(self.prefixes.ids)
        return [i for i in every if i not in kept] if kept else every

    @property
    def n_free(self) -> int:
        """Cells that are free; in exact mode those that are until the next `clear`, since dropping frees none."""
        return self.most_free - (self._n_written if self.settings.exact else self._cells.n_taken)

    @property
    def most_free(self) -> int:
        """Cells that are free after `clear`."""
        return self.shape.n_ctx - (LEAST_EXACT_ROWS if self.settings.exact else 0)

    @property
    def holders(self) -> Sequence[int]:
        """Ids that hold the trunk of a walk where cells are shared; see `SharedWalk`."""
        return (TRUNK, TRUNK + 1) if self.has_windows and len(self.ids) > 2 else (TRUNK,)

    @property
    def truncates(self) -> bool:
        """True if the end of a sequence can be forgotten; no states, and no windows that would have moved on."""
        return not self.has_windows and (self.shape.has_streams or not self.copies_whole)

    def held_by(self, sequences: Collection[int]) -> int:
        """Return how many cells these sequences hold."""
        return self._cells.held_by(sequences)

    def clear(self, but: Collection[int] = ()) -> None:
        """Forget all sequences but those named."""
        self.prefixes.forget()
        if but:
            self.apply([Drop(sequence) for sequence in range(self.shape.n_seq_max) if sequence not in but])
            return
        C.llama_memory_clear(self._memory, False)
        self._n_written = 0
        self._cells.clear()

    def drop(self, sequence: int) -> None:
        """Forget one sequence.

        In exact mode its cells stay taken: numbers depend on the order in which the cells of a sequence lie, and
        llama.cpp would fill the gaps with later tokens of others.
        """
        if self.settings.exact and sequence != self._filler:
            C.llama_memory_seq_cp(self._memory, self._checked(sequence), self.shape.n_seq_max - 2, -1, -1)
        C.llama_memory_seq_rm(self._memory, self._checked(sequence), -1, -1)
        self._cells.drop(sequence)

    def truncate(self, sequence: int, length: int) -> None:
        """Forget what a sequence has beyond so many tokens; in exact mode its cells stay taken, as in `drop`."""
        if not self.truncates:
            raise ValueError("only whole sequences can be forgotten")
        if self.settings.exact:
            C.llama_memory_seq_cp(self._memory, self._checked(sequence), self.shape.n_seq_max - 2, length, -1)
        C.llama_memory_seq_rm(self._memory, self._checked(sequence), length, -1)
        self._cells.truncate(sequence, length)

    def apply(self, steps: Sequence[Copy | Drop]) -> None:
        """Copy and forget sequences, in this order. Where cells are shared no data moves."""
        for step in steps:
            if isinstance(step, Drop):
                self.drop(step.sequence)
                continue
            if step.length is not None and self.copies_whole:  # llama.cpp would abort, or copy all the same
                raise ValueError("only whole sequences can be copied")
            part = (-1, -1) if step.length is None else (0, step.length)
            C.llama_memory_seq_cp(self._memory, self._checked(step.source), self._checked(step.target), *part)
            self._cells.copy(step.source, step.target, step.length)

    def reuse(
        self, tree: RadixTree, contexts: Sequence[int], wanted: Sequence[Collection[int]], longest: int
    ) -> Reuse | None:
        """Return what a walk has of earlier ones and leaves to later ones; None where nothing is kept.

        Args:
            tree: what is walked.
            contexts: for each sequence, how much of it is context.
            wanted: for each sequence, the positions that it owns whose logits are needed.
            longest: cells that a single sequence may take in the end.
        """
        if not self.prefixes.ids:
            return None
        reuse, gone = self.prefixes.plan(tree, contexts, wanted, self.shape.n_ctx - longest)
        self.apply(gone)
        self.stats += EngineStats(tokens_reused=sum(kept.length - tree.shared[i] for i, kept in reuse.known.items()))
        return reuse

    def can_truncate(self) -> bool:
        """Try whether the end of a sequence can be forgotten; the context is empty afterwards."""
        self._decode([_Row(0, 0, (0, 1), False), _Row(0, 1, (0, 1), True)], [0])
        answer = bool(C.llama_memory_seq_rm(self._memory, 0, 1, -1))
        self.clear()
        self.stats = EngineStats()  # nobody asked for this
        return answer

    def _checked(self, sequence: int) -> int:
        if not 0 <= sequence < self.shape.n_seq_max:  # llama.cpp would abort
            raise ValueError(f"sequence id {sequence} outside 0..{self.shape.n_seq_max - 1}")
        return sequence

    # Decoding

    def run(self, batch: PlannedBatch | None, lanes: Sequence[Next] = ()) -> list[NDArray[np.float32]]:
        """Return the logits of the lanes' tokens and then of `batch.outputs`, valid until the next call.

        A lane may have several tokens, in their order.

        What comes before the batch is done first; what comes after it is not done: see `apply`.

        Raises:
            ModelError: if llama.cpp refuses the batch or fails in it; all sequences are then forgotten.
        """
        ids = list(dict.fromkeys(lane.id for lane in lanes))
        place = {sequence: k for k, sequence in enumerate(ids)}
        rows = [_Row(lane.token, lane.position, (place[lane.id], 1), True) for lane in lanes]
        if batch is not None:
            self.apply(batch.before)
            rows += [_Row(row.token, row.position, (len(ids) + row.first, row.count), row.output) for row in batch.rows]
            ids += batch.ids
        if self.copies_whole and self.has_windows:
            return self._run_apart(rows, ids, len(lanes))
        if not self.joins_neighbours:
            return list(self._filled(rows, ids))
        order = sorted(range(len(rows)), key=lambda k: ids[rows[k].sharers[0]])
        logits = self._filled([rows[k] for k in order], ids)
        at = {k: row for row, k in enumerate(k for k in order if rows[k].output)}
        return [logits[at[k]] for k, row in enumerate(rows) if row.output]

    def _run_apart(self, rows: list[_Row], ids: list[int], n_lanes: int) -> list[NDArray[np.float32]]:
        """Decode the lanes together and each other sequence in a call of its own.

        Where llama.cpp itself cuts a call into sequences of equal length, and layers have windows, planning the later
        parts makes it forget cells that the earlier ones look at: `llama_kv_cache::prepare` restores the cells that it
        wrote, not those that it purged.
        """
        found: list[NDArray[np.float32]] = []
        for _, part in groupby(range(len(rows)), key=lambda k: k >= n_lanes and rows[k].sharers):
            found += list(self._filled([rows[k] for k in part], ids).copy())
        return found

    def _filled(self, rows: list[_Row], ids: list[int]) -> NDArray[np.float32]:
        """Decode; in exact mode with further rows, and rows with logits where there are some, up to the fewest."""
        n_outputs, missing = sum(row.output for row in rows), LEAST_EXACT_ROWS - len(rows)
        enough = missing <= 0 and (n_outputs == 0 or n_outputs >= LEAST_EXACT_ROWS)
        if not rows or not self.settings.exact or enough:
            return self._decode(rows, ids)
        filler = [_Row(0, position, (len(ids), 1), False) for position in range(missing)]
        every = rows + filler
        spare = [k for k, row in enumerate(every) if not row.output][: max(0, LEAST_EXACT_ROWS - n_outputs)]
        flagged = [row._replace(output=row.output or k in spare) for k, row in enumerate(every)]
        logits = self._decode(flagged, [*ids, self._filler] if filler else ids)
        self._n_written -= len(filler)
        if filler:
            self.drop(self._filler)
        wanted = [row.output for row, given in zip(every, flagged, strict=True) if given.output]
        found: NDArray[np.float32] = logits[wanted]
        return found

    def _decode(self, rows: list[_Row], ids: list[int]) -> NDArray[np.float32]:
        """Return the logits of the rows that have any, shape (n_outputs, n_vocab), valid until the next call."""
        n_outputs = sum(row.output for row in rows)
        if not rows:
            return np.empty((0, self._n_vocab), np.float32)
        if len(rows) > self.settings.n_ubatch or n_outputs > self.shape.n_seq_max:
            raise ValueError(f"a batch of {len(rows)} rows with {n_outputs} outputs")
        code = C.llama_decode(self._context, self._batch.fill(rows, ids))
        if code != 0:
            self.clear()
            raise ModelError(
                f"llama.cpp failed to decode a batch of {len(rows)} rows (code {code})", _DECODE_HINTS.get(code, "")
            )
        self._n_written += len(rows)
        for (first, count), together in groupby(rows, key=lambda row: row.sharers):
            self._cells.extend(ids[first : first + count], sum(1 for _ in together))
        self.stats += EngineStats(tokens_decoded=len(rows), output_rows=n_outputs, decode_calls=1)
        if n_outputs == 0:
            return np.empty((0, self._n_vocab), np.float32)
        logits = np.ctypeslib.as_array(C.llama_get_logits(self._context), shape=(n_outputs, self._n_vocab))
        if np.isnan(logits[:, 0]).any():  # what is no number in a layer makes a whole row so
            self.clear()
            raise ModelError(
                "the model computes what is no number", "its file is damaged, or numbers overflow: use another"
            )
        return logits


class _Batch:
    """A llama_batch over numpy buffers, so that filling it is a few array copies.

    The ids of a row's sequences are neighbours in the list of lanes, so each row's pointer goes into that one list.
    """

    def __init__(self, capacity: int, n_ids: int) -> None:
        self._token = np.empty(capacity, np.int32)
        self._position = np.empty(capacity, np.int32)
        self._count = np.empty(capacity, np.int32)
        self._pointer = np.empty(capacity, np.uintp)
        self._output = np.empty(capacity, np.int8)
        self._ids = np.empty(n_ids, np.int32)
        self._struct = C.llama_batch(
            n_tokens=0,
            token=self._token.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            embd=None,
            pos=self._position.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            n_seq_id=self._count.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._pointer.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=self._output.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, rows: Sequence[_Row], ids: Sequence[int]) -> C.llama_batch:
        n = len(rows)
        self._token[:n] = [row.token for row in rows]
        self._position[:n] = [row.position for row in rows]
        firsts, self._count[:n] = np.asarray([row.sharers for row in rows], np.int64).T
        self._pointer[:n] = self._ids.ctypes.data + 4 * firsts
        self._output[:n] = [row.output for row in rows]
        self._ids[: len(ids)] = ids
        self._struct.n_tokens = n
        return self._struct


def _make_context(model: Any, settings: EngineSettings, shape: Shape) -> Any:
    params = C.llama_context_default_params()
    params.n_ctx = shape.n_ctx
    params.n_batch = params.n_ubatch = settings.n_ubatch
    params.n_seq_max = params.n_outputs_max = shape.n_seq_max
    params.n_threads = params.n_threads_batch = settings.n_threads
    params.type_k = params.type_v = {"f32": C.GGML_TYPE_F32, "f16": C.GGML_TYPE_F16, "q8_0": C.GGML_TYPE_Q8_0}[
        settings.kv_type
    ]
    if settings.flash_attn is not None:
        on, off = C.LLAMA_FLASH_ATTN_TYPE_ENABLED, C.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.flash_attn_type = on if settings.flash_attn else off
    params.kv_unified = not shape.has_streams  # in one buffer a row may serve many sequences, and sharing moves no data
    params.swa_full = True  # a sliding-window cache would forget the tail behind a parked prefix
    params.no_perf = True
    context = C.llama_init_from_model(model, params)
    if not context:
        raise ModelError(f"llama.cpp cannot make a context of {shape.n_ctx} cells", "not enough memory? lower n_ctx")
    return context
