"""A server that restarts is waited for; one that stays away is given up, and tried as before once it is back."""

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows import patience

HERE = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 5}


def tries(looks):
    """How often the client tries again after each look at the server."""
    seen = []
    waits = iter([*([False] * len(looks)), True])

    def wait(_seconds):
        seen.append(PREFECT_CLIENT_MAX_RETRIES.value())
        return next(waits)

    with pytest.MonkeyPatch.context() as patch:
        there = iter(looks)
        patch.setattr(patience, "server_there", lambda: next(there))
        patience.Patience().watch(wait)
    return seen[1:]


def test_a_restart_is_survived_and_a_server_that_is_gone_is_not_waited_for():
    most = int(patience.AWAY_S / patience.LOOK_S)
    with temporary_settings(HERE):
        assert tries([False] * (most - 1) + [True] * 2) == [5] * (most + 1)
        assert tries([False] * (most + 1) + [True]) == [5] * (most - 1) + [0, 0, 5]


def test_afterwards_everything_is_as_before(monkeypatch):
    with temporary_settings(HERE):
        monkeypatch.setattr(patience, "LOOK_S", 0.01)
        monkeypatch.setattr(patience, "AWAY_S", 0.01)
        with patience.patient():
            for _ in range(2000):
                if PREFECT_CLIENT_MAX_RETRIES.value() == 0:
                    break
                patience.threading.Event().wait(0.01)
            assert PREFECT_CLIENT_MAX_RETRIES.value() == 0
        assert PREFECT_CLIENT_MAX_RETRIES.value() == 5


def test_an_embedded_server_is_not_watched():
    with temporary_settings({PREFECT_API_URL: None}), patience.patient():
        assert not [t for t in patience.threading.enumerate() if t.name == "patience"]
