"""The loop learns; a killed run ends as one that was not; averages, schedules and several devices do what they say."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from artifacts.errors import NotFiniteError, TrainingError
from tasks.stage import Compute
from tasks.training.loop import LoopParams, fit, follow, make_optimizers, rate, seed_everything

STEPS = 6


def net() -> nn.Module:
    seed_everything(0)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))


@dataclass
class Spheres:
    """Points inside or outside a sphere; picklable. ``spoil`` puts a NaN into that epoch."""

    spoil: int = -1

    def __call__(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        chance = torch.Generator().manual_seed(epoch)
        for _ in range(STEPS):
            x = torch.randn(32, 8, generator=chance)
            if epoch == self.spoil:
                x = x * torch.nan
            yield x, (x.square().sum(1) > 7).long()


def accuracy(module: nn.Module) -> dict[str, float]:
    x, y = next(iter(Spheres()(999)))
    with torch.inference_mode():
        return {"accuracy": float((module(x).argmax(1) == y).float().mean())}


def fitted(params: LoopParams, workspace: Path | None = None, stop_after: int | None = None, **options) -> tuple[nn.Module, list]:
    module = net()
    rows = fit(module, Spheres(), nn.functional.cross_entropy, params, steps_an_epoch=STEPS, workspace=workspace, **options)
    return module, list(itertools.islice(rows, stop_after))


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_it_learns() -> None:
    module, rows = fitted(LoopParams(epochs=60, learning_rate=0.02), validate=accuracy, monitor="accuracy", higher_is_better=True)
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert accuracy(module)["accuracy"] == max(r["accuracy"] for r in rows) > 0.75
    assert not module.training


@pytest.mark.parametrize("optimizer", ["adamw", "momentum", "muon"])
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path: Path, optimizer: str) -> None:
    params = LoopParams(epochs=5, learning_rate=0.01, ema=0.9, optimizer=optimizer)  # type: ignore[arg-type]
    straight, rows = fitted(params, validate=accuracy)
    _, first = fitted(params, tmp_path, stop_after=2, validate=accuracy)  # the process goes away after its second epoch
    resumed, again = fitted(params, tmp_path, validate=accuracy)
    assert len(first) == 2
    assert [r["loss"] for r in again] == [r["loss"] for r in rows]
    assert equal(straight, resumed)


def test_another_seed_gives_other_weights_and_the_same_seed_the_same() -> None:
    once, twice = (fitted(LoopParams(epochs=2))[0] for _ in range(2))
    other = fitted(LoopParams(epochs=2, seed=1))[0]
    assert equal(once, twice)
    assert not equal(once, other)  # dropout


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_epochs_before(tmp_path: Path) -> None:
    rows = fit(
        net(), Spheres(spoil=2), nn.functional.cross_entropy, LoopParams(epochs=5), steps_an_epoch=STEPS, workspace=tmp_path
    )
    with pytest.raises(TrainingError, match="the loss is nan in epoch 3"):
        list(rows)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 2


def test_a_network_broken_by_the_last_step_of_an_epoch_stops_the_run(tmp_path: Path) -> None:
    calls = iter([{}, {}, None])

    def validate(_: nn.Module) -> dict[str, float]:
        if (said := next(calls)) is None:
            raise NotFiniteError("the network gave a number that is not finite")
        return said

    rows = fit(
        net(),
        Spheres(),
        nn.functional.cross_entropy,
        LoopParams(epochs=5),
        steps_an_epoch=STEPS,
        validate=validate,
        workspace=tmp_path,
    )
    with pytest.raises(TrainingError, match="no numbers after epoch 3: lower the learning rate; the epochs before are kept"):
        list(rows)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 2


def test_a_kept_epoch_of_another_network_is_refused(tmp_path: Path) -> None:
    fitted(LoopParams(epochs=1), tmp_path)
    rows = fit(
        nn.Linear(8, 2), Spheres(), nn.functional.cross_entropy, LoopParams(epochs=2), steps_an_epoch=STEPS, workspace=tmp_path
    )
    with pytest.raises(TrainingError, match="another network"):
        list(rows)


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(TrainingError, match="not one batch"):
        list(fit(net(), lambda _: [], nn.functional.cross_entropy, LoopParams(epochs=1), steps_an_epoch=STEPS))


def test_it_stops_early_and_keeps_the_best() -> None:
    scores = iter([0.5, 0.9, 0.8, 0.7, 0.6, 0.6, 0.6])
    kept: list[dict] = []

    def validate(module: nn.Module) -> dict[str, float]:
        kept.append({k: v.clone() for k, v in module.state_dict().items()})
        return {"score": next(scores)}

    module, rows = fitted(LoopParams(epochs=7, patience=3), validate=validate, monitor="score", higher_is_better=True)
    assert len(rows) == 5
    assert all(torch.equal(v, kept[1][k]) for k, v in module.state_dict().items())


def test_the_average_follows_slowly() -> None:
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    before = a.weight.detach().clone()
    follow(a, b, 0.75)
    assert torch.allclose(a.weight, 0.75 * before + 0.25 * b.weight)


def test_schedules_start_rise_and_end_as_they_should() -> None:
    cycle = [rate(k, 100, "one-cycle") for k in range(100)]
    assert max(cycle) == 1.0
    assert cycle.index(1.0) == 25
    assert cycle[-1] < 0.01
    assert [rate(k, 100, "cosine") for k in (0, 50)] == [1.0, 0.5]
    assert rate(70, 100, "constant") == 1.0
    assert [rate(k, 4, "linear") for k in range(4)] == [1.0, 0.75, 0.5, 0.25]


def test_norms_and_biases_do_not_decay() -> None:
    groups = make_optimizers(net(), LoopParams(weight_decay=0.1))[0].param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(2, 0.1), (4, 0.0)]


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    def plain() -> nn.Module:
        seed_everything(0)
        return nn.Linear(8, 2)  # neither dropout nor batch norm: the gradient of a batch is the mean of its halves'

    params, loss = LoopParams(epochs=3, learning_rate=0.01), nn.functional.cross_entropy
    one, two = plain(), plain()
    list(fit(one, Spheres(), loss, params, steps_an_epoch=STEPS))
    rows = list(
        fit(
            two,
            Spheres(),
            loss,
            params,
            steps_an_epoch=STEPS,
            compute=Compute("cpu", devices=2, strategy="ddp"),
            workspace=tmp_path,
        )
    )
    assert [r["epoch"] for r in rows] == [1, 2, 3]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
