"""Sparse and dense codes answer alike; gates, contributions and counts by hand."""

import torch

from ontogeny.dictionaries.codes import Codes, SourceGate
from ontogeny.dictionaries.sparse import Pattern

NORMS = torch.tensor([[1.0, 0.1], [1.0, 2.0], [0.5, 0.5]])
TABLE = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.5, 3.0, 0.0]])


def sparse_codes(gate: SourceGate | None = None) -> Codes:
    tokens, indices = torch.nonzero(TABLE, as_tuple=True)
    return Codes(TABLE[tokens, indices], NORMS, Pattern.from_pairs(tokens, indices, 3, 3), gate)


def test_shared_gate() -> None:
    for codes in (sparse_codes(), Codes(TABLE, NORMS)):
        assert torch.equal(codes.dense(), TABLE) and torch.equal(codes.dense(1), TABLE)
        assert codes.l0().tolist() == [2, 0, 2] == codes.l0(1).tolist()
        assert codes.counts().tolist() == [2, 1, 1]
    assert torch.equal(sparse_codes().contribution(1), torch.tensor([0.2, 0.5, 0.05, 6.0]))
    assert Codes(TABLE, NORMS).sparse().row_pointer.tolist() == [0, 2, 2, 4]


def test_a_gate_in_each_source_follows_its_own_norm() -> None:
    gate = SourceGate(NORMS, torch.tensor([1.0, 1.0, 1.0]), "latent")
    for codes in (sparse_codes(gate), Codes(TABLE, NORMS, None, gate)):
        assert codes.dense(0).tolist() == [[2, 0, 0], [0, 0, 0], [0, 3, 0]]
        assert codes.dense(1).tolist() == [[0, 0, 0], [0, 0, 0], [0, 3, 0]]
        assert codes.l0().tolist() == [1, 0, 1] and codes.l0(1).tolist() == [0, 0, 1]
        assert codes.counts().tolist() == [1, 1, 0] and codes.counts(1).tolist() == [0, 1, 0]
        union = codes.sparse()
        assert union.indices.tolist() == [0, 1] and union.tokens.tolist() == [0, 2]
        assert torch.equal(union.dense(1), codes.dense(1))


def test_cuts_per_source_and_per_token() -> None:
    by_source = sparse_codes(SourceGate(NORMS, torch.tensor([0.4, 1.0]), "source"))
    assert by_source.gate(0).tolist() == [True, True, True, True]
    assert by_source.gate(1).tolist() == [False, False, False, True]
    cut = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 5.9]])
    by_token = SourceGate(NORMS, cut, "token")
    for codes in (sparse_codes(by_token), Codes(TABLE, NORMS, None, by_token)):
        assert codes.dense(0).tolist() == [[2, 0, 0], [0, 0, 0], [0.5, 3, 0]]
        assert codes.dense(1).tolist() == [[2, 0, 1], [0, 0, 0], [0, 3, 0]]


def test_parts_in_a_row_are_the_whole() -> None:
    for per, cut in (("latent", NORMS[:, 0]), ("source", NORMS[0]), ("token", torch.rand(3, 2))):
        whole = sparse_codes(SourceGate(NORMS, cut, per))
        parts = []
        for start, stop in ((0, 1), (1, 2), (2, 3)):
            tokens, indices = torch.nonzero(TABLE[start:stop], as_tuple=True)
            own = SourceGate(NORMS, cut[start:stop] if per == "token" else cut, per)
            pattern = Pattern.from_pairs(tokens, indices, stop - start, 3)
            parts.append(Codes(TABLE[start:stop][tokens, indices], NORMS, pattern, own))
        joined = Codes.concatenate(parts)
        assert joined.row_pointer.tolist() == whole.row_pointer.tolist()
        assert torch.equal(joined.dense(1), whole.dense(1)) and torch.equal(joined.gate(0), whole.gate(0))
    assert Codes.concatenate([whole]) is whole
