"""Greedy soup on the line: which donors are selected, in which order, and how often the score is computed."""

import numpy as np
import pytest

from gan_jax.fusion.merges.averages import greedy_soup
from gan_jax.fusion.merges.leaves import MergeError
from tests.fusion.merges.cases import close, leaf


def counted(score):
    asked = []

    def of(tree):
        asked.append(float(tree["x"][0]))
        return score(asked[-1])

    return of, asked


def test_by_hand():
    """Distance from 3: 4, then its average with 1 (2.5) is nearer; with 9 it is not; nor with -2."""
    score, asked = counted(lambda x: abs(x - 3))
    soup = greedy_soup([leaf(9.0), leaf(1.0), leaf(4.0), leaf(-2.0)], score)
    close(soup.tree, leaf(2.5))
    assert (soup.selected, soup.score, soup.scores) == ((2, 1), 0.5, (6.0, 2.0, 1.0, 5.0))
    assert asked == [9.0, 1.0, 4.0, -2.0, 2.5, pytest.approx(1.0), pytest.approx(14 / 3)]


def test_what_must_hold():
    donors = [leaf(9.0), leaf(1.0), leaf(4.0)]
    close(greedy_soup(donors[:1], lambda tree: 7.0).tree, donors[0])
    same = greedy_soup([donors[0]] * 3, lambda tree: float(tree["x"][0]))
    close(same.tree, donors[0])
    assert same.selected == (0, 1, 2)  # no worse is enough
    score = lambda tree: abs(float(tree["x"][0]) - 3)
    close(greedy_soup(donors[::-1], score).tree, greedy_soup(donors, score).tree)
    assert greedy_soup(donors, score).score <= min(greedy_soup(donors, score).scores)


def test_scores_that_are_not_finite():
    soup = greedy_soup(
        [leaf(1.0), leaf(2.0), leaf(3.0)], lambda t: np.nan if t["x"][0] in (1.0, 2.5) else float(t["x"][0])
    )
    assert soup.selected == (1,)
    with pytest.raises(MergeError, match=r"no donor has a finite score; they are \[nan, nan\]"):
        greedy_soup([leaf(1.0)] * 2, lambda tree: np.nan)
    with pytest.raises(MergeError, match="no donors"):
        greedy_soup([], lambda tree: 0.0)
