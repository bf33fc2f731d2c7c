"""The widths of gauges as a smooth function of a process's parameters.

in       gauges, a base process, ranges and values of the parameters
out      printed widths and spaces
unit     nm
promise  smooth in every value; within half a nm or so of the simulator, whose kernels leave out a
         share of the energy
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.contracts import Floats
from stages.lithography.calibration.gauges import Gauges
from stages.lithography.calibration.light import Foci, Light, cut_into_rings
from stages.lithography.calibration.parameters import Range, Values
from stages.lithography.process import Process
from stages.threads import limit_threads


def shine(base: Process, gauges: Gauges, ranges: Sequence[Range]) -> Light:
    """Return the light on the gauges' sections for every value within the ranges."""
    by_name = {each.name: each for each in ranges}
    offset = by_name["focus_nm"]
    foci = [abs(focus + end) for focus in gauges.focus_nm for end in (offset.low, offset.high)]
    rings = cut_into_rings(base, by_name["sigma_in"].low, by_name["sigma_out"].high)
    with limit_threads(1):
        return Light(
            base, gauges.field, gauges.sections, rings, Foci(base.even_in_focus, max(foci))
        )


def predict(light: Light, gauges: Gauges, values: Values) -> Floats:
    """Return the width of each gauge, (g,)."""
    sigma = values.sigma_in, values.sigma_out
    blurs = [(values.diffusion_nm, 1 - values.tail_share), (values.tail_nm, values.tail_share)]
    widths = np.empty(len(gauges.dose))
    for focus in np.unique(gauges.focus_nm):
        spectra = light.compute_spectra(sigma, float(focus) + values.focus_nm)
        widths[gauges.focus_nm == focus] = gauges.measure(
            light.blur(spectra, blurs), float(focus), values.threshold / values.dose
        )
    return widths
