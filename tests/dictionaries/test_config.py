"""What a dictionary's configuration refuses."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from ontogeny.config import KindConfig, config_error, config_identity
from ontogeny.dictionaries.activation_functions import ACTIVATION_FUNCTIONS
from ontogeny.dictionaries.config import BUILT_IN_RECON, ActivationConfig, CrosscoderConfig, SparsityConfig
from ontogeny.dictionaries.losses import RECON_LOSSES, SPARSITY_LOSSES


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "exactly one of n_latents and expansion"),
        ({"n_latents": 8, "expansion": 2}, "exactly one of n_latents and expansion"),
        ({"n_latents": 8, "activation": {"kind": "topk", "k": 9}}, "k = 9 is more than n_latents = 8"),
        ({"n_latents": 8, "activation": {"kind": "relu"}, "preact": 0.1}, "needs jumprelu, not relu"),
        (
            {"n_latents": 8, "activation": {"kind": "groupmax", "k": 4}, "gate": "per_source"},
            "groupmax has no gate per source",
        ),
        ({"n_latents": 8, "activation": {"kind": "topk", "k": 4, "bandwidth": 1}}, "Extra inputs are not permitted"),
        ({"n_latents": 8, "activation": {"kind": "topp", "k": 4}}, "no kind 'topp'; did you mean 'topk'"),
        ({"n_latents": 8, "activation": {"k": 4}}, "kind is missing; the kinds are relu, jumprelu"),
        ({"n_latents": 8, "sparsity": {"kind": "l2", "coefficient": 1}}, "no kind 'l2'; did you mean 'l1'"),
        ({"n_latents": 8, "sparsity": {"kind": "none", "coefficient": 1}}, "Extra inputs are not permitted"),
        ({"n_latents": 8, "recon": "square"}, "no reconstruction error 'square'; did you mean 'squared'"),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CrosscoderConfig.model_validate(values)


def test_expansion_multiplies_the_width() -> None:
    assert CrosscoderConfig(expansion=32).latents_for(768) == 24576
    assert CrosscoderConfig(n_latents=100).latents_for(768) == 100


def test_kinds_keep_their_own_settings_through_json() -> None:
    values = {
        "n_latents": 8,
        "activation": {"kind": "jumprelu", "window": 3.0},
        "sparsity": {"kind": "tanh_quad", "coefficient": 0.5},
    }
    config = CrosscoderConfig.model_validate(values)
    dumped = config.model_dump(mode="json")
    assert dumped["activation"] == {"kind": "jumprelu", "threshold": 0.1, "window": 3.0}
    assert CrosscoderConfig.model_validate(json.loads(json.dumps(dumped))) == config
    assert config_identity(config)["sparsity"]["frequency_scale"] == 0.01


def test_an_unknown_key_of_a_kind_names_the_nearest() -> None:
    with pytest.raises(ValidationError) as caught:
        CrosscoderConfig.model_validate({"n_latents": 8, "activation": {"kind": "batchtopk", "k": 1, "buget": "joint"}})
    error = config_error(caught.value, CrosscoderConfig, "here")
    assert str(error) == "here: unknown key 'activation.buget'; did you mean 'budget'?"


@pytest.mark.parametrize(
    ("base", "registry"), [(ActivationConfig, ACTIVATION_FUNCTIONS), (SparsityConfig, SPARSITY_LOSSES)]
)
def test_what_is_read_without_its_registry_is_what_stands_in_it(
    base: type[KindConfig], registry: Mapping[str, Any]
) -> None:
    built_in = {config.model_fields["kind"].default: config for config in base.built_in}
    built_in.pop("none", None)
    assert built_in == {kind: entry.Config for kind, entry in registry.items()}
    assert set(BUILT_IN_RECON) == set(RECON_LOSSES)
