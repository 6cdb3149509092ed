"""What a stage is: a pure function with a name, a version, parameters, and what it makes.

``@stage`` leaves the function as it was written (``group(volume, lung_mask, heat_map)`` is plain Python on in-memory
artifacts); what it adds is the declaration. Binding to the store and to Prefect is done here too, late, so that a stage's
file imports and its function runs on a host that has neither.
"""

from __future__ import annotations

import inspect
import os
import sys
import time
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from artifacts.artifact import Artifact
from artifacts.checkpoint import Role
from artifacts.discreet import discreet
from artifacts.errors import ServerError

Progress = Callable[[float], None]  # told the share done, 0..1


def silent(_share: float) -> None:
    """The progress of a caller who does not look."""


Tell = Callable[[Mapping[str, Any]], None]  # told what is measured while it runs: one mapping an epoch


def unheard(_metrics: Mapping[str, Any]) -> None:
    """The ``tell`` of a caller who does not look."""


@dataclass(frozen=True)
class Compute:
    """How a network is trained on this machine. Of all this only a precision other than float32 is part of a key.

    device     auto (CUDA where there is one), cpu, cuda or cuda:N
    devices    how many; more than one needs a ``strategy``: ddp
    precision  of the arithmetic; weights stay float32
    """

    device: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"


class Params(BaseModel):
    """Base of every stage's parameters: unknown names are errors, values do not change.

    What is None the flow may fill in, from the card of a network; a ``SkipJsonSchema`` field is the flow's alone and stands in
    no form.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, eq=False)
class Stage:
    """A declared stage. Calling it calls the plain function."""

    name: str
    version: int
    function: Callable[..., Any]
    params: type[Params]
    network: Role | None = None
    gpu: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self.function)

    @cached_property
    def inputs(self) -> dict[str, type[Artifact]]:
        """Argument name -> artifact type, in the function's order; of a ``Sequence[Artifact]`` the artifact's."""
        names = inspect.signature(self.function).parameters
        types = {n: _one_of_many(self._hints.get(n)) for n in names}
        return {n: t for n, t in types.items() if hasattr(t, "kind")}

    @cached_property
    def produces(self) -> type[Artifact]:
        return self._hints["return"]

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """Names of the parameters that people choose, as in the form; the others are filled in by the flow."""
        return tuple(self.params.model_json_schema().get("properties", {}))

    def wants(self, argument: str) -> bool:
        return argument in inspect.signature(self.function).parameters


def stage(
    name: str, *, version: int, params: type[Params], network: Role | None = None, gpu: bool = False
) -> Callable[[Callable[..., Any]], Stage]:
    """Declare a stage. ``version`` rises whenever the same inputs would give another output.

    The function's arguments: its input artifacts by name (``Sequence[Artifact]`` where it takes many: opened one at a time,
    as they are asked for; ``Artifact | None`` where it may go without); ``params``; and, where it names them,

    network    the ``tasks.nets.Network`` of the stage's role
    progress   a ``Progress``
    tell       a ``Tell``: live metrics
    lineage    ancestor manifests as dicts
    workspace  a private folder that outlives a kill, one a recipe; gone when the artifact is committed
    compute    a ``Compute``
    """

    def declare(function: Callable[..., Any]) -> Stage:
        return Stage(name, version, function, params, network, gpu)

    return declare


def _one_of_many(hint: Any) -> Any:
    """The artifact of a ``Sequence[Artifact]``, or of an ``Artifact | None``."""
    many = typing.get_origin(hint) is Sequence or type(None) in typing.get_args(hint)
    return typing.get_args(hint)[0] if many else hint


# -- bound to Prefect, late --------------------------------------------------------------------------------------------------


RETRY_AFTER_S = (1.0, 5.0)
SLOT_LEASE_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """What a stage came to: its artifact, and whether it had to be made."""

    kind: str
    digest: str
    reused: bool
    headline: str  # for the state's message and the progress line
    markdown: str  # the preview, with the lineage


def inside_prefect() -> bool:
    """Whether this code runs in a flow that Prefect's engine started."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def as_task(name: str, inputs: dict[str, str], work: Callable[[], Outcome]) -> Outcome:
    """Run ``work`` as a Prefect task: always runs (the store decides), shows the preview, says ``Reused`` where it was.

    Prefect's own result cache is off. An exception of ``work`` comes out without anything private (``artifacts.discreet``); one
    that may pass (a busy disk) only after it was tried again.
    """
    from prefect import task
    from prefect.cache_policies import NO_CACHE
    from prefect.states import Completed

    from artifacts.publish import publish

    outcomes: list[Outcome] = []

    @task(
        name=name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(RETRY_AFTER_S),
        retry_delay_seconds=list(RETRY_AFTER_S),
        retry_condition_fn=lambda task, run, state: passes(state.result(raise_on_failure=False)),
    )
    def run(inputs: dict[str, str]) -> Any:
        with discreet():
            outcome = work()
        outcomes.append(outcome)
        publish(outcome.kind, outcome.digest, outcome.markdown, f"{name}: {outcome.headline}")
        return Completed(name="Reused" if outcome.reused else "Completed", message=outcome.headline)

    run(inputs, return_state=True).result()
    return outcomes[0]


@contextmanager
def gpu_slot(device: str) -> Iterator[None]:
    """The slot of a GPU on the Prefect server: one job at a time, whatever machine or worker starts it. Nothing outside Prefect.

    ``HOUNSFIELD_GPUS`` (default ``gpu``) begins the names of this machine's slots: ``gpu-0``. Raises ServerError where the server
    has no such slot: the set-up makes them. A holder that was killed loses its slot within ``SLOT_LEASE_S``.
    """
    if not inside_prefect() or not has_server():
        yield
        return
    from prefect.concurrency.sync import concurrency

    with ExitStack() as held:
        name = slot_name(device)
        try:
            held.enter_context(concurrency(name, strict=True, lease_duration=SLOT_LEASE_S))
        except Exception as e:
            again = "`hounsfield slots` makes it" if "strict" in str(e) or "does not exist" in str(e) else "is the server up?"
            raise ServerError(f"no slot {name} could be had from the Prefect server: {again}", passing="is the" in again) from e
        yield


def slot_name(device: str) -> str:
    """``gpu-0`` of ``cuda`` and ``cuda:0``."""
    return f"{os.environ.get('HOUNSFIELD_GPUS', 'gpu')}-{device.partition(':')[2] or 0}"


def has_server() -> bool:
    """Whether Prefect talks to a server of its own rather than one embedded in this process."""
    from prefect.settings import PREFECT_API_URL

    return bool(PREFECT_API_URL.value())


def passes(failure: Any) -> bool:
    """Whether trying again in a moment may help: a busy disk, never a bad scan."""
    return bool(getattr(failure, "passing", False))


def patiently(work: Callable[[], Outcome]) -> Outcome:
    """``work``, tried again as ``as_task`` does, without Prefect."""
    for wait_s in RETRY_AFTER_S:
        try:
            return work()
        except Exception as e:
            if not passes(e):
                raise
            time.sleep(wait_s)
    return work()


def live_table(name: str) -> Tell:
    """A ``tell`` that keeps one table on the Prefect run's page: a row a call, the last ones shown."""
    from artifacts.publish import LiveTable

    return LiveTable(name).add
