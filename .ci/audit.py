"""Known vulnerabilities among the pinned dependencies: `make audit`. Says of which pins nobody could be asked.

python .ci/audit.py PIP_AUDIT CONSTRAINTS      exit code 0 clean, 1 vulnerable, 2 not everything could be checked
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def verdict(dependencies: list[dict[str, Any]]) -> tuple[list[str], int]:
    """Lines for people and the exit code, of what pip-audit found."""
    skipped = [d["name"] for d in dependencies if "skip_reason" in d]
    bad = [d for d in dependencies if d.get("vulns")]
    lines = [
        f"{d['name']} {d['version']}: {v['id']}, fixed in {', '.join(v['fix_versions']) or 'no version yet'}"
        for d in bad
        for v in d["vulns"]
    ]
    checked = len(dependencies) - len(skipped)
    lines.append(f"audit: {checked} of {len(dependencies)} pins checked, {len(bad)} with known vulnerabilities")
    if skipped:
        named = ", ".join(skipped[:8]) + (f" and {len(skipped) - 8} more" if len(skipped) > 8 else "")
        lines.append(
            f"audit: not checked: {named}: the registry at hand tells nothing of them; run it where PyPI itself is reached"
        )
    return lines, 1 if bad else 2 if skipped or not dependencies else 0


def main(pip_audit: str, constraints: str) -> int:
    asked = [pip_audit, "-r", constraints, "--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"audit: nothing could be checked, the registry does not answer: {why}")
        return 2
    lines, code = verdict(dependencies)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
