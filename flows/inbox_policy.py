"""What the inbox does with each series that lies there: wait, screen, leave out, refuse, or nothing. Decides, runs nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from artifacts.errors import HounsfieldError
from artifacts.ledger import Entry
from tasks.reading.choose import KernelWish, choose_series
from tasks.reading.found import FoundSeries
from tasks.reading.header_index import HeaderIndex, Look, Seen

SETTLED = ("done", "failed", "refused", "left out")
FIRST_RETRY_S, LAST_RETRY_S = 600.0, 86_400.0  # a failed scan is tried again after 10 minutes, then 20, 40 …, at most a day


@dataclass(frozen=True)
class Policy:
    """series, kernel, partial: as ``choose_series`` takes them. quiet_s: how long nobody may have touched the files of a study.

    settings  digest of what a scan is screened with: a refused one gets another chance where it changed
    """

    series: str = "best"
    kernel: KernelWish = "any"
    partial: bool = False
    quiet_s: float = 60.0
    settings: str = ""


@dataclass(frozen=True)
class Due:
    """A scan to be screened now; ``found`` is None for an archive, whose series nobody knows before it is opened."""

    entry: Entry
    seen: Seen
    found: FoundSeries | None


@dataclass
class Decided:
    """written: rows that changed; due: names to screen, in the order of their names; dropped: names that were only waiting."""

    written: list[Entry]
    due: list[str]
    dropped: list[str]


def decide(look: Look, known: dict[str, Entry], index: HeaderIndex, policy: Policy, now: float) -> Decided:
    """What is to be done with everything that ``look`` saw. ``now``: seconds since 1970, by a clock that may jump."""
    rows = {name: _noticed(known.get(name), seen, policy, now) for name, seen in look.seen.items()}
    for members in studies_of(look).values():
        if all(_at_rest(rows[s.name], policy, now) for s in members):
            continue
        restless = [s for s in members if not quiet(rows[s.name], s, policy, now)]
        if restless:
            _wait(rows, members, len(restless), policy)
        else:
            _sort_out(rows, members, index, policy, now)
    here = rows.keys() | look.elsewhere  # a look over one inbox says nothing of another
    gone = [e for name, e in known.items() if name not in here and e.state not in ("done", "gone")]
    dropped = [e.name for e in gone if e.state in ("waiting", "due", "running", "left out")]
    lost = [replace(e, state="gone", why="its files are no longer there") for e in gone if e.name not in dropped]
    written = [e for name, e in rows.items() if e != known.get(name)] + lost
    return Decided(written, sorted(e.name for e in rows.values() if e.state == "due"), dropped)


def studies_of(look: Look) -> dict[str, list[Seen]]:
    """What lies there by study."""
    studies: dict[str, list[Seen]] = defaultdict(list)
    for seen in look.seen.values():
        studies[seen.study].append(seen)
    return studies


def _noticed(entry: Entry | None, seen: Seen, policy: Policy, now: float) -> Entry:
    """The row as it stands after a look: a changed series starts anew."""
    if entry is None:
        return Entry(seen.name, seen.study, "waiting", "new", mark=seen.mark, first_seen=now, quiet_since=now)
    if entry.state == "gone" or entry.mark != seen.mark:
        anew = replace(entry, mark=seen.mark, quiet_since=now, study=seen.study, tries=0, due_at=0.0)
        return replace(anew, state="waiting", why="its files changed")
    if entry.state == "running":  # the run that had it in hand has died
        return replace(entry, state="failed", why="the run that screened it ended in the middle", due_at=_again_at(entry, now))
    return replace(entry, quiet_since=min(entry.quiet_since, now))  # a clock that was set back


def _again_at(entry: Entry, now: float) -> float:
    """A run may die of anything; a scan that was in hand twice when it did is suspect, and waits like a failed one."""
    return now if entry.tries < 2 else now + retry_after_s(entry.tries)


def retry_after_s(tries: int) -> float:
    """Back-off after so many tries that failed."""
    return min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(tries - 1, 20))


def quiet(entry: Entry, seen: Seen, policy: Policy, now: float) -> bool:
    """Whether nobody has touched the files for long enough: by the disk's clock or by ours, whichever jumps."""
    return max(now - entry.quiet_since, now - seen.changed_ns / 1e9) >= policy.quiet_s


def _at_rest(entry: Entry, policy: Policy, now: float) -> bool:
    """Nothing to do before something changes, or its time has come."""
    if entry.state == "failed":
        return now < entry.due_at <= now + LAST_RETRY_S
    if entry.state in ("refused", "left out"):
        return entry.settings == policy.settings
    return entry.state == "done"


def _wait(rows: dict[str, Entry], members: list[Seen], restless: int, policy: Policy) -> None:
    many = len(members) > 1
    why = f"{restless} of {len(members)} series of the study are still arriving" if many else "its files are still arriving"
    for s in members:
        if rows[s.name].state == "waiting":
            rows[s.name] = replace(rows[s.name], why=f"{why}: {policy.quiet_s:.0f} s without a change are awaited")


def _sort_out(rows: dict[str, Entry], members: list[Seen], index: HeaderIndex, policy: Policy, now: float) -> None:
    """The series policy on one study whose files have all arrived."""

    def settle(name: str, state: str, why: str = "", choice: str = "") -> None:
        row = rows[name]
        if state == "due" and (row.state == "done" or (row.state in ("failed", "refused") and _at_rest(row, policy, now))):
            return
        row = replace(row, state=state, why=why, choice=choice or row.choice, settings=policy.settings)
        rows[name] = replace(row, finished_at=now) if state == "refused" else row

    for s in members:
        if s.kind == "archive":
            settle(s.name, "due", choice="an archive: its series are looked at when it is opened")
        elif s.kind == "broken":
            claim = "files claim" if s.files > 1 else "file claims"
            settle(s.name, "refused", f"{s.files} {claim} to be DICOM, but none can be read")
    found = _found(index, (s for s in members if s.kind == "series"))
    if not found:
        return
    try:
        chosen = {
            f.uid: reason for f, reason in choose_series(found, policy.series, kernel=policy.kernel, partial=policy.partial)
        }
    except HounsfieldError as e:
        for f in found:
            settle(f.uid, "refused", f.why_not or str(e))
        return
    for f in found:
        if f.uid in chosen:
            settle(f.uid, "due", choice=chosen[f.uid])
        elif rows[f.uid].state != "done":
            first, reason = next(iter(chosen.items()))
            why = None if f.eligible(policy.partial) else f.why_not
            settle(f.uid, "left out", why or f"another series of its study was chosen, {first}: {reason}")


def _found(index: HeaderIndex, members: Iterable[Seen]) -> list[FoundSeries]:
    return sorted((index.found(s) for s in members), key=lambda f: f.uid)


def in_hand(decided: Decided, rows: dict[str, Entry], look: Look, index: HeaderIndex) -> Iterator[Due]:
    """The due scans, one at a time: an archive of any size is never in memory at once."""
    for name in decided.due:
        seen = look.seen[name]
        try:
            yield Due(rows[name], seen, index.found(seen) if seen.kind == "series" else None)
        except HounsfieldError:
            continue  # it has gone since: the next look says so
