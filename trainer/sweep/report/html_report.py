"""``sweep.html``: a sweep's plots to look into, in one file that needs nothing else (plotly's 4.6 MB are in it)."""

from __future__ import annotations

import html
import logging
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from trainer.core.atomic_files import atomic_write
from trainer.sweep.report.best import best_row
from trainer.sweep.report.progress_plots import subtitle
from trainer.sweep.report.results import Row, SweepResults
from trainer.sweep.stores.in_memory_study import importances, make_study, value_of
from trainer.sweep.stores.trial_store import COMPLETE

logger = logging.getLogger("trainer")

_FONT = "DejaVu Sans, Segoe UI, Helvetica, Arial, sans-serif"


def write_html_report(results: SweepResults, path: Path) -> bool:
    """Write the page; False where no trial is complete, or where plotly isn't installed."""
    if not any(row["state"] == COMPLETE for row in results.rows):
        return False
    try:
        import plotly.io
    except ImportError:
        logger.warning("%s isn't written: pip install plotly", path.name)
        return False
    sections, script = [], True
    for title, figure in _figures(results):
        figure.update_layout(
            template="plotly_white", font={"family": _FONT, "size": 12}, title=None, margin={"t": 30},
            colorway=["#2563eb", "#e69f00", "#059669", "#d55e00", "#8b5cf6"], height=460,
        )  # fmt: skip
        body = plotly.io.to_html(figure, include_plotlyjs=script, full_html=False, default_height="460px")
        sections.append(f"<h2>{html.escape(title)}</h2>{body}")
        script = False
    text = _PAGE.format(
        id=html.escape(results.folder.id),
        about=html.escape(subtitle(results).partition(" · ")[2]),
        best=_best(results),
        table=_table(results),
        plots="\n".join(sections),
        font=_FONT,
    )
    atomic_write(path, text)
    return True


def _figures(results: SweepResults) -> Iterator[tuple[str, Any]]:
    from optuna import visualization as plots

    study = make_study(results)
    several = len(results.objectives) > 1
    wanted: list[tuple[str, Callable[[], Any]]] = []
    if several and len(results.objectives) <= 3:
        wanted.append(("Pareto front", partial(plots.plot_pareto_front, study)))
    shares = importances(results)
    for place, objective in enumerate(results.objectives):
        about = f": {objective.name}" if several else ""
        given: dict[str, Any] = {"target_name": objective.name}
        if several:
            given["target"] = partial(value_of, place=place)
        wanted.append((f"Trials{about}", partial(plots.plot_optimization_history, study, **given)))
        if objective.name in shares:
            wanted.append((f"What mattered{about}", partial(_bars, shares[objective.name])))
        wanted.append(
            (f"Parallel coordinates{about}", partial(plots.plot_parallel_coordinate, study, **given))
        )
        wanted.append((f"Over each parameter{about}", partial(plots.plot_slice, study, **given)))
    if not several and any(len(row["reported"]) > 1 for row in results.rows):
        wanted.append(("Learning curves", partial(plots.plot_intermediate_values, study)))
    for title, make in wanted:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                yield title, make()
        except Exception as error:  # one plot must not cost the others
            logger.warning("%s can't be drawn: %s", title, error)


def _bars(shares: dict[str, float]) -> Any:
    import plotly.graph_objects as graph

    names = list(shares)[::-1]
    figure = graph.Figure(graph.Bar(x=[shares[name] for name in names], y=names, orientation="h"))
    figure.update_xaxes(tickformat=".0%")
    return figure


def _best(results: SweepResults) -> str:
    row = best_row(results)
    if row is None:
        return ""
    values = ", ".join(f"{name} {value:.6g}" for name, value in row["values"].items())
    return html.escape(f"best: trial {row['number']}, {values}")


def _table(results: SweepResults) -> str:
    keys = list(dict.fromkeys(key for row in results.rows for key in results.searched(row)))
    names = [objective.name for objective in results.objectives]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("#", "state", *names, *keys, "epochs", "s"))
    return (
        f"<table><tr>{head}</tr>{''.join(_line(results, row, names, keys) for row in results.rows)}</table>"
    )


def _line(results: SweepResults, row: Row, names: list[str], keys: list[str]) -> str:
    searched = results.searched(row)
    cells = [
        row["number"],
        row["state"],
        *(row["values"].get(name) for name in names),
        *(searched.get(key) for key in keys),
        row["epochs"],
        row["seconds"],
    ]
    shown = [
        "" if cell is None else f"{cell:.5g}" if isinstance(cell, float) else str(cell) for cell in cells
    ]
    mark = ' class="best"' if row["best"] else ""
    return f"<tr{mark}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in shown)}</tr>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{id}</title>
<style>
body {{ font-family: {font}; color: #1f2430; margin: 24px auto; max-width: 1180px; padding: 0 16px; }}
h1 {{ margin-bottom: 2px; }} h2 {{ margin: 28px 0 0; font-size: 17px; }} p {{ color: #6b7280; margin: 2px 0; }}
table {{ border-collapse: collapse; font-size: 13px; margin-top: 8px; }}
td, th {{ border-bottom: 1px solid #e5e7eb; padding: 3px 10px; text-align: left; }} .best {{ font-weight: bold; }}
</style></head><body>
<h1>{id}</h1><p>{about}</p><p>{best}</p>
{plots}
<h2>All trials</h2>{table}
</body></html>
"""
