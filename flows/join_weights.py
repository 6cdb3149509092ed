"""Make one weights set of parts of others: a grader, and a segmenter and a nodule classifier that may be the mean of several.

    python -m flows.join_weights --segmenter A --nodule B --nodule A --malignancy C --out weights/D
    python -m flows.join_weights … --nodule B:0 --nodule A:1      # one member each of classifiers joined before
    python -m flows.join_weights … --segmenter A --segmenter E --threshold 0.4 --heat-weight 0.1      # both are asked
    python -m flows.join_weights … --segmenter E:0.35 --segmenter A:0.65      # one between the two

Networks that learnt apart err apart: their mean is more often right than each. They must look at the same crops or slices. Where
two segmenters are asked, a threshold below one half proposes what one alone is sure of, and the heat weight has the classifier be
the less sure of it. Segmenters of which one learnt on from the other can be averaged in their weights instead (Wortsman et al.,
"Robust fine-tuning of zero-shot models", CVPR 2022): one network, no slower, that has some of what was learnt and forgets less of
what was known. What the cards told of the old sets as a whole goes; ``python -m benchmarks.held_out --weights weights/D --settle
1`` measures the new one and settles its threshold.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from artifacts.checkpoint import Card, Checkpoint, read_checkpoint, write_checkpoint
from artifacts.errors import HounsfieldError, WeightsError

Member = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]  # arguments of a network, its tensors, how it was trained
PAIRS: dict[str, tuple[str, dict[str, Any]]] = {  # what a pair of a network is called, and its own arguments
    "resnet3d": ("resnet3d-pair", {"answer": "mean"}),
    "unet2d": ("unet2d-pair", {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument(
        "--segmenter", action="append", required=True, help="SET (again: both are asked), or SET:SHARE of several to average"
    )
    parser.add_argument("--threshold", type=float, help="of the segmenter; without it that of the first set")
    parser.add_argument("--heat-weight", type=float, help="of the nodule classifier; without it that of the first set")
    parser.add_argument("--nodule", action="append", required=True, help="SET, or SET:N, one member of a pair (again for more)")
    parser.add_argument("--malignancy", type=Path, required=True, help="the set whose grader it is")
    parser.add_argument("--out", type=Path, required=True, help="the set to write")
    asked = parser.parse_args()
    try:
        join(asked.segmenter, asked.nodule, asked.malignancy, asked.out, asked.threshold, asked.heat_weight)
    except HounsfieldError as e:
        parser.error(str(e))
    print(f"written to {asked.out}: try `hounsfield screen PATH --weights {asked.out.name}`")


def join(
    segmenters: Sequence[str],
    nodules: Sequence[str],
    malignancy: Path,
    out: Path,
    threshold: float | None = None,
    heat_weight: float | None = None,
) -> None:
    """Write the set; everything is read before anything is written, so ``out`` may be one of the sets. Raises WeightsError."""
    grader = read_checkpoint(malignancy, "malignancy")
    told = {"segmenter": {"threshold": threshold}, "nodule": {"heat_weight": heat_weight}, "malignancy": {}}
    parts = [segmenter_of(segmenters), (grader.card, grader.tensors())]
    parts.append(joined([member for text in nodules for member in members_called(text)]))
    for card, tensors in parts:
        about = card.model_dump() | {k: v for k, v in told[card.role].items() if v is not None}
        try:
            card = Card.model_validate(about | {"metrics": own_metrics(card)})
        except ValidationError as e:
            raise WeightsError(f"the card of {card.role} does not hold: {e.errors()[0]['msg']}") from e
        write_checkpoint(out, card, tensors)


def segmenter_of(texts: Sequence[str]) -> tuple[Card, dict[str, Any]]:
    """Averaged by their shares where they have any, else one network that asks them all."""
    ones = [share_called(text) for text in texts]
    if len(ones) == 1 or any(share is not None for _, share in ones):
        return averaged([(one, 1.0 if share is None else share) for one, share in ones])
    return joined([(one, member) for one, _ in ones for member in members_of(one)])


def own_metrics(card: Card) -> dict[str, Any]:
    """What a card says of its network alone: not what the other networks of its set had a part in."""
    return {k: v for k, v in card.metrics.items() if k not in ("whole_line_test", "held_out")}


def share_called(text: str) -> tuple[Checkpoint, float | None]:
    """The segmenter of ``SET``, and the share of ``SET:SHARE``."""
    called = re.fullmatch(r"(.+):(\d*\.?\d+)", text)
    folder, share = called.groups() if called else (text, None)
    return read_checkpoint(Path(folder), "segmenter"), None if share is None else float(share)


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
    """The networks in it, one or several."""
    card, tensors = checkpoint.card, checkpoint.tensors()
    if card.architecture in PAIRS:
        return [(card.arguments, tensors, dict(card.training))]
    if card.architecture not in [name for name, _ in PAIRS.values()]:
        raise WeightsError(f"'{card.name}' is a {card.architecture}: {' and '.join(PAIRS)} networks can be joined")
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

    WeightsError where they look at different crops or slices.
    """
    ones = list(ones)
    card = ones[0][0].card
    kind = next(k for k, (pair, _) in PAIRS.items() if card.architecture in (k, pair))
    pair, own = PAIRS[kind]
    for other, _ in ones[1:]:
        if other.card.input != card.input or other.card.architecture not in (kind, pair):
            what = "slices" if card.role == "segmenter" else "crops"
            raise WeightsError(f"'{card.name}' and '{other.card.name}' do not look at the same {what}: they cannot be joined")
    if len(ones) == 1:
        arguments, tensors, training = ones[0][1]
        return card.model_copy(update={"architecture": kind, "arguments": arguments, "training": training}), tensors
    update = {
        "architecture": pair,
        "arguments": {"members": [arguments for _, (arguments, _, _) in ones], **own},
        "training": side_by_side([training for _, (_, _, training) in ones]),
        "metrics": {},
        "temperature": 1.0,
    }
    tensors = {f"members.{k}.{name}": value for k, (_, (_, weights, _)) in enumerate(ones) for name, value in weights.items()}
    return card.model_copy(update=update), tensors


if __name__ == "__main__":
    main()
