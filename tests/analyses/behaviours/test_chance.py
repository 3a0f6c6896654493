"""What is above chance: untrained models almost never are, whatever their pairs share, and learned answers are."""

import numpy as np
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from ontogeny.analyses.behaviours.chance import group_pairs, is_above_chance
from ontogeny.analyses.behaviours.scores import BlindVotes
from ontogeny.interventions.prompts import clean_prompts, compute_metric
from ontogeny.latents.clusters import draw_weights, percentile_interval, sum_clusters
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.pairs import MinimalPair, PairTokens, tokenize_pairs
from ontogeny.tokens.pairs.config import PairPolicy
from ontogeny.tokens.vocabulary import closed_tokenizer

VERBS = [("is", "are"), ("was", "were"), ("has", "have")]
NOUNS = [f"n{number}" for number in range(14)]
TOKENIZER = closed_tokenizer(
    [*NOUNS, *(f"{noun}s" for noun in NOUNS), "the", *(verb for both in VERBS for verb in both)]
)


def make_pairs(n: int, seed: int, one_sided: bool = False) -> PairTokens:
    """Nouns and verbs that agree; one-sided: "is" is always right, and the last token tells nothing."""
    draw, pairs = np.random.default_rng(seed), []
    for _ in range(n):
        noun, verbs, number = (
            draw.choice(NOUNS),
            VERBS[0 if one_sided else int(draw.integers(3))],
            0 if one_sided else int(draw.integers(2)),
        )
        prefix = f"the {noun}{'s' if number else ''}{' the' if one_sided else ''}"
        pairs.append(MinimalPair(prefix, f" {verbs[number]}", f" {verbs[1 - number]}", cluster=noun))
    return tokenize_pairs(pairs, TOKENIZER, PairPolicy())


def ask(pairs: PairTokens, model: HookedModel) -> tuple[np.ndarray, np.ndarray]:
    """right, blind."""
    prompts, votes = clean_prompts(pairs), BlindVotes(pairs, 0)
    with torch.no_grad():
        logits = model.forward(prompts.tokens, prompts.attention).logits
    votes.add(prompts, torch.arange(len(pairs)), logits)
    gain = -compute_metric(logits, prompts).double().numpy()
    return (gain > 0) + 0.5 * (gain == 0), votes.share


def judge(pairs: PairTokens, right: np.ndarray, blind: np.ndarray, least: int = 10) -> bool | None:
    return is_above_chance(right, blind, group_pairs(pairs), draws=400, seed=0, min_clusters=least)


def low(pairs: PairTokens, right: np.ndarray) -> float:
    sums = sum_clusters(right, pairs.cluster, pairs.n_clusters)
    return float(percentile_interval(sums.bootstrap(draw_weights(pairs.n_clusters, 400, 0)))[0])


def test_untrained_models_are_above_chance_in_one_case_of_twenty_at_most() -> None:
    config = GPTNeoXConfig(
        vocab_size=len(TOKENIZER), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    found: dict[str, list[bool | None]] = {"few": [], "many": [], "one-sided": []}
    by_interval_alone = 0
    for seed in range(40):
        torch.manual_seed(seed)
        model = HookedModel(GPTNeoXForCausalLM(config).eval())
        for name, pairs in (
            ("few", make_pairs(24, seed)),
            ("many", make_pairs(150, seed)),
            ("one-sided", make_pairs(60, seed, one_sided=True)),
        ):
            right, blind = ask(pairs, model)
            found[name].append(judge(pairs, right, blind))
            by_interval_alone += low(pairs, right) > 0.5
    for name, said in found.items():
        assert sum(each is True for each in said) <= 2, name
    # The interval over clusters alone is taken in by models that like one answer.
    assert by_interval_alone > 12


def test_a_learned_behaviour_is_above_chance_and_few_clusters_say_nothing() -> None:
    pairs = make_pairs(60, 0)
    right, blind = np.ones(60), np.full(60, 0.5)
    right[:3] = 0
    assert judge(pairs, right, blind) is True
    assert judge(pairs, right, blind, least=pairs.n_clusters + 1) is None
    assert judge(pairs, right, np.full(60, 0.96)) is False, "the answers alone get as much"
    assert judge(pairs, right, np.full(60, np.nan)) is True, "one word after two prefixes has no such control"
    assert judge(pairs, 1 - right, blind) is False


def test_the_control_is_the_mean_over_other_clusters_prefixes() -> None:
    pairs = make_pairs(9, 1)
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(9, pairs.clean.shape[1], len(TOKENIZER), generator=draw)
    votes = BlindVotes(pairs, 0)
    prompts = clean_prompts(pairs)
    for span in torch.arange(9).split(4):
        votes.add(prompts.take(span), span, logits[span])
    for pair in range(9):
        others = [at for at in range(9) if pairs.cluster[at] != pairs.cluster[pair]]
        finals = [logits[at, int(prompts.last[at])] for at in others]
        expected = np.mean([bool(final[int(pairs.right[pair])] > final[int(pairs.wrong[pair])]) for final in finals])
        assert votes.share[pair] == np.float64(expected)


def test_pairs_hang_together_by_noun_last_token_and_answers() -> None:
    texts = [("the n1", " is", " are", "a"), ("the n1s", " are", " is", "a"), ("the n2", " was", " were", "b")]
    pairs = tokenize_pairs([MinimalPair(*each[:3], cluster=each[3]) for each in texts], TOKENIZER, PairPolicy())
    cluster, last, answers = group_pairs(pairs)
    assert cluster.tolist() == [0, 0, 1] and len(set(last.tolist())) == 3
    assert answers[0] == answers[1] != answers[2]
