"""Runs that died: killed outright, or with their machine, they say nothing, and Prefect would show them as Running for ever."""

from __future__ import annotations

from datetime import timedelta

from artifacts.errors import ServerError

NAME = "hounsfield: a run that died"
SILENT_S = 600.0  # a run says that it lives every 180 s, if not asked otherwise (PREFECT_FLOWS_HEARTBEAT_FREQUENCY)
ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended")


def say_died(api_url: str, silent_s: float = SILENT_S) -> None:
    """Make the automation that says Crashed of a run that was silent for so long. One that is there is left as it is.

    Raises ServerError.
    """
    from prefect.client.orchestration import get_client
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import StateType

    beat = "prefect.flow-run.heartbeat"
    trigger = EventTrigger(
        after={beat},
        expect={beat, *(f"prefect.flow-run.{end}" for end in ENDS)},
        match={"prefect.resource.id": ["prefect.flow-run.*"]},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=silent_s),
    )
    said = f"it died: nothing was heard of it for {silent_s:g} s"
    about = "A run of which nothing was heard is said to have crashed. Pause this automation to leave such runs as they are."
    made = AutomationCore(
        name=NAME, description=about, trigger=trigger, actions=[ChangeFlowRunState(state=StateType.CRASHED, message=said)]
    )
    try:
        with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
            if not client.read_automations_by_name(NAME):
                client.create_automation(made)
    except Exception as e:
        raise ServerError(
            f"the automation '{NAME}' could not be made ({type(e).__name__}): is the server at {api_url} up?"
        ) from e
