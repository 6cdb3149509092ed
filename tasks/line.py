"""The line: where stages meet the store. The store decides, Prefect shows.

A flow is written once, as calls ``line(stage, name=ref, …) -> ref``. Given a ``Line`` it runs, given a ``Plan`` it only says
what would run and because of what.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from artifacts.artifact import Artifact
from artifacts.checkpoint import Checkpoint, Role
from artifacts.errors import UsageError
from artifacts.machine_lock import machine_lock
from artifacts.manifest import Manifest
from artifacts.preview_markdown import escaped, preview_markdown
from artifacts.recipe import Recipe
from artifacts.store import Ref, Store, Unreadable
from artifacts.version import code_version, software
from tasks.settings import with_settings
from tasks.stage import Compute, Outcome, Params, Stage, Tell, as_task, gpu_slot, inside_prefect, live_table, patiently, silent

if TYPE_CHECKING:
    from tasks.nets.network import Precision

LABELS = 50  # inputs named on a task's page, of thousands perhaps
UNKNOWN = "unknown"  # digest of a scan whose files nobody has read yet


class Source(Protocol):
    """What enters the line from outside the store: it knows its digest and how to be opened."""

    digest: str

    def open(self) -> Any: ...


class Watcher(Protocol):
    """Who looks at the line while it runs: a terminal, a log."""

    def started(self, stage: str) -> None: ...
    def progress(self, share: float) -> None: ...
    def finished(self, stage: str, ref: Ref, outcome: Outcome, seconds: float) -> None: ...


@dataclass
class _Settled:
    """What is settled before any key is taken."""

    store: Store
    scan: str  # digest of the scan the line works on
    checkpoints: Mapping[Role, Checkpoint] = field(default_factory=dict)
    params: Mapping[str, Params] = field(default_factory=dict)  # stage name -> parameters; absent: the defaults
    precision: Precision = "float32"
    refresh: frozenset[str] = frozenset()  # stages to run again even where their artifact is whole
    compute: Compute = field(default_factory=Compute, kw_only=True)  # of trainings

    def recipe(self, stage: Stage, given: Mapping[str, Any]) -> Recipe:
        """The recipe of ``stage`` on ``given``: refs and sources are inputs, anything else fills in a parameter that is None."""
        inputs, fillings = _one_by_one(given), _fillings(given)
        checkpoint = self.checkpoints[stage.network] if stage.network else None
        return Recipe(
            stage=stage.name,
            version=stage.version,
            params=self.settled_params(stage, fillings).model_dump(mode="json"),
            inputs={n: v.digest for n, v in inputs.items()},
            weights=checkpoint.digest if checkpoint else None,
            precision=self.precision_of(stage),
        )

    def precision_of(self, stage: Stage) -> str | None:
        """Of the stage's arithmetic, as far as it decides what comes out; a training without one is in float32."""
        if stage.network:
            return self.precision
        return self.compute.precision if stage.wants("compute") and self.compute.precision != "float32" else None

    def ref(self, stage: Stage, given: Mapping[str, Any]) -> Ref:
        """Of the artifact of ``stage`` on ``given``, made or not."""
        return self.store.ref(stage.produces.kind, self.recipe(stage, given).digest)

    def settled_params(self, stage: Stage, fillings: Mapping[str, Any]) -> Params:
        """What was chosen, else the defaults; ``fillings`` take the place of what is None."""
        params = self.params.get(stage.name) or stage.params()
        return params.model_copy(update={n: v for n, v in fillings.items() if getattr(params, n) is None})

    def because(self, slot: str, ref: Ref, recipe: Recipe, state: str) -> str | None:
        """Why the stage must run; None where its artifact can be reused."""
        if slot in self.refresh or recipe.stage in self.refresh:
            return "asked: refresh"
        if state == "whole":
            return None
        if state.startswith("damaged"):
            return state
        last = self.store.last_recipe(self.scan, slot)
        if last is None:
            return "missing: never made of this input"
        return "missing: it was removed" if last.digest == recipe.digest else recipe.changed_since(last)


