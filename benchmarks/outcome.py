"""What a benchmark found: flat metrics, beside the limits that they must keep, as a table and as a file."""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table


@dataclass(frozen=True)
class Benchmark:
    """`measure(work folder)` gives metric name to number; wanted are at most `limits` and at least `floors`.

    What else a benchmark may be told it takes by name.
    """

    measure: Callable[..., dict[str, float]]
    limits: Mapping[str, float] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)


def kept(benchmark: Benchmark, metric: str, value: float) -> bool | None:
    """Whether a metric keeps its limit or floor; None where it has neither."""
    if metric in benchmark.limits:
        return value <= benchmark.limits[metric]
    if metric in benchmark.floors:
        return value >= benchmark.floors[metric]
    return None


def outcome_table(name: str, benchmark: Benchmark, metrics: Mapping[str, float]) -> Table:
    """Every metric with its number, what is wanted, and whether it is so."""
    table = Table(title=f"Benchmark {name}")
    for column, justify in (("metric", "left"), ("value", "right"), ("wanted", "right"), ("", "left")):
        table.add_column(column, justify="right" if justify == "right" else "left")
    for metric, value in metrics.items():
        wanted = ""
        if metric in benchmark.limits:
            wanted = f"<= {benchmark.limits[metric]:g}"
        elif metric in benchmark.floors:
            wanted = f">= {benchmark.floors[metric]:g}"
        verdict = {True: "[green]yes[/green]", False: "[red]no[/red]", None: ""}[kept(benchmark, metric, value)]
        table.add_row(metric, f"{value:.4g}", wanted, verdict)
    return table


def write_outcome(path: Path, metrics: Mapping[str, float]) -> None:
    """Write metric name to number as JSON, aside and then renamed; raises ValueError on a number that is not finite."""
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        raise ValueError(f"{path}: not finite: {', '.join(broken)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(dict(metrics), indent=1) + "\n")
    os.replace(aside, path)
