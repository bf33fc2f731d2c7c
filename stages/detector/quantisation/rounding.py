"""Round the weights of a layer so that what it gives changes least.

in: weights, how their inputs correlate · out: whole weights and their step
Each weight is rounded in turn; the weights after it, and at last the bias, make up for its error as
far as their inputs are alike.
Frantar, Ashkboos, Hoefler, Alistarh: "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", ICLR 2023.
"""

from __future__ import annotations

import numpy as np

from stages.contracts import Floats

LARGEST_WEIGHT = 127
DAMPING = 0.01
"""Share of the mean square of an input that is added to all, so that the inverse exists."""


def round_weights(weights: Floats, bias: Floats, products: Floats) -> tuple[Floats, Floats, Floats]:
    """Return whole weights (outputs, k), the step of each output, and its new bias.

    Parameters
    ----------
    weights
        (outputs, k)
    products
        (k + 1, k + 1) sums of products of the inputs and a constant 1.

    Examples
    --------
    >>> alike = np.ones((3, 3))  # both inputs are always 1
    >>> whole, step, bias = round_weights(np.array([[127.0, 50.4]]), np.zeros(1), alike)
    >>> whole, step, bias.round(1)
    (array([[127.,  50.]]), array([1.]), array([0.4]))
    """
    peak = np.abs(weights).max(1)
    step = np.where(peak > 0, peak, 1.0) / LARGEST_WEIGHT
    mean_square = np.trace(products) / len(products)
    damped = products + np.eye(len(products)) * (DAMPING * mean_square or 1.0)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    whole, rest = np.empty_like(weights), np.column_stack([weights, bias])
    for k in range(weights.shape[1]):
        rounded = np.rint(rest[:, k] / step)
        whole[:, k] = np.clip(rounded, -LARGEST_WEIGHT, LARGEST_WEIGHT)
        error = (rest[:, k] - whole[:, k] * step) / upper[k, k]
        rest[:, k + 1 :] -= error[:, None] * upper[k, k + 1 :]
    return whole, step, rest[:, -1]