@dataclass
class Line(_Settled):
    """Runs stages: takes the key, reuses or computes, shows."""

    device: str = "cpu"
    watcher: Watcher | None = None
    slot: Callable[[str], AbstractContextManager[None]] | None = None  # of a GPU, by device; None: the Prefect server's
    _steps: dict[str, tuple[Stage, str, Mapping[str, Any]]] = field(default_factory=dict)  # digest -> how it was made

    def __call__(self, stage: Stage, *, slot: str | None = None, **given: Any) -> Ref:
        """The artifact of ``stage`` on ``given``, made only where it is not there whole."""
        slot = slot or stage.name
        recipe = self.recipe(stage, given)
        ref = self.store.ref(stage.produces.kind, recipe.digest)
        self._steps[ref.digest] = (stage, slot, given)
        one_by_one = _one_by_one(given).items()
        labels = {n: str(v) if isinstance(v, Ref) else f"scan:{v.digest[:12]}" for n, v in list(one_by_one)[:LABELS]}

        def work() -> Outcome:
            return self._reuse_or_make(stage, slot, ref, recipe, given)

        started = time.perf_counter()
        if self.watcher:
            self.watcher.started(slot)
        outcome = as_task(slot, labels, work) if inside_prefect() else patiently(work)
        if self.watcher:
            self.watcher.finished(slot, ref, outcome, time.perf_counter() - started)
        return ref

    def _reuse_or_make(self, stage: Stage, slot: str, ref: Ref, recipe: Recipe, given: Mapping[str, Any]) -> Outcome:
        self.store.use(ref, *(v for v in _one_by_one(given).values() if isinstance(v, Ref)))
        with self.store.lock(ref.digest):
            because = self.because(slot, ref, recipe, self.store.verify(ref))
            if because is None:
                manifest = self.store.manifest(ref)
            else:
                manifest = self._make_mending(stage, ref, recipe, given)
        self.store.note_recipe(self.scan, slot, recipe)
        return Outcome(ref.kind, ref.digest, because is None, self._headline(manifest, because), self._markdown(ref, manifest))

    def _make_mending(self, stage: Stage, ref: Ref, recipe: Recipe, given: Mapping[str, Any]) -> Manifest:
        """Like ``_make``; an input that is whole and still cannot be read is made again first, where this line knows how."""
        while True:
            try:
                return self._make(stage, ref, recipe, given)
            except Unreadable as e:
                step = self._steps.pop(e.ref.digest, None)  # once each
                if step is None or e.ref == ref:
                    raise
                self._make_again(e.ref, *step)

    def _make_again(self, ref: Ref, stage: Stage, slot: str, given: Mapping[str, Any]) -> None:
        started = time.perf_counter()
        with self.store.lock(ref.digest):
            manifest = self._make_mending(stage, ref, self.recipe(stage, given), given)
        if self.watcher:
            headline = self._headline(manifest, "damaged: it could not be read")
            outcome = Outcome(ref.kind, ref.digest, False, headline, "")
            self.watcher.finished(slot, ref, outcome, time.perf_counter() - started)

    def _make(self, stage: Stage, ref: Ref, recipe: Recipe, given: Mapping[str, Any]) -> Manifest:
        started = time.perf_counter()
        fillings = _fillings(given)
        inputs = {n: self._opened(stage, n, v) for n, v in given.items() if n not in fillings}
        parents = {n: f"{v.kind}:{v.digest}" for n, v in _one_by_one(given).items() if isinstance(v, Ref)}
        extra: dict[str, Any] = {"params": self.settled_params(stage, fillings)}
        checkpoint = self.checkpoints[stage.network] if stage.network else None
        if checkpoint:
            from tasks.nets.network import load_network

            extra["network"] = load_network(checkpoint, self.device, self.precision)
        if stage.wants("progress"):
            extra["progress"] = self.watcher.progress if self.watcher else silent
        if stage.wants("tell"):
            extra["tell"] = self._tell(stage.name)
        if stage.wants("lineage"):
            extra["lineage"] = self._lineage(parents)
        if stage.wants("compute"):
            extra["compute"] = self.compute
        if stage.wants("workspace"):
            extra["workspace"] = self.store.workspace(ref)
        with self._one_gpu_job(stage):
            artifact = stage(**inputs, **extra)
        made = self.store.put(
            ref,
            artifact,
            preview_markdown(artifact.preview(inputs)),
            recipe=recipe,
            scan=self.scan,
            parents=parents,
            summary=artifact.summary(),
            weights=about_weights(checkpoint),
            seconds=round(time.perf_counter() - started, 3),
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            made_by=code_version(),
            software=software(),
        )
        self.store.clear_workspace(ref)
        return made

    def _opened(self, stage: Stage, name: str, given: Any) -> Any:
        if isinstance(given, Sequence):
            return Opened(self.store, given, stage.inputs[name])
        if not isinstance(given, Ref):
            return given.open()
        return self.store.open(given, stage.inputs[name])

    def _tell(self, name: str) -> Tell:
        """To the terminal or the log, and to a table on the run's page."""
        heard = [getattr(self.watcher, "tell", None), live_table(name) if inside_prefect() else None]

        def tell(metrics: Mapping[str, Any]) -> None:
            for hear in heard:
                if hear:
                    hear(metrics)

        return tell

    @contextmanager
    def _one_gpu_job(self, stage: Stage) -> Iterator[None]:
        """One on a card, whichever store it works for: the server's slot where there is one, then a lock of this machine.

        Both are given back when the process ends, however it ends.
        """
        if not stage.gpu or self.device == "cpu":
            yield
            return
        from tasks.nets.network import card_name

        with (self.slot or gpu_slot)(self.device), machine_lock(card_name(self.device)):
            yield

    def _lineage(self, parents: Mapping[str, str]) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for parent in parents.values():
            for m in self.store.lineage(self.store.ref(*parent.split(":"))):
                found[m.digest] = lineage_step(m)
        return list(found.values())

    def _headline(self, manifest: Manifest, because: str | None) -> str:
        return summary_line(manifest.summary) + (f" ({because})" if because else "")

    def _markdown(self, ref: Ref, manifest: Manifest) -> str:
        preview = (ref.path / "preview.md").read_text(encoding="utf-8")
        parents = list(manifest.parents.items())
        rows = [f"| {name} | `{parent[: parent.index(':') + 13]}` |" for name, parent in parents[:LABELS]]
        if len(parents) > LABELS:
            rows.append(f"| … | {len(parents)} in all |")
        r = manifest.recipe
        params = ", ".join(f"{k} = {escaped(v)}" for k, v in r.params.items()) or "none"
        made = f"`{ref}` by **{r.stage}** version {r.version} in {manifest.seconds:.2f} s, code {manifest.made_by}"
        weights = f"\n\nWeights: {escaped(manifest.weights['name'])} ({manifest.weights['role']})" if manifest.weights else ""
        table = "\n".join(["| made of | |", "|---|---|", *rows]) if rows else ""
        return f"{preview}\n\n### Lineage\n\n{made}{weights}\n\nParameters: {params}\n\n{table}\n"


