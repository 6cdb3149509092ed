"""What a failure may say where others read it: nothing of a path or a name, however it came about."""

from __future__ import annotations

import stat
import traceback

import pytest

from artifacts.discreet import Unexpected, discreet, interrupted
from artifacts.errors import InputError

SECRET = "/archive/DOE^JANE/1950"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOUNSFIELD_HOME", str(tmp_path))
    monkeypatch.delenv("HOUNSFIELD_DEBUG", raising=False)
    return tmp_path


def told(e: BaseException) -> str:
    """What a logger writes of it, and what a state's message holds."""
    return "".join(traceback.format_exception(e)) + repr(e)


def test_an_unexpected_error_is_one_line_and_its_words_stay_here(home):
    with pytest.raises(Unexpected) as caught, discreet():
        raise FileNotFoundError(2, "No such file", SECRET)
    said = told(caught.value)
    assert "DOE" not in said
    assert caught.value.exit_code == 1
    assert str(caught.value).startswith("unexpected FileNotFoundError; details in $HOUNSFIELD_HOME/private/failures/")
    (kept,) = (home / "private" / "failures").iterdir()
    assert kept.name in str(caught.value)
    assert SECRET in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_an_expected_error_comes_without_those_behind_it():
    with pytest.raises(InputError, match="cannot be read") as caught, discreet():
        raise InputError("the scan cannot be read", private=SECRET) from OSError(5, "Input/output error", SECRET)
    assert "DOE" not in told(caught.value)
    assert caught.value.private == SECRET


def test_debugging_shows_everything(monkeypatch):
    monkeypatch.setenv("HOUNSFIELD_DEBUG", "1")
    with pytest.raises(ValueError, match="DOE"), discreet():
        raise ValueError(SECRET)


def test_no_room_for_the_details_is_said(home):
    (home / "private").write_text("")
    with pytest.raises(Unexpected, match="details could not be kept"), discreet():
        raise ValueError(SECRET)


def test_an_error_that_ctrl_c_led_to_is_ctrl_c(home):
    """Prefect, interrupted between two tasks, sets the state of a run that it does not have yet."""
    stumbled = ValueError("Task run is not set")
    stumbled.__context__ = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), discreet():
        raise stumbled
    assert not (home / "private").exists()


def test_errors_that_go_round_in_a_circle_are_walked_once():
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert not interrupted(first)
