"""Phrases of messages: nothing is cut without its number, and the nearest name is offered."""

from medmvl.messages import did_you_mean, first_of


def test_what_is_not_listed_is_counted() -> None:
    names = [f"n{number}" for number in range(5)]
    assert first_of(names, 5) == "n0\nn1\nn2\nn3\nn4"
    assert first_of(names, 2) == "n0\nn1\n... and 3 more"
    assert first_of(names, 2, separator=", ") == "n0, n1 and 3 more"
    assert first_of(names, 9, total=12, hint=", see bad.csv").endswith("n4\n... and 7 more, see bad.csv")
    assert first_of([]) == ""


def test_the_nearest_names_are_offered() -> None:
    assert (
        did_you_mean("slake-cn", ["slake-en", "slake", "m3d"], 2) == "; did you mean 'slake-en' or 'slake'?"
    )
    assert did_you_mean("entirely else", ["m3d"]) == ""
    assert did_you_mean("heartsize", ["phantoms-zh", "phantoms-choice"]) == "", "half alike is another word"
