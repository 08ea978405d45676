"""Messages about decoding name what the command line has, and nothing that a user cannot set."""

from medmvl.cli.asking import as_options


def test_settings_have_the_names_of_options() -> None:
    assert (
        as_options("max_new_tokens 512, now 100; shrink_to_fit true, now false")
        == "--max-new-tokens 512, now 100"
    )
    assert as_options("json_schema not given, now {}") == "--schema not given, now {}"


def test_a_limit_that_is_given_now_is_told_though_its_number_is_the_same() -> None:
    assert as_options("shrink_to_fit true, now false") == "--max-new-tokens not given, now given"
    assert as_options("top_p 1, now 0.9; shrink_to_fit false, now true") == "--top-p 1, now 0.9"


def test_declarations_have_the_names_of_options() -> None:
    assert as_options("no spacing: declare spacing_mm.") == "no spacing: declare spacing_mm (--spacing)."
    assert as_options("if it is HU, declare units=HU.") == "if it is HU, declare units=HU (--units HU)."
