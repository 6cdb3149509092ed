"""A Prefect server that does not answer, or speaks another version, is one clear line: of whatever command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from artifacts.errors import HounsfieldError, ServerError

AWAY = ("Prefect API", "Failed to reach API", "Retry handling ended")  # what Prefect's RuntimeErrors say
CLIENTS = ("httpx", "httpcore", "websockets")


@contextmanager
def answered() -> Iterator[None]:
    """Raises ServerError for what Prefect's client raises."""
    try:
        yield
    except HounsfieldError:
        raise
    except Exception as e:
        text = str(e)
        if "incompatible versions" in text:
            raise ServerError(f"the Prefect server is of another version than this environment: {text}") from e
        if any(words in text for words in AWAY) or type(e).__module__.partition(".")[0] in CLIENTS:
            raise ServerError("the Prefect server did not answer: start it, unset PREFECT_API_URL, or use --direct") from e
        raise
