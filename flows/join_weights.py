"""Make one weights set of parts of others: a segmenter, a grader, and a nodule classifier that is the mean of several.

    python -m flows.join_weights --segmenter A --nodule B --nodule A --malignancy C --out weights/D
    python -m flows.join_weights … --nodule B:0 --nodule A:1      # one member each of classifiers joined before
    python -m flows.join_weights … --segmenter E:0.35 --segmenter A:0.65      # between two segmenters

Classifiers that learnt apart err apart: their mean is more often right than each. They must look at the same crops. Segmenters of
which one learnt on from the other are averaged in their weights (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR
2022): one network, no slower, that has some of what was learnt and forgets less of what was known. What the
cards told of the old sets as a whole goes; ``python -m benchmarks.held_out --weights weights/D --settle 1`` measures the new one
and settles its threshold.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from artifacts.checkpoint import Card, Checkpoint, read_checkpoint, write_checkpoint
from artifacts.errors import HounsfieldError, WeightsError

Member = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]  # arguments of a resnet3d, its tensors, how it was trained


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument(
        "--segmenter", action="append", required=True, help="SET, or SET:SHARE of several whose weights are averaged"
    )
    parser.add_argument("--nodule", action="append", required=True, help="SET, or SET:N, one member of a pair (again for more)")
    parser.add_argument("--malignancy", type=Path, required=True, help="the set whose grader it is")
    parser.add_argument("--out", type=Path, required=True, help="the set to write")
    asked = parser.parse_args()
    try:
        join(asked.segmenter, asked.nodule, asked.malignancy, asked.out)
    except HounsfieldError as e:
        parser.error(str(e))
    print(f"written to {asked.out}: try `hounsfield screen PATH --weights {asked.out.name}`")


def join(segmenters: Sequence[str], nodules: Sequence[str], malignancy: Path, out: Path) -> None:
    """Write the set; everything is read before anything is written, so ``out`` may be one of the sets. Raises WeightsError."""
    grader = read_checkpoint(malignancy, "malignancy")
    parts = [averaged([share_called(text) for text in segmenters]), (grader.card, grader.tensors())]
    parts.append(joined([member for text in nodules for member in members_called(text)]))
    for card, tensors in parts:
        write_checkpoint(out, card.model_copy(update={"metrics": own_metrics(card)}), tensors)


def own_metrics(card: Card) -> dict[str, Any]:
    """What a card says of its network alone: not what the other networks of its set had a part in."""
    return {k: v for k, v in card.metrics.items() if k not in ("whole_line_test", "held_out")}


def share_called(text: str) -> tuple[Checkpoint, float]:
    """The segmenter of ``SET``, and the share of ``SET:SHARE``; 1 without one."""
    called = re.fullmatch(r"(.+):(\d*\.?\d+)", text)
    folder, share = called.groups() if called else (text, "1")
    return read_checkpoint(Path(folder), "segmenter"), float(share)


def averaged(ones: Sequence[tuple[Checkpoint, float]]) -> tuple[Card, dict[str, Any]]:
    """Card and tensors of the network whose weights are the mean of all, by their shares; the card is that of the first.

    WeightsError where they are not the same network looking at the same slices, or the shares do not sum to 1.
    """
    (first, share), *others = ones
    card, tensors = first.card, first.tensors()
    if abs(sum(s for _, s in ones) - 1) > 1e-6:
        raise WeightsError(f"the shares of the segmenters sum to {sum(s for _, s in ones):g}, not to 1: give SET:SHARE of each")
    if not others:
        return card, tensors
    for other, _ in others:
        if any(getattr(other.card, k) != getattr(card, k) for k in ("architecture", "arguments", "input")):
            raise WeightsError(f"'{card.name}' and '{other.card.name}' are not the same network: they cannot be averaged")
    mean = {k: v * share if v.dtype.kind == "f" else v for k, v in tensors.items()}
    for other, weight in others:
        mean |= {k: mean[k] + v * weight for k, v in other.tensors().items() if v.dtype.kind == "f"}
    mean = {k: v.astype(tensors[k].dtype) for k, v in mean.items()}
    parts = [(t, s * t.get("share_of_weights", 1)) for c, s in ones for t in trainings(c.card.training)]
    training = side_by_side([t | {"share_of_weights": s} for t, s in parts])
    return card.model_copy(update={"training": training, "metrics": {}}), mean


def members_called(text: str) -> list[tuple[Checkpoint, Member]]:
    """Of the nodule classifier of ``SET`` all members, of ``SET:N`` that one."""
    folder, colon, number = text.rpartition(":")
    if not (colon and number.isdecimal()):
        folder, number = text, ""
    checkpoint = read_checkpoint(Path(folder), "nodule")
    members = members_of(checkpoint)
    if number and int(number) >= len(members):
        raise WeightsError(f"the nodule classifier of {Path(folder).name} has {len(members)} members, counted from 0")
    return [(checkpoint, m) for m in ([members[int(number)]] if number else members)]


def members_of(checkpoint: Checkpoint) -> list[Member]:
    """The ``resnet3d`` networks in it, one or several."""
    card, tensors = checkpoint.card, checkpoint.tensors()
    if card.architecture == "resnet3d":
        return [(card.arguments, tensors, dict(card.training))]
    if card.architecture != "resnet3d-pair":
        raise WeightsError(f"'{card.name}' is a {card.architecture}: resnet3d classifiers can be joined")
    trained = trainings(card.training)
    members = []
    for k, arguments in enumerate(card.arguments["members"]):
        start = f"members.{k}."
        own = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
        members.append((arguments, own, trained[k] if k < len(trained) else {}))
    return members


def trainings(training: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How each member was trained, as a card says it: of the first, and ``beside`` it of the others."""
    own = {k: v for k, v in training.items() if k != "beside"}
    return [own, *trainings(training["beside"])] if "beside" in training else [own]


def side_by_side(ones: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What ``trainings`` takes apart."""
    return ones[0] | ({"beside": side_by_side(ones[1:])} if len(ones) > 1 else {})


def joined(ones: Iterable[tuple[Checkpoint, Member]]) -> tuple[Card, dict[str, Any]]:
    """Card and tensors (float32, as each had them) of the network that answers with the mean of all.

    WeightsError where they look at different crops.
    """
    ones = list(ones)
    card = ones[0][0].card
    for other, _ in ones[1:]:
        if other.card.input != card.input:
            raise WeightsError(f"'{card.name}' and '{other.card.name}' do not look at the same crops: they cannot be joined")
    if len(ones) == 1:
        arguments, tensors, training = ones[0][1]
        return card.model_copy(update={"architecture": "resnet3d", "arguments": arguments, "training": training}), tensors
    update = {
        "architecture": "resnet3d-pair",
        "arguments": {"members": [arguments for _, (arguments, _, _) in ones], "answer": "mean"},
        "training": side_by_side([training for _, (_, _, training) in ones]),
        "metrics": {},
        "temperature": 1.0,
    }
    tensors = {f"members.{k}.{name}": value for k, (_, (_, own, _)) in enumerate(ones) for name, value in own.items()}
    return card.model_copy(update=update), tensors


if __name__ == "__main__":
    main()
