"""Shows on a node, after each sampling, what its schedule made of it."""

from __future__ import annotations

from collections.abc import Callable

from ...ecad_search.core.cost import relative_cost
from ...ecad_search.core.schedule import Schedule
from ...ecad_search.engine.liveness import predicted_bytes
from ...ecad_search.engine.report import MIB, RunReport
from .progress import prompt_server


def reporter(node_id: str | None, schedule: Schedule) -> Callable[[RunReport], None]:
    """What `apply_schedule` tells about each run goes to the node that applied the schedule.

    The run happens while another node (the sampler) executes, and the log line is the engine's.
    """
    return lambda report: say(node_id, node_text(report, schedule))


def planner(node_id: str | None, schedule: Schedule) -> Callable[[int], None]:
    """What `apply_schedule` tells when a run starts."""
    return lambda planned: say(
        node_id, f"{facts(schedule)}\nThis run will hold up to {amount(planned)}"
    )


def amount(n_bytes: int) -> str:
    """1.9 GiB, 740 MiB, 0.3 MiB."""
    if n_bytes >= 1024 * MIB:
        return f"{n_bytes / (1024 * MIB):.1f} GiB"
    return f"{n_bytes / MIB:.0f} MiB" if n_bytes >= 10 * MIB else f"{n_bytes / MIB:.1f} MiB"


def say(node_id: str | None, text: str) -> None:
    """Show text on a node, in the client that queued the graph; nothing without a server."""
    server = prompt_server()
    if server is None or node_id is None:
        return
    send = getattr(server, "send_progress_text", None)
    if send is not None:
        send(text, node_id, server.client_id)


def node_text(report: RunReport, schedule: Schedule) -> str:
    """The report in short lines, as wide as a node."""
    lines = [f"Last run: {report.reused_fraction:.0%} of the components reused"]
    speed = f"{report.predicted_speedup:.2f}x fewer MACs"
    if report.measured_speedup is not None:
        speed += f", {report.measured_speedup:.2f}x faster"
    lines.append(speed)
    lines.append(f"{report.seconds:.1f} s, {amount(report.peak_bytes)} held")
    if report.steps != schedule.steps:
        lines.append(f"{report.steps} steps run on a schedule of {schedule.steps}")
    lines.extend(report.messages)
    return "\n".join(lines)


def facts(schedule: Schedule) -> str:
    """What is known about a schedule before it runs."""
    native = schedule.architecture.native_workload()
    if schedule.architecture.fingerprint:
        return (
            f"Unknown model: {schedule.architecture.n_cells} components found, checked at the "
            f"first evaluation of each run\n{schedule.steps} steps, "
            f"{schedule.computed_fraction:.0%} of the components computed, "
            f"about {1 / relative_cost(schedule, native):.2f}x fewer MACs"
        )
    held = predicted_bytes(schedule, native, calls=(1,))
    return (
        f"{schedule.steps} steps, {schedule.computed_fraction:.0%} of the components computed, "
        f"{1 / relative_cost(schedule, native):.2f}x fewer MACs, {amount(held)} held for each "
        f"prompt at {native.width} px"
    )
