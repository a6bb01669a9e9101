"""The arms of the search benchmark, listed by hand; an ablation is ecad+ without one of its parts.

Each is a function of a meter and a seed that asks for scores until it ends or the budget is spent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..meter import BudgetSpent, Meter
from . import handmade, official, ours, step_masks


@dataclass(frozen=True)
class Arm:
    """One way of searching. `run` returns when it is done; BudgetSpent may end it anywhere.

    confirms: whether it has further noise seeds of the same prompts to confirm its front with.
    """

    name: str
    what: str  # for the report
    run: Callable[[Meter, int], None]
    is_ablation: bool = False
    confirms: bool = False

    def finish(self, meter: Meter, seed: int) -> None:
        try:
            self.run(meter, seed)
        except BudgetSpent:
            pass


OFFICIAL, PAPER, ECAD = "official", "paper", "ecad+"

ARMS = (
    Arm(
        OFFICIAL,
        "the official settings through pymoo itself: NSGA-II, population 24, 4-point crossover "
        "0.9, `BitflipMutation(prob=0.05)`; it begins with the first 24 of the hand-made schedules "
        "of the released PixArt population",
        official.run,
    ),
    Arm(PAPER, "our `mode: paper` with the same population", ours.paper),
    Arm(
        ECAD,
        "our `mode: ecad+`, with the Search node's defaults: candidates are tried on few samples, "
        "the front is confirmed on all",
        ours.ecad,
        confirms=True,
    ),
    Arm("random", "random schedules, each scored in full", ours.random),
    Arm("FORA", "everything computes at every N-th step, N = 2, 3, ...", handmade.fora),
    Arm("fewer-steps", "no reuse, but fewer sampling steps", handmade.fewer_steps),
    Arm(
        "step-mask DP",
        "whole steps compute or reuse, chosen by dynamic programming over the measured drift of "
        "single gaps, after DPCache",
        step_masks.dynamic_programming,
    ),
    Arm(
        "simulated-annealing",
        "whole steps compute or reuse, chosen by simulated annealing and hill climbing on the "
        "drift of the final latent, after BudCache",
        step_masks.simulated_annealing,
    ),
    Arm(
        "quick",
        "the schedules of ECAD Quick Schedule, scored one after the other without a search",
        ours.quick_schedule,
    ),
    Arm(
        "ecad+ without surrogate",
        "children are rendered as they come, no model chooses among them",
        ours.without_surrogate,
        is_ablation=True,
        confirms=True,
    ),
    Arm(
        "ecad+ without racing",
        "every candidate is scored on all samples, the confirming ones too",
        ours.without_racing,
        is_ablation=True,
        confirms=True,
    ),
    Arm(
        "ecad+ without confirming",
        "the front is believed on as few samples as every other arm has",
        ours.ecad,
        is_ablation=True,
    ),
    Arm(
        "ecad+ without caution",
        "a loss is how far scores fall in the mean, however much they move",
        ours.without_caution,
        is_ablation=True,
        confirms=True,
    ),
    Arm(
        "ecad+ without its long profile",
        "measures no more than ECAD Quick Schedule does before it begins",
        ours.without_long_profile,
        is_ablation=True,
        confirms=True,
    ),
    Arm(
        "ecad+ without profile",
        "begins with FORA-like schedules instead of those of a profile",
        ours.without_profile,
        is_ablation=True,
        confirms=True,
    ),
    Arm(
        "ecad+ without profile, surrogate",
        "begins without a profile, and no model chooses among children",
        ours.without_profile_and_surrogate,
        is_ablation=True,
        confirms=True,
    ),
    Arm(
        "ecad+ without profile, structured moves",
        "begins without a profile and breeds by crossover and bit flips",
        ours.without_profile_and_structure,
        is_ablation=True,
        confirms=True,
    ),
    Arm(
        "ecad+ without its start",
        "begins with random schedules instead",
        ours.without_start,
        is_ablation=True,
        confirms=True,
    ),
    Arm(
        "ecad+ without structured moves",
        "children by 4-point crossover and bit flips instead of by rows, components and blocks",
        ours.without_structure,
        is_ablation=True,
        confirms=True,
    ),
)


def arm_named(name: str) -> Arm:
    return next(arm for arm in ARMS if arm.name == name)
