"""The page that browser tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import MagicMock

import pytest

if TYPE_CHECKING:
    from conftest import Pages

ONE_RENDERER = pytest.mark.parametrize("pages", ["classic"], indirect=True)


@ONE_RENDERER
def test_a_page_that_did_not_open_is_not_handed_to_the_next_test(pages: Pages) -> None:
    """It is closed, and another is opened; or the next test would fail too, and say nothing of why."""
    slow, quick, browser = MagicMock(), MagicMock(), MagicMock()
    slow.new_page().goto.side_effect = TimeoutError("a busy machine")
    browser.new_context.side_effect = [slow, quick]
    shared = type(pages)(browser, MagicMock(), vue=False)
    with pytest.raises(TimeoutError):
        shared.page()
    assert shared.page().page is quick.new_page()
    slow.close.assert_called_once()
    shared.close()
    quick.close.assert_called_once()
