"""The vendored library is the one that its note names."""

import hashlib
from importlib.resources import files


def test_the_vendored_viewer_is_what_its_note_says():
    vendor = files("cryofound.report") / "vendor"
    digest = hashlib.sha256((vendor / "3Dmol-min.js").read_bytes()).hexdigest()
    assert f"3Dmol-min.js     sha256 {digest}" in (vendor / "README.md").read_text()
