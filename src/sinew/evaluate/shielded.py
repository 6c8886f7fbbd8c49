"""Measures a policy behind the shield, beside itself: what it still does, and how often the shield stepped in."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sinew.core.rollout import Outcome, Tick, run_episodes
from sinew.core.types import Policy, VecEnv
from sinew.evaluate.intervals import wilson
from sinew.evaluate.plan import Listing
from sinew.safety.braking import REASONS
from sinew.safety.limits import ShieldLimits
from sinew.safety.shield import Shield, ShieldedPolicy

if TYPE_CHECKING:
    from rich.table import Table

    from sinew.evaluate.success import Cell

SHIELD = "shield"
"""The control of cells that were measured behind the shield."""


@dataclass(frozen=True)
class Shielded:
    """A policy to be measured behind a shield.

    Attributes:
        policy: its directory, "expert", or the policy itself.
        limits: of the shield.
    """

    policy: str | Policy
    limits: ShieldLimits


def run_shielded(env: VecEnv, policy: Policy, limits: ShieldLimits, state_ids: Sequence[str]) -> tuple[Outcome, ...]:
    """Run episodes behind a shield; their outcomes say how often it stepped in, and why."""
    shield = Shield(limits, env.spec)
    counts: list[Counter[str]] = [Counter() for _ in state_ids]

    def watch(tick: Tick) -> None:
        for episode, reason in zip(tick.episodes, shield.last.reasons, strict=True):
            if reason:
                counts[episode][REASONS[reason]] += 1

    outcomes = run_episodes(env, ShieldedPolicy(policy, shield), state_ids, watch=watch)
    return tuple(
        dataclasses.replace(outcome, interventions=dict(count)) for outcome, count in zip(outcomes, counts, strict=True)
    )


def shield_listings(cells: Sequence[Cell]) -> tuple[Listing, ...]:
    """Return the listings of the plain seen cells once more, to be run behind the shield."""
    return tuple(
        Listing(cell.split, cell.task, SHIELD, tuple(outcome.state_id for outcome in cell.outcomes))
        for cell in cells
        if (cell.split, cell.control) == ("seen", "none")
    )


def shield_table(plain: Sequence[Cell], shielded: Sequence[Cell]) -> Table:
    """Return what the shield costs: success without and with it, ticks it changed per episode, and why.

    Args:
        plain: cells of an evaluation; those that ``shield_listings`` took are looked at.
        shielded: the cells that came of these listings.
    """
    from rich import box
    from rich.table import Table

    result = Table(title="Behind the shield, states never trained on", box=box.SIMPLE_HEAD, show_edge=False)
    result.title_justify = result.caption_justify = "left"
    result.add_column("skill", overflow="fold")
    for name in ("n", "without %", "with %", "95 %", "ticks changed", "most often"):
        result.add_column(name, justify="right", no_wrap=True)
    without = {cell.task: cell for cell in plain if (cell.split, cell.control) == ("seen", "none")}
    rows = [(cell.task, without[cell.task].outcomes, cell.outcomes) for cell in shielded]
    if len(rows) > 1:
        before = tuple(outcome for row in rows for outcome in row[1])
        rows.append(("all", before, tuple(outcome for row in rows for outcome in row[2])))
    for task, *sides in rows:
        result.add_row(task, *_cells(*sides))
    result.caption = "ticks changed: per episode, of its ticks; n states, the same ones for both"
    return result


def _cells(before: Sequence[Outcome], after: Sequence[Outcome]) -> tuple[str, ...]:
    count, wins = len(after), sum(outcome.success for outcome in after)
    low, high = wilson(wins, count)
    reasons = Counter(reason for outcome in after for reason in Counter(outcome.interventions).elements())
    changed, ticks = reasons.total(), sum(outcome.ticks for outcome in after)
    often = reasons.most_common(1)
    return (
        str(count),
        f"{100 * sum(outcome.success for outcome in before) / len(before):.0f}",
        f"{100 * wins / count:.0f}",
        f"{100 * low:.0f}-{100 * high:.0f}",
        f"{changed / count:.1f} of {ticks / count:.1f}",
        f"{often[0][0]} {100 * often[0][1] / changed:.0f} %" if often else "-",
    )
