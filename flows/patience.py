"""A Prefect server that has gone: waited for while it may be starting again, then no longer.

At the end of a run Prefect's client would try to reach a dead server for a minute, and that for each of several requests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context

from artifacts.publish import server_there
from tasks.stage import has_server

AWAY_S = 45.0  # a server that starts again takes half a minute
LOOK_S = 3.0


class Patience:
    """How often Prefect's client tries again: as it is set; not at all while the server has been away for ``AWAY_S``."""

    def __init__(self) -> None:
        from prefect.settings import get_current_settings

        self.client = get_current_settings().client
        self.usual, self.away_s = self.client.max_retries, 0.0

    def look(self, there: bool, passed_s: float) -> None:
        """What a look at the server showed, ``passed_s`` after the one before."""
        self.away_s = 0.0 if there else self.away_s + passed_s
        self.client.max_retries = self.usual if self.away_s < AWAY_S else 0

    def watch(self, wait: Callable[[float], bool]) -> None:
        while not wait(LOOK_S):
            self.look(server_there(), LOOK_S)


@contextmanager
def patient() -> Iterator[None]:
    """Inside, a server that does not come back is given up after ``AWAY_S``. The embedded one lives as long as we do."""
    if not has_server():
        yield
        return
    patience, over = Patience(), threading.Event()
    args = (patience.watch, over.wait)
    watch = threading.Thread(target=copy_context().run, args=args, daemon=True, name="patience")  # with our settings
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join(LOOK_S * 2)
        patience.client.max_retries = patience.usual
