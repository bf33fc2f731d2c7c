import numpy as np

from stages.detector.quantisation.rounding import LARGEST_WEIGHT, round_weights


def test_what_a_layer_gives_changes_less_than_by_rounding_to_the_nearest():
    rng = np.random.default_rng(0)
    inputs = rng.normal(1, 1, (500, 6)) @ rng.normal(0, 1, (6, 30))  # of few causes
    weights, bias = rng.normal(0, 1, (5, 30)), rng.normal(0, 1, 5)
    all_inputs = np.column_stack([inputs, np.ones(500)])
    whole, step, new_bias = round_weights(weights, bias, all_inputs.T @ all_inputs)
    assert np.array_equal(whole, np.rint(whole))
    assert np.abs(whole).max() == LARGEST_WEIGHT
    wanted = inputs @ weights.T + bias
    made_up = inputs @ (whole * step[:, None]).T + new_bias
    nearest = inputs @ (np.rint(weights / step[:, None]) * step[:, None]).T + bias
    assert np.square(made_up - wanted).mean() < 0.2 * np.square(nearest - wanted).mean()


def test_an_output_without_weights_and_an_input_that_is_always_zero_stay():
    weights = np.array([[0.0, 0.0], [3.0, 1.0]])
    products = np.diag([0.0, 4.0, 4.0])
    whole, step, bias = round_weights(weights, np.array([2.0, 5.0]), products)
    assert whole.tolist() == [[0, 0], [127, 42]]
    assert bias.tolist() == [2.0, 5.0]
    assert np.allclose(step, [1 / 127, 3 / 127])
    assert np.isfinite(round_weights(weights, np.zeros(2), np.zeros((3, 3)))[0]).all()
