"""The pages of metrics and protocols name everything there is."""

from pathlib import Path

from medmvl.tasks.labelers import LABELERS
from medmvl.tasks.metrics.measures import METRICS
from medmvl.tasks.protocols import PROTOCOLS
from medmvl.tasks.protocols import predictions as keys

PAGES = Path(__file__).parents[2] / "docs" / "reference"


def test_the_page_of_metrics_names_every_metric_and_labeler() -> None:
    text = (
        (PAGES / "metrics.md")
        .read_text(encoding="utf-8")
        .replace("`bleu-1` ... `bleu-4`", "`bleu-1` `bleu-2` `bleu-3` `bleu-4`")
    )
    assert [name for name in (*METRICS, *LABELERS) if f"`{name}`" not in text] == []


def test_the_page_of_protocols_names_every_quirk_and_key() -> None:
    text = (PAGES / "protocols.md").read_text(encoding="utf-8")
    for name, protocol in PROTOCOLS.items():
        section = text.split(f"## `{name}`\n")[1].split("\n## ")[0]
        assert protocol.source in section
        assert [line[2:] for line in section.splitlines() if line.startswith("- ")] == list(protocol.quirks)
    for table in (
        keys.ID_KEYS,
        keys.PREDICTION_KEYS,
        keys.REFERENCE_KEYS,
        keys.QUESTION_TYPE_KEYS,
        keys.IMAGE_KEYS,
    ):
        assert all(f"`{key}`" in text for key in table)
