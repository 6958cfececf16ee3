"""Every method over every kind of network: it works, or says why it does not fit; and a summary says the same."""

from __future__ import annotations

import re

import pytest
from tests.contracts.zoo import KINDS, PAGE, Kind, outcomes, page, wrapped

from convscope import ModelError
from convscope.registry import TRIED_BY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, str]]:
    return {kind.name: outcomes(kind) for kind in KINDS}


def test_the_page_is_what_came_of_the_methods(found: dict[str, dict[str, str]]) -> None:
    written = page(found)
    assert PAGE.read_text("utf-8") == written, "write it again: PYTHONPATH=src python -m tests.contracts.zoo"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_summary_says_which_methods_fit(kind: Kind, found: dict[str, dict[str, str]]) -> None:
    model, (height, width), reasons = wrapped(kind), kind.shape[1:], found[kind.name]
    if len(set(reasons.values())) == 1 and all(reasons.values()):  # no method can run on it
        with pytest.raises(ModelError, match=re.escape(reasons["saliency"])):
            model.summary((height, width))
        return
    summary = model.summary((height, width))
    assert {name for name, _ in summary.fits} == {name for name, why in reasons.items() if not why}
    # Methods that take long give the reason of the one that was tried in their place.
    assert all(why == reasons[name] for name, why in summary.does_not_fit if name not in TRIED_BY)
