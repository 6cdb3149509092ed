"""`make audit` says what it could not check, and never calls that clean; it is no part of `make check`."""

import importlib.util

from tests.conftest import ROOT

spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
assert spec
assert spec.loader
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)

CLEAN = {"name": "click", "version": "8.5.1", "vulns": []}
BAD = {"name": "old", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "absl-py", "skip_reason": "Dependency not found on PyPI and could not be audited: absl-py (2.5.1)"}


def test_clean_vulnerable_and_not_checked():
    assert audit.verdict([CLEAN]) == (["audit: 1 of 1 pins checked, 0 with known vulnerabilities"], 0)
    lines, code = audit.verdict([CLEAN, BAD, UNKNOWN])
    assert code == 1
    assert lines[0] == "old 1.0: CVE-1, fixed in 1.1"
    assert "2 of 3 pins checked, 1 with" in lines[1]
    assert "not checked: absl-py" in lines[2]
    assert audit.verdict([CLEAN, UNKNOWN])[1] == audit.verdict([])[1] == 2


def test_a_registry_that_does_not_answer(tmp_path, capsys):
    silent = tmp_path / "pip-audit"
    silent.write_text("#!/bin/sh\necho 'ConnectionError: no route' >&2\nexit 1\n")
    silent.chmod(0o755)
    assert audit.main(str(silent), "constraints.txt") == 2
    assert capsys.readouterr().out == "audit: nothing could be checked, the registry does not answer: ConnectionError: no route\n"


def test_no_part_of_make_check():
    rules = (ROOT / "Makefile").read_text().split("\n\n")
    assert not any("audit" in rule for rule in rules if rule.startswith(("check:", "test:")))
