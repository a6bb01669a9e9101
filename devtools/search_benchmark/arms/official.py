"""The official settings, run by pymoo itself (Aggarwal et al. 2025; development only).

NSGA-II with pymoo's defaults, PointCrossover(4 points, 0.9), BitflipMutation(prob=0.05), bits of
all steps (the first one too, although it changes nothing), the constraint that a schedule differs
from the uncached one, and a hand-made initial population.
"""

from __future__ import annotations

import numpy as np

from ecad_search.core.schedule import Schedule
from ecad_search.evolution.seeding import paper_population

from ..meter import Meter
from ..plan import POPULATION


def run(meter: Meter, seed: int) -> None:
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.evaluator import Evaluator
    from pymoo.core.problem import Problem
    from pymoo.core.termination import NoTermination
    from pymoo.operators.crossover.pntx import PointCrossover
    from pymoo.operators.mutation.bitflip import BitflipMutation
    from pymoo.problems.static import StaticProblem

    steps, cells = meter.steps, meter.architecture.n_cells
    start = paper_population(meter.architecture, steps, POPULATION, np.random.default_rng(seed))
    problem = Problem(n_var=steps * cells, n_obj=2, n_ieq_constr=1, vtype=bool)
    algorithm = NSGA2(
        pop_size=POPULATION,
        sampling=np.stack([made.schedule.compute.reshape(-1) for made in start]),  # pyright: ignore[reportArgumentType]
        crossover=PointCrossover(n_points=4, prob=0.9),  # pyright: ignore[reportArgumentType]
        mutation=BitflipMutation(prob=0.05),  # pyright: ignore[reportArgumentType]
    )
    algorithm.setup(problem, termination=NoTermination(), seed=seed, verbose=False)
    while True:
        asked = algorithm.ask()
        if asked is None or not len(asked):
            return
        genomes = np.asarray(asked.get("X"), dtype=bool)
        objectives = [_objectives(meter, genome.reshape(steps, cells)) for genome in genomes]
        differing = (~genomes).sum(axis=1)  # from the uncached schedule, in bits
        static = StaticProblem(problem, F=np.array(objectives), G=1.0 - differing[:, None])
        Evaluator().eval(static, asked)
        algorithm.tell(infills=asked)


def _objectives(meter: Meter, genome: np.ndarray) -> tuple[float, float]:
    """To minimise: one minus the mean score, and the cost of what really runs."""
    compute = genome.copy()
    compute[0] = True  # an empty cache computes whatever the genome says
    schedule = Schedule(meter.architecture, compute)
    return 1.0 - float(np.mean(meter.scores(schedule))), meter.cost(schedule)
