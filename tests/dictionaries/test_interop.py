"""Round trips through every format, and the sentences for what a format cannot hold."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.dictionaries.interop import EXPORTERS, IMPORTERS, export_dictionary, import_dictionary
from ontogeny.dictionaries.interop.conversion import set_thresholds
from ontogeny.errors import ConfigError, DictionaryFormatError

D, LATENTS, TOKENS = 12, 48, 64
K = {"topk": {"k": 5}, "batchtopk": {"k": 5}, "groupmax": {"k": 6}, "relu": {}, "jumprelu": {}}


def make(kind: str, sources: int = 1, scales: list[float] | None = None, centred: bool = True, **options) -> Crosscoder:
    """A crosscoder with random weights, unequal decoder norms, and thresholds in the middle of its scores."""
    activation = {"kind": kind, **K[kind], **options.pop("activation", {})}
    config = CrosscoderConfig(n_latents=LATENTS, activation=activation, aux_k=None, **options)
    crosscoder = Crosscoder(config, [f"step{2**i}" for i in range(sources)], d_model=D)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in crosscoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
        crosscoder.W_dec.mul_(torch.rand(LATENTS, sources, 1, generator=generator) + 0.5)
        crosscoder.set_scales(
            torch.tensor(scales or [1.0] * sources), torch.randn(sources, D, generator=generator) * float(centred)
        )
        if kind == "jumprelu":
            set_thresholds(crosscoder, torch.rand(LATENTS, generator=generator) + 0.3)
        if kind == "batchtopk":
            set_thresholds(crosscoder, torch.full_like(crosscoder.activation.threshold, 1.5))
    return crosscoder.eval()


def assert_equal_dictionaries(found: Crosscoder, wanted: Crosscoder) -> None:
    x = torch.randn(TOKENS, len(wanted.sources_in), D, generator=torch.Generator().manual_seed(3)) * 2
    with torch.no_grad():
        for source in range(wanted.n_sources):
            codes, same = wanted.encode(x).dense(source), found.encode(x).dense(source)
            assert (codes > 0).any(), "the case is empty"
            assert torch.equal(codes > 0, same > 0)
            assert (codes - same).abs().max() <= 1e-5 * codes.abs().max()
        assert (found(x) - wanted(x)).abs().max() <= 1e-5 * wanted(x).abs().max()


HELD = [
    ("saelens", ("relu",), {"scales": [0.3]}),
    ("saelens", ("relu",), {"scales": [0.3], "subtract_b_dec": True}),
    ("saelens", ("topk",), {"scales": [0.3]}),
    ("saelens", ("topk",), {"scales": [0.3], "norm": "none", "subtract_b_dec": True}),
    ("saelens", ("topk",), {"scales": [0.3], "gate": "per_source"}),
    ("saelens", ("jumprelu",), {"scales": [0.3]}),
    ("saelens", ("jumprelu",), {"scales": [2.5], "gate": "per_source"}),
    ("saelens", ("batchtopk",), {"scales": [0.3], "norm": "mixed"}),
    ("sparsify", ("topk",), {"scales": [0.3], "norm": "none"}),
    ("sparsify", ("groupmax",), {"scales": [0.3], "norm": "none", "skip": True}),
    ("dictionary_learning", ("relu",), {"scales": [0.3]}),
    ("dictionary_learning", ("topk",), {"scales": [0.3], "norm": "none"}),
    ("dictionary_learning", ("batchtopk",), {"scales": [0.3], "norm": "none"}),
    ("dictionary_learning", ("batchtopk",), {"scales": [0.3]}),
    ("dictionary_learning", ("jumprelu",), {"scales": [0.3], "subtract_b_dec": True}),
    ("dictionary_learning_crosscoder", ("relu", 3), {"scales": [0.3, 1.0, 4.0]}),
    ("dictionary_learning_crosscoder", ("relu", 3), {"scales": [0.3, 0.3, 0.3], "norm": "frobenius"}),
    ("dictionary_learning_crosscoder", ("batchtopk", 3), {"scales": [0.3, 0.3, 0.3]}),
    ("dictionary_learning_crosscoder", ("batchtopk", 2), {"norm": "mixed"}),
    ("dictionary_learning_crosscoder", ("batchtopk", 2), {"norm": "none"}),
    (
        "dictionary_learning_crosscoder",
        ("batchtopk", 2),
        {"gate": "per_source", "activation": {"budget": "separate"}},
    ),
    ("ckkissane", ("relu", 2), {"scales": [0.3, 4.0]}),
    ("lm_saes", ("relu", 3), {"scales": [0.3, 1.0, 4.0]}),
    ("lm_saes", ("jumprelu", 3), {"scales": [0.3, 1.0, 4.0], "gate": "per_source"}),
    ("lm_saes", ("batchtopk", 3), {"scales": [0.3, 1.0, 4.0], "gate": "per_source"}),
    ("lm_saes", ("topk", 3), {"scales": [0.3, 1.0, 4.0], "gate": "per_source"}),
    ("lm_saes", ("jumprelu", 1), {"scales": [0.3]}),
]


@pytest.mark.parametrize(("format", "arguments", "options"), HELD, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("folded", [False, True], ids=["scaled", "folded"])
def test_round_trip(format: str, arguments: tuple, options: dict, folded: bool, tmp_path: Path) -> None:
    crosscoder = make(*arguments, **options)
    export_dictionary(crosscoder.fold_scales() if folded else crosscoder, tmp_path, format)
    found = import_dictionary(tmp_path)
    assert_equal_dictionaries(found, crosscoder)
    assert_equal_dictionaries(import_dictionary(tmp_path, format), crosscoder)


def test_a_transcoder_with_a_skip_goes_through_sparsify(tmp_path: Path) -> None:
    config = CrosscoderConfig(n_latents=LATENTS, activation={"kind": "topk", "k": 5}, norm="none", skip=True)
    crosscoder = Crosscoder(config, ["mlp_in"], ["mlp_out"], d_model=D)
    with torch.no_grad():
        for parameter in crosscoder.parameters():
            parameter.normal_()
        crosscoder.set_scales(torch.tensor([0.5]), torch.randn(1, D), torch.tensor([3.0]), torch.randn(1, D))
    export_dictionary(crosscoder.eval(), tmp_path, "sparsify")
    found = import_dictionary(tmp_path)
    assert found.is_transcoder
    assert_equal_dictionaries(found, crosscoder)


def test_unit_decoder_moves_the_norm_into_the_codes(tmp_path: Path) -> None:
    crosscoder = make("topk", scales=[0.3])
    with pytest.raises(DictionaryFormatError, match="unit_decoder=True"):
        export_dictionary(crosscoder, tmp_path, "sparsify")
    export_dictionary(crosscoder, tmp_path, "sparsify", unit_decoder=True)
    found = import_dictionary(tmp_path)
    x = torch.randn(TOKENS, 1, D)
    with torch.no_grad():
        norms = torch.linalg.vector_norm(crosscoder.W_dec / 0.3, dim=-1)[:, 0]
        wanted = crosscoder.encode(x).dense() * norms
        assert torch.allclose(found.encode(x).dense(), wanted, rtol=1e-4, atol=1e-5)
        assert torch.allclose(found(x), crosscoder(x), rtol=1e-4, atol=1e-4)
    assert torch.allclose(found.W_dec.norm(dim=-1), torch.ones(LATENTS, 1))


@pytest.mark.parametrize("norm", ["sum", "frobenius", "mixed", "none"])
def test_one_gate_over_sources_of_unequal_scales_is_held_with_its_norms_in_the_codes(norm: str, tmp_path: Path) -> None:
    crosscoder, form = make("batchtopk", 2, norm=norm, scales=[0.3, 1.7]), "dictionary_learning_crosscoder"
    if norm != "none":
        with pytest.raises(DictionaryFormatError, match="--unit-decoder"):
            export_dictionary(crosscoder, tmp_path, form)
    export_dictionary(crosscoder, tmp_path, form, unit_decoder=norm != "none")
    found, x = import_dictionary(tmp_path), torch.randn(TOKENS, 2, D)
    with torch.no_grad():
        shared = crosscoder.shared_norm(crosscoder.decoder_norms())
        wanted = crosscoder.encode(x).dense() * (1 if shared is None else shared)
        assert (wanted > 0).any() and (wanted == 0).any()
        assert torch.allclose(found.encode(x).dense(), wanted, rtol=1e-4, atol=1e-5)
        assert torch.allclose(found(x), crosscoder(x), rtol=1e-4, atol=1e-4)


REFUSED = [
    ("saelens", ("relu", 2), {}, "one source"),
    ("saelens", ("groupmax",), {}, "groupmax"),
    ("saelens", ("topk",), {"skip": True}, "skip"),
    ("sparsify", ("relu",), {}, "relu"),
    ("sparsify", ("topk", 2), {}, "one source"),
    ("dictionary_learning", ("topk",), {}, "unit_decoder"),
    ("dictionary_learning_crosscoder", ("batchtopk", 2), {"scales": [1.0, 2.0]}, "one activation scale"),
    ("dictionary_learning_crosscoder", ("topk", 2), {}, "topk"),
    ("dictionary_learning_crosscoder", ("batchtopk", 2), {"gate": "per_source"}, "budget"),
    ("ckkissane", ("jumprelu", 2), {}, "jumprelu"),
    ("lm_saes", ("batchtopk", 2), {}, "dictionary_learning_crosscoder, with --unit-decoder"),
    ("lm_saes", ("topk", 2), {}, "no format holds topk so"),
    ("lm_saes", ("topk", 1), {"norm": "none"}, "saelens"),
    ("lm_saes", ("groupmax", 1), {}, "groupmax"),
]


@pytest.mark.parametrize(("format", "arguments", "options", "words"), REFUSED, ids=lambda v: str(v)[:40])
def test_what_a_format_cannot_hold_is_refused(
    format: str, arguments: tuple, options: dict, words: str, tmp_path: Path
) -> None:
    with pytest.raises(DictionaryFormatError, match=words):
        export_dictionary(make(*arguments, **options), tmp_path / "out", format)
    assert not (tmp_path / "out").exists()


def test_batchtopk_without_a_threshold_is_refused(tmp_path: Path) -> None:
    crosscoder = make("batchtopk")
    set_thresholds(crosscoder, torch.tensor([-1.0]))
    with pytest.raises(DictionaryFormatError, match="no inference threshold"):
        export_dictionary(crosscoder, tmp_path, "saelens")


def test_pickles_are_refused_with_the_way_to_convert_them(tmp_path: Path) -> None:
    (tmp_path / "ae.pt").write_bytes(b"not read")
    with pytest.raises(DictionaryFormatError, match="save_file"):
        import_dictionary(tmp_path)
    with pytest.raises(DictionaryFormatError, match="pickle"):
        import_dictionary(tmp_path / "ae.pt")


def change_config(folder: Path, name: str, **changes: object) -> None:
    config = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"normalize_activations": "layer_norm"}, "layer_norm"),
        ({"normalize_activations": "expected_average_only_in"}, "expected_average_only_in"),
        ({"reshape_activations": "hook_z"}, "hook_z"),
        ({"architecture": "gated"}, "gated"),
        ({"d_sae": 7}, "shape"),
    ],
)
def test_saelens_files_that_do_more_are_refused(changes: dict[str, object], words: str, tmp_path: Path) -> None:
    export_dictionary(make("relu"), tmp_path, "saelens")
    change_config(tmp_path, "cfg.json", **changes)
    with pytest.raises(DictionaryFormatError, match=words):
        import_dictionary(tmp_path)


def test_a_tensor_that_nobody_understands_is_not_dropped(tmp_path: Path) -> None:
    export_dictionary(make("relu"), tmp_path, "saelens")
    file = tmp_path / "sae_weights.safetensors"
    save_file(load_file(file) | {"scaling_factor": torch.ones(LATENTS)}, file)
    with pytest.raises(DictionaryFormatError, match="scaling_factor"):
        import_dictionary(tmp_path)


def test_unknown_files_formats_and_damage_are_named(tmp_path: Path) -> None:
    with pytest.raises(DictionaryFormatError, match="does not exist"):
        import_dictionary(tmp_path / "nowhere")
    with pytest.raises(DictionaryFormatError, match=r"no \.safetensors"):
        import_dictionary(tmp_path)
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(DictionaryFormatError, match="no known format"):
        import_dictionary(tmp_path)
    with pytest.raises(DictionaryFormatError, match="there is no format 'sae'"):
        import_dictionary(tmp_path, "sae")
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(DictionaryFormatError, match="damaged"):
        import_dictionary(tmp_path)


def test_autoencoders_with_the_same_tensors_need_their_class(tmp_path: Path) -> None:
    export_dictionary(make("topk", norm="none"), tmp_path, "dictionary_learning")
    change_config(tmp_path, "config.json", trainer={})
    with pytest.raises(DictionaryFormatError, match="dict_class"):
        import_dictionary(tmp_path)


def test_lm_saes_norms_of_a_token_are_refused(tmp_path: Path) -> None:
    export_dictionary(make("relu", 2), tmp_path, "lm_saes")
    change_config(tmp_path, "config.json", norm_activation="token-wise")
    with pytest.raises(DictionaryFormatError, match="token-wise"):
        import_dictionary(tmp_path)


def test_imports_and_exports_know_the_same_formats() -> None:
    assert set(IMPORTERS) == set(EXPORTERS)


def test_a_configuration_that_is_missing_or_short_is_named(tmp_path: Path) -> None:
    export_dictionary(make("topk"), tmp_path, "saelens")
    change_config(tmp_path, "cfg.json", k=1000)
    with pytest.raises(ConfigError, match="1000"):
        import_dictionary(tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    del config["d_in"]
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(DictionaryFormatError, match="lacks d_in"):
        import_dictionary(tmp_path)
    (tmp_path / "cfg.json").unlink()
    with pytest.raises(DictionaryFormatError, match=r"no cfg\.json"):
        import_dictionary(tmp_path, "saelens")
