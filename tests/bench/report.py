"""Results of the benchmarks with their provenance: `python -m tests.bench.report BENCHMARK.json`.

BENCHMARK.json is what `pytest tests/bench --benchmark-only --benchmark-json=BENCHMARK.json` wrote. One file for each
device that was measured goes to reports/bench/, and the tables of suite/curvature/README.md to the standard output.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Row = dict[str, Any]

FOLDER = Path(__file__).parents[2] / "reports" / "bench"
PACKAGES = ("torch", "numpy", "scipy", "curvlinops-for-pytorch", "hessian-eigenthings", "PyHessian")


def results(benchmark: Row) -> list[Row]:
    """What the curvature benchmarks recorded, with the measured times.

    Raises:
        ValueError: a result of SUITE_BENCH_QUICK, which measures nothing.
    """
    rows = [
        {"group": b["group"], "name": b["name"], "rounds": b["stats"]["rounds"], **b["extra_info"]}
        for b in benchmark["benchmarks"]
        if "device" in b["extra_info"]
    ]
    if any(row.pop("quick") for row in rows):
        raise ValueError("these benchmarks were cut short by SUITE_BENCH_QUICK: they show that they run, no more")
    return rows


def provenance(benchmark: Row, device: str) -> Row:
    """When, at which commit, on what and with what it was measured."""
    machine, commit = benchmark["machine_info"], benchmark["commit_info"]
    return {
        "device": device,
        "measured": benchmark["datetime"],
        "commit": commit.get("id"),
        "uncommitted_changes": commit.get("dirty"),
        "system": f"{machine['system']} {machine['release']} {machine['machine']}",
        "python": machine["python_version"],
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write(benchmark: Row, folder: Path) -> list[Path]:
    """One file for each device. Results of groups that were not measured this time are kept, with their provenance."""
    rows, paths = results(benchmark), []
    for device in sorted({row["device"] for row in rows}):
        path = folder / f"{re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-')}.json"
        groups = json.loads(path.read_text()) if path.exists() else {}
        for group in sorted({row["group"] for row in rows if row["device"] == device}):
            mine = [row for row in rows if row["device"] == device and row["group"] == group]
            told = [{k: v for k, v in row.items() if k not in ("device", "group")} for row in mine]
            groups[group] = {"provenance": provenance(benchmark, device), "results": told}
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(sorted(groups.items())), indent=1) + "\n")
        paths.append(path)
    return paths


def _seconds(row: Row) -> str:
    value = row["seconds"]
    text = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} *" if row.get("extrapolated") else text


def _worst(row: Row) -> str:
    return f"{max(row['moments_relative_error']):.0e}" if "moments_relative_error" in row else ""


def _codimension(row: Row) -> str:
    return f"{row['codimension_relative_error']:.0e}" if "codimension_relative_error" in row else ""


def _forward(row: Row) -> str:
    return f"{100 * row['forward_fraction_of_limit']:.0f} %" if "forward_fraction_of_limit" in row else ""


def _mib(key: str) -> Callable[[Row], str]:
    return lambda row: "" if row.get(key) is None else f"{row[key]:,.0f}"


PRODUCTS: dict[str, Callable[[Row], str]] = {
    "": lambda row: row["side"],
    "vectors": lambda row: str(row["block"]),
    "products/s": lambda row: f"{row['products_per_second']:,.4g}",
    "of the limit": lambda row: f"{100 * row['fraction_of_limit']:.0f} %",
    "a forward pass, of its limit": _forward,
}
DENSITIES: dict[str, Callable[[Row], str]] = {
    "": lambda row: row["side"],
    "seconds": _seconds,
    "peak memory, MiB": _mib("peak_memory_mib"),
    "moments off by": _worst,
    "d − SD off by": _codimension,
}
GPT2: dict[str, Callable[[Row], str]] = {
    "": lambda row: row["side"],
    "seconds": _seconds,
    "the product, MiB": _mib("product_memory_mib"),
    "beyond it, MiB": _mib("beyond_product_mib"),
    "d − SD": lambda row: f"{row['codimension']:.5g}",
}
EXACT: dict[str, Callable[[Row], str]] = {
    "": lambda row: f"{row['net']}, b = {row['batch']}",
    "eigenvalues": lambda row: f"{row['dimension']:,}",
    "seconds": _seconds,
    "peak memory, MiB": _mib("peak_memory_mib"),
    "SD at η = 0.1": lambda row: f"{row['sharpness_dimension']:,.2f}",
}


def columns_of(group: str) -> dict[str, Callable[[Row], str]]:
    """The table that a group of results is shown in."""
    if group.startswith("products"):
        return PRODUCTS
    if group.startswith("exact"):
        return EXACT
    return GPT2 if "gpt2" in group else DENSITIES


def table(rows: Iterable[Row], columns: dict[str, Callable[[Row], str]]) -> str:
    """A Markdown table, without the columns that no row has anything in."""
    rows = list(rows)
    columns = {name: cell for name, cell in columns.items() if any(map(cell, rows))}
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    lines += ["| " + " | ".join(cell(row) for cell in columns.values()) + " |" for row in rows]
    return "\n".join(lines)


def markdown(path: Path) -> str:
    """All tables of one device's file."""
    parts = []
    for group, content in json.loads(path.read_text()).items():
        rows, made = content["results"], content["provenance"]
        parts.append(f"**{group}** ({made['device']}; {made['measured'][:10]}, {str(made['commit'])[:7]})")
        parts.append(table(rows, columns_of(group)))
        if any(row.get("extrapolated") for row in rows):
            parts.append("\\* from fewer probes or networks, in proportion.")
    return "\n\n".join(parts)


def main() -> None:
    """Write the files and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("--out", type=Path, default=FOLDER)
    told = parser.parse_args()
    for path in write(json.loads(told.benchmark.read_text()), told.out):
        print(markdown(path), end="\n\n")


if __name__ == "__main__":
    main()
