"""docs/catalog.md speaks of the schema as it is."""

from pathlib import Path

from cryofound.catalog.documentation import field_tables, with_field_tables
from cryofound.catalog.entry import CatalogEntry
from cryofound.catalog.state_schema import MapState


def test_the_document_is_up_to_date(repository: Path) -> None:
    path = repository / "docs/catalog.md"
    told = "run `cryofound catalog fields` and put it between the marks of docs/catalog.md"
    assert with_field_tables(path.read_text()) == path.read_text(), told


def test_every_field_has_its_row_and_says_what_it_means() -> None:
    tables = field_tables()
    for section in (CatalogEntry, MapState):
        for name in section.model_fields:
            assert f"| `{name}` |" in tables
    rows = [line.split(" | ") for line in tables.splitlines() if line.startswith("| `")]
    silent = {row[0] for row in rows if row[-1].strip(" |") == ""}
    # Names that say it themselves: the kind of a section, and fields that are sections with a text of their own.
    assert silent <= {"| `kind`", "| `reference`", "| `edge`", "| `unit`", "| `shape_xyz`"}
    assert "| `population` | number | `1.0` |" in tables
    assert "| `sign` | 1 or -1 | `1` |" in tables
