"""A model with random weights, which do not matter to the clock."""

from transformers import GPTNeoXConfig, GPTNeoXForCausalLM


def build_model(d_model: int, n_layers: int, vocab_size: int, length: int, n_heads: int = 8) -> GPTNeoXForCausalLM:
    """A GPTNeoX in evaluation mode for rows of at most `length` tokens."""
    config = GPTNeoXConfig(
        vocab_size=vocab_size,
        hidden_size=d_model,
        intermediate_size=4 * d_model,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        max_position_embeddings=length,
    )
    return GPTNeoXForCausalLM(config).eval()
