"""Numbers as the pages print them."""

from __future__ import annotations

import math


def format_percent(fraction: float | None) -> str:
    """Return a percentage that is never rounded up to a full 100, nor down to 0.

    Examples
    --------
    >>> [format_percent(fraction) for fraction in (1.0, 0.99996, 0.5, 0.00001, 0.0)]
    ['100 %', '99.99 %', '50.0 %', '<0.01 %', '0 %']
    """
    if fraction is None:
        return "not measured"
    if fraction in (0.0, 1.0):
        return f"{fraction:.0%}".replace("%", " %")
    percent = 100 * fraction
    if percent < 0.01:
        return "<0.01 %"
    if percent > 99.9:
        return f"{min(percent, 99.99):.2f} %"
    return f"{percent:.1f} %" if percent >= 1 else f"{percent:.2f} %"


def format_um(value_dbu: int, dbu_nm: float) -> str:
    """Return a length in um with all the digits that the database unit gives it.

    Examples
    --------
    >>> format_um(5001, 1.0), format_um(5001, 0.25), format_um(5001, 0.1)
    ('5.001', '1.25025', '0.5001')
    """
    digits = (n for n in range(6) if math.isclose(dbu_nm * 10**n, round(dbu_nm * 10**n)))
    return f"{value_dbu * dbu_nm / 1000:.{3 + next(digits, 6)}f}"


def format_seconds(seconds: float) -> str:
    """Return a duration.

    Examples
    --------
    >>> format_seconds(0.42), format_seconds(75), format_seconds(7322)
    ('0.4 s', '1 min 15 s', '2 h 02 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_area(area_um2: float) -> str:
    """Return an area, in mm² where it is large."""
    return f"{area_um2 / 1e6:,.3f} mm²" if area_um2 >= 1e5 else f"{area_um2:,.0f} µm²"


def round_down(value: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is not over `value`.

    Examples
    --------
    >>> round_down(853), round_down(2.0), round_down(0.19)
    (500.0, 2.0, 0.1)
    """
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1.0, 2.0, 5.0) if step * power <= value * (1 + 1e-9))
