"""Where things are in a language model: one row an architecture, paths into the transformers module tree.

`attn_out` and `mlp_out` name the module whose output is *added to the residual stream*: the post-norm where there is
one (OLMo-2, Gemma), the last linear map where the block's own modules add the residual themselves (BLOOM). With them
resid_pre + attn_out + mlp_out = resid_post holds for every row, parallel residuals (GPT-NeoX) included.

Add a row to `ARCHITECTURES` for a new architecture; `tests/snapshots/test_architectures.py` then needs a tiny config of
it and checks every equality. No code is needed: one block alone is run through the model's own forward, see `hooks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PretrainedConfig

from ontogeny.errors import SnapshotError


@dataclass(frozen=True)
class Architecture:
    """Module paths of one architecture; those from `attention` to `norms` are relative to a block."""

    name: str
    model_types: tuple[str, ...]
    """`config.model_type` of the causal language models that are built like this."""
    token_embedding: str
    embedding: str
    """The module whose output enters block 0: after positions (GPT-2), a norm (BLOOM) or scaling (Gemma)."""
    blocks: str
    attention: str
    mlp: str
    attn_out: str
    mlp_out: str
    norms: tuple[str, ...]
    final_norm: str
    unembedding: str
    logit_softcap: str | None = None
    """Config key of c in logits = c·tanh(logits / c), where the model caps them."""
    refused: dict[str, str] = field(default_factory=dict)
    """Config flags under which the row does not hold, each with the reason."""

    def cap_logits(self, logits: Float[Tensor, "*any id"], config: PretrainedConfig) -> Float[Tensor, "*any id"]:
        """c·tanh(logits / c) where the config caps them, else the logits themselves."""
        cap = None if self.logit_softcap is None else getattr(config, self.logit_softcap, None)
        return logits if cap is None else cap * torch.tanh(logits / cap)


def _llama_like(
    name: str, *model_types: str, norms: Sequence[str], post_norms: bool = False, root: str = "model", **more: str
) -> Architecture:
    """The family of `root.layers.N.{self_attn, mlp}`; with `post_norms` a norm stands before each residual sum."""
    return Architecture(
        name=name,
        model_types=model_types,
        token_embedding=f"{root}.embed_tokens",
        embedding=f"{root}.embed_tokens",
        blocks=f"{root}.layers",
        attention="self_attn",
        mlp="mlp",
        attn_out="post_attention_layernorm" if post_norms else "self_attn",
        mlp_out="post_feedforward_layernorm" if post_norms else "mlp",
        norms=tuple(norms),
        final_norm=f"{root}.norm",
        unembedding="lm_head",
        logit_softcap=more.get("logit_softcap"),
    )


_PRE_NORMS = ("input_layernorm", "post_attention_layernorm")
_POST_NORMS = ("post_attention_layernorm", "post_feedforward_layernorm")
_SANDWICH = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")

ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        name="GPT-2",
        model_types=("gpt2",),
        token_embedding="transformer.wte",
        embedding="transformer.drop",
        blocks="transformer.h",
        attention="attn",
        mlp="mlp",
        attn_out="attn",
        mlp_out="mlp",
        norms=("ln_1", "ln_2"),
        final_norm="transformer.ln_f",
        unembedding="lm_head",
        refused={"add_cross_attention": "cross-attention adds a third term to the residual stream"},
    ),
    Architecture(
        name="GPT-NeoX",
        model_types=("gpt_neox",),
        token_embedding="gpt_neox.embed_in",
        embedding="gpt_neox.emb_dropout",
        blocks="gpt_neox.layers",
        attention="attention",
        mlp="mlp",
        attn_out="post_attention_dropout",
        mlp_out="post_mlp_dropout",
        norms=("input_layernorm", "post_attention_layernorm"),
        final_norm="gpt_neox.final_layer_norm",
        unembedding="lm_head",
    ),
    Architecture(
        name="BLOOM",
        model_types=("bloom",),
        token_embedding="transformer.word_embeddings",
        embedding="transformer.word_embeddings_layernorm",
        blocks="transformer.h",
        attention="self_attention",
        mlp="mlp",
        # BloomAttention and BloomMLP return their output with the residual already added: take it one step earlier.
        attn_out="self_attention.dense",
        mlp_out="mlp.dense_4h_to_h",
        norms=("input_layernorm", "post_attention_layernorm"),
        final_norm="transformer.ln_f",
        unembedding="lm_head",
        refused={
            "apply_residual_connection_post_layernorm": "the residual stream is then the normed one",
            "slow_but_exact": "the output maps are then applied in slices, past their modules",
        },
    ),
    _llama_like("Llama", "llama", norms=_PRE_NORMS),
    _llama_like("Mistral", "mistral", norms=_PRE_NORMS),
    _llama_like("Qwen 2", "qwen2", norms=_PRE_NORMS),
    _llama_like("Qwen 3", "qwen3", norms=_PRE_NORMS),
    _llama_like("OLMo", "olmo", norms=_PRE_NORMS),
    _llama_like("OLMo-2", "olmo2", norms=_POST_NORMS, post_norms=True),
    _llama_like("OLMo-3", "olmo3", norms=_POST_NORMS, post_norms=True),
    _llama_like("Gemma 2", "gemma2", norms=_SANDWICH, post_norms=True, logit_softcap="final_logit_softcapping"),
    _llama_like("Gemma 3", "gemma3_text", norms=_SANDWICH, post_norms=True, logit_softcap="final_logit_softcapping"),
    # Repositories that read images too: their text model, run on text alone.
    _llama_like(
        "Gemma 3 with images",
        "gemma3",
        norms=_SANDWICH,
        post_norms=True,
        root="model.language_model",
        logit_softcap="final_logit_softcapping",
    ),
)


def architecture_of(config: PretrainedConfig) -> Architecture:
    """The row for a model's config; SnapshotError says how to add one where there is none."""
    for row in ARCHITECTURES:
        if config.model_type not in row.model_types:
            continue
        for flag, reason in row.refused.items():
            if getattr(config, flag, False):
                raise SnapshotError(f"{row.name} with {flag} = true is not supported: {reason}.")
        return row
    known = ", ".join(sorted(model_type for row in ARCHITECTURES for model_type in row.model_types))
    raise SnapshotError(
        f"model type {config.model_type!r} is not in the table of architectures (known: {known}); add a row to "
        "ARCHITECTURES in ontogeny/snapshots/architectures.py naming its embedding, blocks, attention, mlp, norms, "
        "final norm and unembedding, or wrap the module with HookedModel.wrap(module, {name: submodule path})."
    )
