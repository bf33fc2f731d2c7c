"""Reading the tables that programs print."""

from __future__ import annotations


def read_table(printed: str) -> list[list[str]]:
    """Return the cells of all Markdown tables in a text, without their rules."""
    rows = [line.strip().strip("|").split("|") for line in printed.splitlines() if line[:1] == "|"]
    cells = [[cell.strip() for cell in row] for row in rows]
    return [row for row in cells if not set("".join(row)) <= set("-:")]


def read_number(cell: str) -> float:
    """Return the number of a cell; a share where it is given in percent."""
    value = float(cell.rstrip("%").replace(",", ""))
    return value / 100 if cell.endswith("%") else value
