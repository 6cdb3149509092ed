"""GPU slots: one global concurrency limit a GPU on the Prefect server, so that no two jobs meet on a card."""

from __future__ import annotations

from artifacts.errors import ServerError
from tasks.stage import slot_name


def gpus_here() -> int:
    """CUDA devices of this machine."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def make_slots(api_url: str, count: int | None = None) -> list[str]:
    """One slot, held by one job at a time, for each GPU of this machine; their names. Raises ServerError.

    What is there already is put right. ``HOUNSFIELD_GPUS`` begins the names, so that machines do not share slots.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    names = [slot_name(f"cuda:{n}") for n in range(gpus_here() if count is None else count)]
    if not names:
        return []
    try:
        with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
            for name in names:
                client.upsert_global_concurrency_limit_by_name(name, 1)
    except Exception as e:
        raise ServerError(f"the GPU slots could not be made ({type(e).__name__}): is the Prefect server at {api_url} up?") from e
    return names
