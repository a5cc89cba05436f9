"""Which messages the null broker wrongs: in known numbers, by seed and identity alone."""

from __future__ import annotations

import numpy as np
import pytest

from harness.brokers._null_mischief import KINDS, NONE, Dose, Mischief, parse_dose

KEYS = np.arange(100_000, dtype=np.uint64)


def mischief(seed: int = 1, queue: str = "bb_1_1", struck: dict[str, int] | None = None, **doses: str) -> Mischief:
    return Mischief(doses, seed=seed, queue=queue, struck=struck or {})


def rows(chosen: np.ndarray, kind: str) -> list[int]:
    return np.flatnonzero(chosen == list(KINDS).index(kind)).tolist()


@pytest.mark.parametrize(
    ("text", "dose"),
    [
        ("", Dose()),
        ("17", Dose(count=17)),
        ("0", Dose(count=0)),
        ("0.01", Dose(share=0.01)),
        ("1 %", Dose(share=0.01)),
        ("100 %", Dose(share=1.0)),
        ("1.0", Dose(share=1.0)),
    ],
)
def test_a_dose_is_a_count_or_a_share(text: str, dose: Dose) -> None:
    assert parse_dose(text) == dose


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "200 %", "5 ms", "17 x"])
def test_anything_else_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"; expected a count such as 17, or a share such as 0\.01 or '1 %'"):
        parse_dose(text)


def test_no_doses_are_honest() -> None:
    assert mischief().honest
    assert mischief(forget="0", drop="0 %").honest
    assert set(mischief(forget="0").choose(KEYS).tolist()) == {NONE}


def test_a_count_is_met_exactly_and_spread_over_about_twenty_messages_each() -> None:
    chosen = rows(mischief(forget="100").choose(KEYS), "forget")
    assert len(chosen) == 100
    assert 1200 < chosen[-1] < 3000


def test_a_share_strikes_that_part_of_the_messages() -> None:
    assert 900 < len(rows(mischief(corrupt="1 %").choose(KEYS), "corrupt")) < 1100
    assert len(rows(mischief(corrupt="1.0").choose(KEYS), "corrupt")) == len(KEYS)


def test_the_choice_does_not_depend_on_the_blocks() -> None:
    doses = {"drop": "3 %", "forget": "40", "phantom": "0.5"}
    whole = mischief(**doses).choose(KEYS)
    parted = mischief(**doses)
    cuts = np.random.default_rng(1).integers(0, len(KEYS), 300)
    assert np.array_equal(whole, np.concatenate([parted.choose(part) for part in np.split(KEYS, np.sort(cuts))]))


def test_the_choice_depends_on_seed_and_queue() -> None:
    chosen = [
        tuple(rows(mischief(seed, queue, drop="1 %").choose(KEYS), "drop"))
        for seed, queue in ((1, "bb_1_1"), (2, "bb_1_1"), (1, "bb_1_2"))
    ]
    assert len(set(chosen)) == 3


def test_a_message_is_struck_once_by_the_first_kind_that_chose_it() -> None:
    alone = mischief(forget="50 %").choose(KEYS)
    both = mischief(drop="50 %", forget="50 %").choose(KEYS)
    dropped, forgotten = rows(both, "drop"), rows(both, "forget")
    assert set(forgotten) == set(rows(alone, "forget")) - set(dropped)


def test_a_strike_that_could_not_be_made_is_made_later() -> None:
    made = mischief(reorder="1")
    assert len(rows(made.choose(KEYS), "reorder")) == 1
    assert rows(made.choose(KEYS), "reorder") == []
    made.give_back("reorder")
    assert len(rows(made.choose(KEYS), "reorder")) == 1


def test_a_broker_that_was_restarted_goes_on_counting() -> None:
    assert len(rows(mischief(forget="17", struck={"forget": 12}).choose(KEYS), "forget")) == 5
