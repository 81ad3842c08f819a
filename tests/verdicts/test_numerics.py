"""Our quantile and our root, against scipy's."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize.elementwise import find_root
from scipy.special import stdtrit

from shared.verdicts.intervals import t_quantile
from shared.verdicts.sequential import falling_root

DEGREES = [1, 1.5, 2, 3, 4, 7, 10, 30, 99, 100, 101, 500, 1e4, 1e6]


@pytest.mark.parametrize("share", [0.5, 0.6, 0.9, 0.975, 0.995, 0.9995])
def test_a_quantile_is_the_one_of_scipy(share: float) -> None:
    assert t_quantile(DEGREES, share) == pytest.approx(stdtrit(np.array(DEGREES), share), rel=1e-9)


def test_quantiles_keep_the_shape_of_what_was_asked() -> None:
    assert t_quantile(3.0, 0.975) == pytest.approx(3.182446305, rel=1e-9)
    assert t_quantile([[1, 2], [2, 1]], 0.975).tolist() == [
        pytest.approx([12.706204736, 4.302652730]),
        pytest.approx([4.302652730, 12.706204736]),
    ]


@settings(max_examples=50)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20), st.floats(0.01, 50))
def test_a_root_is_the_one_of_scipy(zeros: list[float], steepness: float) -> None:
    where = np.array(zeros)
    ends = np.full(where.shape, -7.0), np.full(where.shape, 8.0)

    found = falling_root(lambda x: np.tanh(steepness * (where - x)), *ends)

    assert np.allclose(found, where, atol=1e-12)
    scipys = find_root(lambda x, zero: np.tanh(steepness * (zero - x)), ends, args=(where,)).x
    assert np.allclose(found, scipys, atol=1e-9)


def test_a_root_at_an_end_is_found_to_the_last_digit() -> None:
    low, high = np.array([0.0]), np.array([1.0])

    assert falling_root(lambda x: 1 - x, low, high) == pytest.approx(1, abs=1e-15)
    assert math.isclose(float(falling_root(lambda x: 1e-12 - x, low, high)[0]), 1e-12, rel_tol=1e-9)
