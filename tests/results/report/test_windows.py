"""Packed windows unpack to what went in."""

import base64

import numpy as np

from ontogeny.results.report.windows import MOST_WINDOWS, Window, pack_windows

SOURCES = ("a", "b", "c")


def window(kind: str, number: int, rng: np.random.Generator, count: int = 7) -> Window:
    row = {"kind": kind, "bin": number % 2 if kind == "bin" else None, "rank": number, "document": 0, "row": number}
    row |= {"position": 3, "value": 1.0, "at": 2, "tokens": ["\u0000x"] * count, "values": rng.random(count).tolist()}
    gates, own = rng.random((2, count)) < 0.5, rng.normal(size=(2, count))
    by_source = {
        name: {"gate": gate.tolist(), "evidence": evidence.tolist()}
        for name, gate, evidence in zip(SOURCES[1:], gates, own)
    }
    return Window(row, by_source)


def test_gates_are_exact_and_evidence_is_close() -> None:
    given = window("top", 0, np.random.default_rng(0))
    (packed,) = pack_windows([given], SOURCES)
    count = len(packed["tokens"])
    bits = np.unpackbits(np.frombuffer(base64.b64decode(packed["gate"]), np.uint8))[: 3 * count].reshape(3, count)
    evidence = np.frombuffer(base64.b64decode(packed["evidence"]), np.int8).reshape(3, count) * packed["unit"]
    assert not bits[0].any() and not evidence[0].any()
    for index, name in enumerate(SOURCES[1:], start=1):
        assert bits[index].astype(bool).tolist() == given.by_source[name]["gate"]
        np.testing.assert_allclose(evidence[index], given.by_source[name]["evidence"], atol=packed["unit"])
    assert packed["tokens"][0] == "⟨U+0000⟩x"


def test_the_strongest_first_and_not_too_many() -> None:
    rng = np.random.default_rng(0)
    windows = [window(kind, number, rng) for kind in ("control", "bin", "top") for number in range(20)]
    packed = pack_windows(windows, SOURCES)
    kinds = [each["kind"] for each in packed]
    assert kinds == ["top"] * MOST_WINDOWS["top"] + ["bin"] * 2 * MOST_WINDOWS["bin"] + ["control"] * 4
    assert [each["row"] for each in packed[:3]] == [0, 1, 2]
    assert packed[MOST_WINDOWS["top"]]["bin"] == 1, "the highest bin follows the strongest"


def test_without_sources_a_window_has_its_codes_alone() -> None:
    given = window("top", 0, np.random.default_rng(0))
    (packed,) = pack_windows([Window(given.row, {})], SOURCES)
    assert "gate" not in packed and len(packed["values"]) == 7
