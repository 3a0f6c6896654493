"""Minimal pairs that need no file: agreement, indirect objects, induction, years, and the planted language."""

import random
from collections.abc import Callable, Iterator, Sequence

from ontogeny.tokens.pairs.config import BehaviourConfig
from ontogeny.tokens.pairs.pair import MinimalPair
from ontogeny.tokens.rules.labels import Role
from ontogeny.tokens.rules.world import RulesWorld, build_rules

Length = Callable[[str], int]
"""Tokens of a word: one, and it may be an answer; as many in both its forms, and it leaves prefixes of equal length."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NOUNS = _words(
    "author boy brother captain child cook doctor farmer friend girl guard guest king lady lawyer man master mother "
    "nurse officer painter pilot player poet priest queen sister soldier student teacher uncle woman worker writer"
)
# As long in the plural, also letter by letter: to a small tokenizer most plurals are a token more.
MEN = _words(
    "chairman craftsman fireman fisherman footman gentleman horseman huntsman milkman policeman postman salesman "
    "watchman workman"
)
IRREGULAR = {"child": "children", "man": "men", "woman": "women", "lady": "ladies"}
VERBS = (("is", "are"), ("was", "were"), ("has", "have"))
PREPOSITIONS = _words("near behind beside with above against")
NAMES = _words(
    "John Mary Tom James Anna Peter Jane Henry Alice George Emma Charles Sarah William Kate Paul Susan Robert Lucy Jack"
)
PLACES = _words("house garden school station market church office shop town street room door")
THINGS = _words("book letter ring drink flower key coat present paper hand light water fire table horse name")
# Single tokens even of a small tokenizer that was made of source code, to which most nouns are not.
COMMON = _words(
    "all any code data default error file first from has if line list module name new next not number one only other "
    "path result return same set string test text that then this time type use value when with"
)
EVENTS = _words("war trial voyage reign project siege strike meeting")


def _fitting(
    words: Sequence[str], length: Length, least: int, forms: Callable[[str], Sequence[str]] = lambda w: (w,)
) -> list[str]:
    """The words all of whose forms are one token; where fewer than `least` are, those whose forms are of one length;
    all words where there are too few of these too (skipping then tells why)."""
    lengths = {word: {length(form) for form in forms(word)} for word in words}
    for fitting in ([word for word in words if lengths[word] == {1}], [w for w in words if len(lengths[w]) == 1]):
        if len(fitting) >= least:
            return fitting
    return list(words)


def plural(noun: str) -> str:
    """The plural of one of `NOUNS` or `MEN`."""
    return f"{noun[:-2]}en" if noun in MEN else IRREGULAR.get(noun, f"{noun}s")


def iter_agreement(config: BehaviourConfig, length: Length) -> Iterator[MinimalPair]:
    """ "The author near the guards" -> is / are: every attractor has the number that the subject has not.

    The patch prefix changes the subject's number alone. Cluster: the subject.
    """
    draw = random.Random(config.seed)
    single = [noun for noun in NOUNS if length(noun) == length(plural(noun)) == 1]
    known = NOUNS if len(single) > config.attractors else NOUNS + MEN
    nouns = _fitting(known, length, 1 + config.attractors, lambda noun: (noun, plural(noun)))
    # Answers of several tokens are skipped: verbs that are single tokens first.
    verbs = [forms for forms in VERBS if all(length(form) == 1 for form in forms)] or VERBS
    for _ in range(config.n_pairs):
        subject, *others = draw.sample(nouns, 1 + config.attractors)
        verb = draw.choice(verbs)
        number = draw.randrange(2)
        forms = (subject, plural(subject))
        tail = "".join(f" {draw.choice(PREPOSITIONS)} the {other if number else plural(other)}" for other in others)
        yield MinimalPair(
            f"The {forms[number]}{tail}",
            f" {verb[number]}",
            f" {verb[1 - number]}",
            f"The {forms[1 - number]}{tail}",
            cluster=subject,
            phenomenon=f"agreement, {config.attractors} attractors",
        )


def iter_ioi(config: BehaviourConfig, length: Length) -> Iterator[MinimalPair]:
    """ "When Mary and John went to the shop, John gave the ring to" -> Mary / John; the patch swaps who gives.

    Wang et al. 2022, arXiv 2211.00593. Cluster: the two names.
    """
    draw = random.Random(config.seed)
    names = _fitting(NAMES, length, 3)
    for _ in range(config.n_pairs):
        indirect, subject = draw.sample(names, 2)
        first, second = draw.sample((indirect, subject), 2)
        place, thing = draw.choice(PLACES), draw.choice(THINGS)

        def text(
            giver: str, opening: str = f"When {first} and {second} went to the {place},", thing: str = thing
        ) -> str:
            return f"{opening} {giver} gave the {thing} to"

        yield MinimalPair(
            text(subject),
            f" {indirect}",
            f" {subject}",
            text(indirect),
            cluster="/".join(sorted((indirect, subject))),
            phenomenon="indirect object identification",
        )


def iter_induction(config: BehaviourConfig, length: Length) -> Iterator[MinimalPair]:
    """ "… king boy … | … king" -> boy: what followed a word before follows it again; the patch changes what followed.

    Olsson et al. 2022, arXiv 2209.11895. Words are drawn without replacement, so nothing but the repetition tells.
    Cluster: the repeated word.
    """
    draw = random.Random(config.seed)
    nouns = NOUNS + PLACES + THINGS
    single = sum(length(noun) == 1 for noun in nouns)
    known = _fitting(nouns if single >= 10 else COMMON, length, 10)
    for _ in range(config.n_pairs):
        *words, other = draw.sample(known, 9)
        at = draw.randrange(2, 6)
        changed = [*words[:at], other, *words[at + 1 :]]
        cue = words[at - 1]
        prefixes = [f" {' '.join(each)} {' '.join(words[:at])}" for each in (words, changed)]
        yield MinimalPair(prefixes[0], f" {words[at]}", f" {other}", prefixes[1], cluster=cue, phenomenon="induction")


def iter_greater_than(config: BehaviourConfig, length: Length) -> Iterator[MinimalPair]:
    """ "The war lasted from the year 1745 to the year 17" -> 6 / 3: the end must not lie before the start.

    Hanna, Liu, Variengien 2023, arXiv 2305.00586, by one digit so that it is one token for most tokenizers. The patch
    prefix starts later than the wrong answer and also than the right one. Cluster: the event.
    """
    draw = random.Random(config.seed)
    for _ in range(config.n_pairs):
        event, century = draw.choice(EVENTS), draw.randrange(11, 20)
        low, middle, high = sorted(draw.sample(range(1, 9), 3))
        early, late = (f"{tens}{draw.randrange(10)}" for tens in (low, high))
        openings = [
            f"The {event} lasted from the year {century}{start} to the year {century}" for start in (early, late)
        ]
        yield MinimalPair(
            openings[0],
            str(middle),
            str(max(low - 1, 0)),
            openings[1],
            cluster=event,
            phenomenon="greater than",
        )


def iter_rules(config: BehaviourConfig, length: Length) -> Iterator[MinimalPair]:
    """The planted language: a text that ends before a determined word -> that word / what another episode calls for.

    Clean and patch prefix share their beginning and end with two episodes of one rule, of equal length, that call for
    different words in the same place. Every word is a token of its own, so `length` decides nothing. Cluster: the clean
    prefix's last episode; phenomenon: the rule. Rules that do not occur in the text are left out.
    """
    world = build_rules(config.rules)
    rules = [number for number, probability in enumerate(world.probabilities) if probability > 0]
    for number in range(-(-config.n_pairs // len(rules))):
        for rule in rules:
            pair = _rule_pair(world, rule, config.seed + number)
            if pair is not None:
                yield pair


def _rule_pair(world: RulesWorld, rule: int, number: int, tries: int = 16) -> MinimalPair | None:
    """A pair of one rule, None where no two of its episodes of equal length differ in an answer."""
    clean = world.probe(rule, number * (tries + 1))
    for other in range(1, tries + 1):
        patch = world.probe(rule, number * (tries + 1) + other)
        first, second = clean.words[clean.starts[-1] :], patch.words[patch.starts[-1] :]
        determined = clean.labels["role"][clean.starts[-1] :] == Role.DETERMINED
        alike = len(first) == len(second)
        places = [at for at in range(1, len(first)) if alike and determined[at] and first[at] != second[at]]
        # What lies before must differ too, else nothing tells the answers apart.
        places = [at for at in places if first[:at] != second[:at]]
        if places:
            at, opening = places[0], clean.words[: clean.starts[-1]]
            return MinimalPair(
                " ".join((*opening, *first[:at])),
                f" {first[at]}",
                f" {second[at]}",
                " ".join((*opening, *second[:at])),
                cluster=" ".join(first),
                phenomenon=world.rules[rule].name,
                language="rules",
            )
    return None