@dataclass(frozen=True)
class Opened(Sequence[Any]):
    """Many artifacts of a kind, each read when it is asked for and not kept."""

    store: Store
    refs: Sequence[Ref]
    artifact: type[Artifact]

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, k: Any) -> Any:
        if isinstance(k, slice):
            return Opened(self.store, self.refs[k], self.artifact)
        return self.store.read(self.refs[k], self.artifact)


def _one_by_one(given: Mapping[str, Any]) -> dict[str, Any]:
    """Refs and sources by name; those of a sequence as ``name.0``, ``name.1``, …"""
    flat: dict[str, Any] = {}
    for name, value in given.items():
        if hasattr(value, "digest"):
            flat[name] = value
        elif _many(value):
            flat |= {f"{name}.{k}": ref for k, ref in enumerate(value)}
    return flat


def _fillings(given: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in given.items() if not (hasattr(v, "digest") or _many(v))}


def _many(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, Ref) for v in value)


@dataclass(frozen=True)
class Step:
    """What a plan says of one stage."""

    stage: str
    ref: Ref
    action: str  # reuse, run
    because: str


@dataclass
class Plan(_Settled):
    """Says what would run; looks at names and sizes only, computes nothing."""

    steps: list[Step] = field(default_factory=list)

    def __call__(self, stage: Stage, *, slot: str | None = None, **given: Any) -> Ref:
        slot = slot or stage.name
        if any(v.digest == UNKNOWN for v in _one_by_one(given).values()):
            ref = self.store.ref(stage.produces.kind, UNKNOWN)
            self.steps.append(Step(slot, ref, "run", "input: files not read before; reading them decides"))
            return ref
        recipe = self.recipe(stage, given)
        ref = self.store.ref(stage.produces.kind, recipe.digest)
        because = self.because(slot, ref, recipe, self.store.state(ref))
        self.steps.append(Step(slot, ref, "run" if because else "reuse", because or "same recipe, whole"))
        return ref


def summary_line(summary: Mapping[str, Any]) -> str:
    """``shape 99x512x512, mean 0.4914 0.4822 0.4465, qc_warnings 1``"""

    def text(value: Any) -> str:
        if not isinstance(value, list | tuple):
            return str(value)
        return (" " if any(isinstance(v, float) for v in value) else "x").join(f"{v:g}" for v in value)

    return ", ".join(f"{name.replace('_', ' ')} {text(value)}" for name, value in summary.items())


def about_weights(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    if checkpoint is None:
        return None
    card = checkpoint.card
    return {
        "name": checkpoint.path.parent.name,  # the set's
        "role": card.role,
        "digest": checkpoint.digest,
        "architecture": card.architecture,
        "licence": card.licence,
        "source": card.source,
        "training": card.training,
    }


def lineage_step(m: Manifest) -> dict[str, Any]:
    """What a report tells of one ancestor."""
    return {
        "stage": m.recipe.stage,
        "kind": m.kind,
        "digest": m.digest,
        "version": m.recipe.version,
        "params": m.recipe.params,
        "parents": m.parents,
        "weights": m.weights,
        "precision": m.recipe.precision,
        "seconds": m.seconds,
        "software": m.software,
        "made_by": m.made_by,
    }


def parse_params(stages: Mapping[str, Stage], settings: list[str]) -> dict[str, Params]:
    """``["group.threshold=0.4", …]`` to validated parameters by stage; UsageError says what was allowed."""
    chosen: dict[str, dict[str, str]] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        stage_name, dot, field_name = name.partition(".")
        if not (equals and dot) or stage_name not in stages:
            raise UsageError(f"'{text}' is not STAGE.PARAMETER=VALUE with one of the stages {', '.join(stages)}")
        chosen.setdefault(stage_name, {})[field_name] = value
    return {n: with_settings(stages[n].params, values, n, stages[n].choices) for n, values in chosen.items()}


Runner = Callable[..., Ref]  # a Line or a Plan
