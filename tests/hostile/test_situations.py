"""Generated situations: right, or refused in one sentence; a sample of them, or all."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.hostile.invariant import TALLY
from tests.hostile.subjects import SUBJECTS


def explore(name, situations):
    strategy, outcome = SUBJECTS[name]

    @settings(
        max_examples=situations,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(situation):
        TALLY[name][outcome(situation)] += 1

    run()


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_sample(name):
    explore(name, 50)


@pytest.mark.long
@pytest.mark.parametrize("name", SUBJECTS)
def test_ten_thousand(name):
    explore(name, 1000)
