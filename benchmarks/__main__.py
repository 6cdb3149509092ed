"""Run every benchmark and print the README's table; ``--write`` puts it into the README between its markers."""

from __future__ import annotations

import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("load", "outline_group", "segment", "crops", "screen", "memory", "froc", "training", "gpu")
README = Path(__file__).parents[1] / "README.md"


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| what | ours | peer | ratio | to reach | n | |", "|---|---|---|---|---|---|---|"]
    for r in rows:
        theirs = f"{r['theirs_s']:.2f} s" if r["theirs_s"] else ""
        ratio = f"**{r['ratio']:.1f}x**" if r["ratio"] else ""
        ours = f"{r['ours_s']:.3g} s" if r["ours_s"] is not None else ""
        lines.append(f"| {r['what']} | {ours} | {theirs} | {ratio} | {r.get('reach', '')} | {r['n']} | {r['note']} |")
    return "\n".join(lines)


def hardware() -> str:
    import torch

    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*:\s*(.+)", flags)
    amx = "with AMX" if "amx_tile" in flags else "no AMX"
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    cpu = f"{name[1] if name else platform.processor()} ({amx}), {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}"
    return f"{cpu}, {card}; {versions}"


def main() -> None:
    wanted = [a for a in sys.argv[1:] if not a.startswith("-")] or list(NAMES)
    rows: list[dict[str, Any]] = []
    for name in wanted:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows += import_module(f"benchmarks.{name}").run()
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    text = (
        f"Measured {when} by `make bench` on {hardware()}. Medians; ratios are taken side by side in one run.\n\n{table(rows)}\n"
    )
    print(text)
    if "--write" in sys.argv:
        kept = README.read_text()
        README.write_text(re.sub(r"(<!-- bench -->\n).*?(<!-- /bench -->)", lambda m: m[1] + text + m[2], kept, flags=re.S))


if __name__ == "__main__":
    main()
