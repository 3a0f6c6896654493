"""Configuration: identity without the immaterial, hashes, error sentences."""

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from ontogeny.config import Added, Config, Immaterial, config_error, config_identity, content_hash


class Inner(Config):
    rate: float = Field(default=0.1, gt=0)
    threads: Annotated[int, Immaterial] = 2


class Outer(Config):
    inner: Inner = Inner()
    items: tuple[Inner, ...] = ()
    device: Annotated[str, Immaterial] = "cpu"


def test_immaterial_fields_do_not_change_identity() -> None:
    one = Outer(inner=Inner(threads=4), device="cuda", items=(Inner(threads=9),))
    two = Outer(items=(Inner(),))
    assert config_identity(one) == config_identity(two) == {"inner": {"rate": 0.1}, "items": [{"rate": 0.1}]}
    assert content_hash(config_identity(one)) != content_hash(config_identity(Outer()))


def test_an_added_field_enters_identity_when_it_is_not_at_its_default() -> None:
    class Grown(Inner):
        more: Annotated[Inner, Added] = Inner()

    assert config_identity(Grown()) == config_identity(Inner())
    assert config_identity(Grown(more=Inner(threads=7))) == {"rate": 0.1, "more": {"rate": 0.1}}
    assert config_identity(Grown(more=Inner(rate=0.2))) == {"rate": 0.1, "more": {"rate": 0.2}}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"inner": {"rat": 1}}, "recipe: unknown key 'inner.rat'; did you mean 'rate'?"),
        ({"inner": {"rate": -1}}, "recipe: inner.rate = -1: Input should be greater than 0."),
        ({"items": [{"treads": 1}]}, "recipe: unknown key 'items.0.treads'; did you mean 'threads'?"),
        ({"inner": 3}, "recipe: inner = 3: Input should be a table of keys."),
        ({"devise": "x"}, "recipe: unknown key 'devise'; did you mean 'device'?"),
    ],
)
def test_errors_name_key_value_and_cure(data: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(data)
    assert str(config_error(caught.value, Outer, "recipe")) == sentence
