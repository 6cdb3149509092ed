"""The stage ``compare``: two screenings of one scan, finding by finding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from artifacts.comparison import Change, Comparison, Side
from artifacts.findings import Finding, Findings
from artifacts.volume import Volume
from tasks.stage import Params, stage

FAR = 1e6  # mm; a pair that is none


class CompareParams(Params):
    """When two findings are one, and when it changed."""

    match_mm: float = Field(
        8.0,
        ge=1,
        le=50,
        title="Match within",
        description="Centers nearer than this, or than the larger radius, are one finding, mm",
    )
    moved_mm: float = Field(
        2.0, ge=0, le=50, title="Moved by", description="A center that lies further off than this has moved, mm"
    )
    shift: float = Field(
        0.05,
        ge=0,
        le=1,
        title="Shift",
        description="A probability that differs by more than this has shifted; so has one that crosses the network's threshold",
    )
    differs: SkipJsonSchema[tuple[str, ...] | None] = Field(None, description="What the two screenings did differently")


@stage("compare", version=1, params=CompareParams)
def compare(volume: Volume, before: Findings, after: Findings, params: CompareParams = CompareParams()) -> Comparison:
    """Findings of two screenings of one scan -> what appeared, vanished, moved, whose probabilities shifted.

    Pairs are those of the least sum of distances (Kuhn, 1955) among all pairs that lie near enough. ``volume``: on whose
    grid the pictures are drawn.
    """
    pairs = matched(before.findings, after.findings, params.match_mm)
    changes = [_changed(before.findings[i], after.findings[k], after, params) for i, k in pairs]
    ours, theirs = {i for i, _ in pairs}, {k for _, k in pairs}
    changes += [Change(_side(f), None, ("vanished",), None) for i, f in enumerate(before.findings) if i not in ours]
    changes += [Change(None, _side(f), ("appeared",), None) for k, f in enumerate(after.findings) if k not in theirs]
    return Comparison(sorted(changes, key=_importance), params.differs or ())


def matched(before: Sequence[Finding], after: Sequence[Finding], match_mm: float) -> list[tuple[int, int]]:
    """Indices of findings that are one, each used once."""
    from scipy.optimize import linear_sum_assignment

    if not before or not after:
        return []
    a, b = (np.array([f.center_lps_mm for f in found]) for found in (before, after))
    radii = np.maximum.outer([f.diameter_mm / 2 for f in before], [f.diameter_mm / 2 for f in after])
    distance = np.linalg.norm(a[:, None] - b[None], axis=2)
    near = distance <= np.maximum(radii, match_mm)
    rows, columns = linear_sum_assignment(np.where(near, distance, FAR))
    return [(int(i), int(k)) for i, k in zip(rows, columns, strict=True) if near[i, k]]


def _changed(before: Finding, after: Finding, later: Findings, params: CompareParams) -> Change:
    distance = float(np.linalg.norm(np.subtract(before.center_lps_mm, after.center_lps_mm)))
    shifted = _shifted(before.p_nodule, after.p_nodule, params.shift, later.nodule_threshold) or _shifted(
        before.p_malignant, after.p_malignant, params.shift, later.malignant_threshold
    )
    what = [name for name, is_so in (("moved", distance > params.moved_mm), ("shifted", shifted)) if is_so]
    return Change(_side(before), _side(after), tuple(what), distance)


def _shifted(before: float | None, after: float | None, least: float, yes_above: float) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(before - after) > least or (before > yes_above) != (after > yes_above)


def _side(f: Finding) -> Side:
    return Side(f.rank, f.label, f.center_lps_mm, f.diameter_mm, f.p_nodule, f.p_malignant)


def _importance(c: Change) -> tuple[int, float]:
    """Found by one alone first, then what moved or shifted, then the rest; the more probable first."""
    first = 0 if None in (c.before, c.after) else 1 if c.what else 2
    return first, -max(s.p_nodule for s in (c.before, c.after) if s)
