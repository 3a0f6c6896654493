"""A tiny random model of every architecture in the table: width 32, three blocks, vocabulary 97."""

import transformers
from torch import nn
from transformers import PretrainedConfig

VOCABULARY, WIDTH, BLOCKS = 97, 32, 3
_ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    **_ENDS,
}
_GEMMA = {**_LLAMA, "head_dim": 8, "sliding_window": 4}
_IMAGES = {
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
    },
    "mm_tokens_per_image": 4,
    "image_token_index": VOCABULARY - 1,
}

# Sliding windows of 4 on 12 positions and a grouped-query ratio of 2: masks and positions must be right to pass.
CONFIGS = {
    "gpt2": ("GPT2Config", {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": BLOCKS, "n_head": 4, **_ENDS}),
    "gpt_neox": ("GPTNeoXConfig", {**_LLAMA, "use_parallel_residual": True}),
    "gpt_neox_sequential": ("GPTNeoXConfig", {**_LLAMA, "use_parallel_residual": False}),
    "bloom": ("BloomConfig", {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "n_layer": BLOCKS, "n_head": 4, **_ENDS}),
    "llama": ("LlamaConfig", _LLAMA),
    "mistral": ("MistralConfig", {**_LLAMA, "sliding_window": 4}),
    "qwen2": ("Qwen2Config", {**_LLAMA, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    "qwen3": ("Qwen3Config", {**_LLAMA, "head_dim": 8}),
    "olmo": ("OlmoConfig", _LLAMA),
    "olmo2": ("Olmo2Config", _LLAMA),
    "olmo3": ("Olmo3Config", {**_LLAMA, "sliding_window": 4}),
    "gemma2": ("Gemma2Config", {**_GEMMA, "query_pre_attn_scalar": 8, "final_logit_softcapping": 2.0}),
    "gemma3": ("Gemma3TextConfig", {**_GEMMA, "query_pre_attn_scalar": 8, "sliding_window_pattern": 2}),
    "gemma3_images": ("Gemma3Config", {"text_config": {**_GEMMA, "query_pre_attn_scalar": 8}, **_IMAGES}),
}


def build_config(name: str, **changes: object) -> PretrainedConfig:
    """The tiny config of an architecture, with changes."""
    kind, values = CONFIGS[name]
    return getattr(transformers, kind)(**{**values, **changes})


def build_model(name: str, **changes: object) -> nn.Module:
    """A model of the tiny config, every parameter randomised so that no norm or bias is neutral."""
    model = transformers.AutoModelForCausalLM.from_config(build_config(name, **changes)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.02, std=0.2)
    return model
