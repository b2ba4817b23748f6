"""The commands that read results: leaderboard, figures, claims, comparisons, tables, one run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from suite import arguments
from suite.arguments import RESULTS, AsJson, Only
from suite.cli.app import app


@app.command()
def leaderboard(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail on drift")] = False,
    results: Annotated[Path, typer.Option(help="The published results")] = RESULTS,
    markdown: Annotated[
        Path | None,
        typer.Option(help="The leaderboard to write; default: leaderboard.md, of other results beside their folder"),
    ] = None,
    reports: Annotated[
        Path | None, typer.Option(help="Where figures, tables and site go; default: beside the results' folder")
    ] = None,
    claims: Annotated[
        Path | None, typer.Option(help="Claims to give verdicts on; default: claims.yaml beside the results, if any")
    ] = None,
) -> None:
    """Regenerate leaderboard.md, figures, tables and site (in reports/) from the published results."""
    from suite.ranking.claims import judge
    from suite.reporting import build
    from suite.reporting.board import PUBLISHED, read_board

    beside = results.parent
    board = read_board(results)
    read = [task.results for task in board.tasks]
    file = claims or (beside / "claims.yaml" if (beside / "claims.yaml").exists() else None)
    verdicts = judge(arguments.claims(file, read), read) if file else []
    page = markdown or (Path("leaderboard.md") if results == RESULTS else beside / "leaderboard.md")
    place = build.Place(page, reports or beside)
    prose, untrue = arguments.prose(place.reports / "findings.md", board)
    for sentence in untrue:
        print(sentence, file=sys.stderr)
    if check:
        drifted = build.check(board, place, verdicts, prose)
        for name in drifted:
            print(f"{name} is not what `suite leaderboard` makes of {results}", file=sys.stderr)
        if drifted or untrue:
            raise typer.Exit(1)
        print(f"{page}, {place.reports}/figures and {place.reports}/tables are current")
        return
    written = build.build(board, PUBLISHED, place, place.reports / "site", verdicts, prose)
    print(f"{page}, and in {place.reports}: figures, tables and site/index.html ({len(written)} files)")


@app.command()
def figures(
    folder: Annotated[Path, typer.Argument(help="Where to write them")],
    task: Annotated[list[str] | None, typer.Option("--task", help="Of this task (a name), and no others")] = None,
    form: Annotated[str, typer.Option("--format", help="svg, pdf or both")] = "both",
    results: Annotated[Path, typer.Option(help="The results")] = RESULTS,
) -> None:
    """The site's charts as SVG and PDF for papers, with the data behind each as CSV."""
    from suite.reporting import plots

    for path in plots.draw(results, folder, task, form):
        print(path)


@app.command("claims")
def list_claims(
    results: Annotated[Path, typer.Option(help="The published results")] = RESULTS,
    file: Annotated[Path, typer.Option(help="The claims")] = Path("reports/claims.yaml"),
    as_json: AsJson = False,
) -> None:
    """What the published results say of the claims in reports/claims.yaml: supported, refuted or undecided."""
    from suite.ranking.claims import judge
    from suite.ranking.tables import read_results
    from suite.reporting.claims import counted, records, rows
    from suite.reporting.terminal import print_claims

    read = read_results(results)
    verdicts = judge(arguments.claims(file, read), read)
    if as_json:
        arguments.table("Claims", records(verdicts), as_json)
        return
    print_claims(arguments.console(), counted(verdicts), rows(verdicts))


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A metric, or a folder of results (before)")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one (after)")],
    results: Annotated[Path, typer.Option(help="Where the metrics are compared")] = RESULTS,
    task: Only = None,
    everything: Annotated[bool, typer.Option("--all", help="Of two folders, also what did not change")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown, for a pull request or a paper")] = False,
    as_json: AsJson = False,
) -> None:
    """Two metrics, or two folders of results before and after a change, side by side with paired statistics."""
    from suite.reporting import compare

    found = compare.compare(a, b, results, task)
    if as_json:
        print(compare.as_json(found))
    elif markdown:
        print(compare.markdown(compare.parts(found, everything)), end="")
    else:
        compare.print_parts(arguments.console(), compare.parts(found, everything))


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="To write: .parquet, .csv or .csv.gz")],
    results: Annotated[Path, typer.Option(help="The results")] = RESULTS,
    task: Only = None,
    table: Annotated[str, typer.Option(help="values, runs, metrics, ranking or overall")] = "values",
) -> None:
    """Results as one tidy table; docs/comparing.md explains its columns."""
    from suite.ranking.export import export

    rows, columns = export(file, results, task, table).shape
    print(f"{file}: {rows:,} rows, {columns} columns")


@app.command()
def show(run_id: Annotated[str, typer.Argument(help="A run id, or the beginning of one")]) -> None:
    """One run: its cell, losses, accuracies and values at every checkpoint."""
    from suite.reporting.local import show_run

    show_run(arguments.home() / "reports" / "results", run_id, arguments.console())
