"""The runs of a study in the order of its searches, found again by the same call. Level 7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from localprompt.errors import StoreError
from localprompt.run.config import RunConfig
from localprompt.run.journal import enter_for_later
from localprompt.run.prepare import Prepared
from localprompt.run.results import CrossValidation, RunResult
from localprompt.run.resume import resume
from localprompt.run.spec import RunSpec
from localprompt.search.observer import Observer
from localprompt.store import Store
from localprompt.store.records import dumped, identity_hash

_LEAST_MINUTES = 0.01


class SearchStudy:
    """A study of the store that consists of searches, which are runs like others.

    Args:
        home: the store.
        kind: of study.
        whole: the record of what is asked for, before it is divided or sized: the same call has the same.
        facts: about the study, plain data.
        key: what else makes two studies the same.
    """

    def __init__(
        self, home: Store, kind: str, whole: RunConfig, facts: Mapping[str, object], key: Sequence[str] = ()
    ) -> None:
        self._home, self._kind, self._facts = home, kind, facts
        plain = whole.to_json()
        made_by = [whole.version, whole.search, whole.meta_prompts, *sorted(whole.fixed)]
        self._key = dumped([kind, identity_hash(plain), made_by, plain["task"]["name"], whole.use_cache, *key])
        study = home.studies.enter(kind, self._key, facts)
        self.id, self._runs = study.id, list(study.runs)
        self.result = study.result
        """What it found before; None until there is a result."""

    def known(self, number: int, spec: RunSpec, held_out: CrossValidation | None = None) -> str | None:
        """Return the id of the run of a search; None where there is none, or one that went on in another way."""
        if number >= len(self._runs):
            return None
        try:
            record = self._home.runs.get(self._runs[number])
            config = RunConfig.read(record.configuration)
        except StoreError:  # deleted or damaged: it is made again
            return None
        is_same = (
            not record.imported
            and not config.restarts
            and not config.test_seen
            and (record.status == "finished") == (record.result is not None)
            and config.identity.task == spec.task.fingerprint
            and config.limits.without_minutes() == spec.limits.without_minutes()
            and config.cross_validation == held_out
        )
        return record.id if is_same else None

    def entered(self, number: int, config: RunConfig) -> str:
        """Return the id of a new run, in the place of a search."""
        run_id = enter_for_later(self._home, config)
        if number < len(self._runs):
            self._home.studies.delete(self.id)
        self._runs[number : number + 1] = [run_id]
        self._home.studies.enter(self._kind, self._key, self._facts, self._runs)
        return run_id


def gone_on(home: Store, run_id: str, ready: Prepared, observer: Observer, minutes: float | None) -> RunResult:
    """Return the result of a run, which is carried out to its end if need be.

    Raises:
        LocalPromptError, KeyboardInterrupt: whatever ends the search; the run can be resumed.
    """
    record, models = home.runs.get(run_id), ready.models
    if record.status == "finished" and record.result is not None:
        observer.note(f"the run {run_id} is finished")
        return RunResult.from_json(record.result, home.path)
    return resume(
        run_id,
        model=models.lm,
        proposer=models.other,
        task=ready.spec.task,
        max_minutes=None if minutes is None else max(_LEAST_MINUTES, minutes),
        store=home,
        observer=observer,
    )
