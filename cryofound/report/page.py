"""A self-contained page: template, style, scripts, libraries and data in one HTML file that may fetch nothing."""

import base64
import gzip
import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

VENDOR = files("cryofound.report") / "vendor"
SOURCES = files("cryofound.report") / "page"


def write_page(
    path: Path, template: str, scripts: Sequence[str], data: Mapping[str, Any], context: Mapping[str, Any]
) -> None:
    """Write `path` from a template and scripts of the folder `page`; whole or not at all, the same each time.

    data goes in as JSON, and everything in `context` is escaped. The content security policy lets the page run
    its own scripts, by their checksums, and nothing else, and fetch nothing; 3Dmol and plotly are packed.
    """
    libraries = {"plotly": get_plotlyjs(), "3dmol": (VENDOR / "3Dmol-min.js").read_text(encoding="utf-8")}
    texts = [(SOURCES / name).read_text(encoding="utf-8") for name in scripts]
    environment = Environment(
        loader=PackageLoader("cryofound.report", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    html = environment.get_template(template).render(
        **context,
        data=data,
        style=Markup((SOURCES / "page.css").read_text(encoding="utf-8")),
        scripts=[Markup(text) for text in texts],
        libraries={name: _packed(text) for name, text in libraries.items()},
        policy=_policy([*texts, *libraries.values()]),
        licences=licences(libraries["plotly"]),
    )
    aside = path.with_name(path.name + ".partial")
    aside.write_text(html, encoding="utf-8")
    os.replace(aside, path)


def licences(plotly: str) -> list[str]:
    """What the libraries' licences ask to be shown."""
    return [(VENDOR / "3Dmol-LICENSE.txt").read_text(encoding="utf-8"), plotly.split("*/", 1)[0].strip("/* \n")]


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _policy(scripts: Sequence[str]) -> str:
    sums = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts)
    return f"default-src 'none'; script-src {sums}; style-src 'unsafe-inline'; img-src data: blob:"
