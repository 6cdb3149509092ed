"""Room: a disk that is too small for a scan is said before its run starts, not in its middle."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Any

from artifacts.errors import StoreError
from flows.nodule_line import nodule_line
from flows.units import size_text
from tasks.line import Line, Plan, Step
from tasks.reading.found import FoundSeries

BYTES_A_VOXEL = {"load": 2, "segment": 1}  # before compression: Hounsfield units, heat map; all else is small beside them
MARGIN = 64 * 10**6  # the rest of the line, previews, manifests, the private index


def bytes_needed(found: FoundSeries, steps: Iterable[Step]) -> int:
    """At most what the stages that would run write, from the series' headers alone; 0 where everything is reused."""
    running = {s.stage for s in steps if s.action == "run"}
    a_voxel = sum(size for stage, size in BYTES_A_VOXEL.items() if stage in running)
    return found.n_slices * found.rows * found.columns * a_voxel + (MARGIN if running else 0)


def check_room(line: Line, scan: Any) -> None:
    """Raises StoreError where the store's disk has less free than ``line`` may write for ``scan``."""
    found = getattr(scan, "found", None)  # what comes out of the store has no headers, and is there
    if found is None or getattr(scan, "refused", None):  # what cannot be read says so itself
        return
    plan = Plan(line.store, line.scan, line.checkpoints, line.params, line.precision, line.refresh)
    nodule_line(plan, scan, line.checkpoints, scan.choice)
    needed, free = bytes_needed(found, plan.steps), shutil.disk_usage(line.store.root).free
    if needed > free:
        raise StoreError(
            f"the disk of the store has {size_text(free)} free, and this scan may need {size_text(needed)}: "
            "`hounsfield gc` makes room, or choose another place with --store"
        )
