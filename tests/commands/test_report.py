"""Latents as the command line names them."""

import pytest

from ontogeny.commands.report import parse_latents
from ontogeny.errors import ConfigError


def test_numbers_and_spans() -> None:
    assert parse_latents(None) == []
    assert parse_latents("1, 2,10-12,7-7") == [1, 2, 10, 11, 12, 7]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "give numbers and spans"),
        ("1,,2", "give numbers and spans"),
        ("-1", "give numbers and spans"),
        ("5-2", "'5-2': the span runs backwards; write 2-5"),
        ("0-99999999999", "more than 100,000 latents"),
        ("0-99999,0", "more than 100,000 latents"),
    ],
)
def test_what_names_no_latents_is_said(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_latents(text)
