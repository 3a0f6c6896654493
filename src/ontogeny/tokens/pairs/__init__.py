"""Minimal pairs: prefixes that differ in one thing, and the answers that this thing decides between."""

from ontogeny.tokens.pairs.pair import MinimalPair, PairTokens, tokenize_pairs
from ontogeny.tokens.pairs.sources import READERS, iter_pairs

__all__ = ["READERS", "MinimalPair", "PairTokens", "iter_pairs", "tokenize_pairs"]
