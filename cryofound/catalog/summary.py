"""What was understood of a new entry, in the words that its user will check it by."""

from collections.abc import Iterable

from cryofound.catalog.drafting import Draft
from cryofound.catalog.entry import CatalogEntry, LocalSource, MapState, PackageSource


def draft_rows(draft: Draft) -> list[tuple[str, str]]:
    """(what, understood as) of a draft, in the order in which to read them."""
    entry, grid = draft.entry, draft.grid
    maps = [state for state in entry.states if isinstance(state, MapState)]
    shape = " x ".join(str(edge) for edge in grid.shape_zyx[::-1])
    origin = ", ".join(f"{value:.2f}" for value in grid.origin_xyz)
    low, high = min(each.minimum for each in draft.surveys), max(each.maximum for each in draft.surveys)
    met = draft.docking
    return [
        ("states", f"{span([state.state_id for state in maps])}; {origin_of(entry)}"),
        ("grid", f"{shape} voxels (x, y, z) of {grid.voxel_size:.4g} A, origin {origin} A"),
        ("populations", spread(state.population for state in maps)),
        ("resolution", f"{spread(state.resolution for state in maps)} A, {maps[0].resolution_from}"),
        ("values", f"{low:.4g} to {high:.4g}, sd {spread(each.sd for each in draft.surveys)}"),
        ("reference", f"{place_of(entry)}, {entry.reference.method or 'method not known'}"),
        *(("chains", chain) for chain in chain_lines(entry)),
        ("symmetry", entry.symmetry),
        (
            "placement",
            f"{entry.reference.placement}: {met.inside:.0%} of its CA in the box, density there {met.density:.1f} sd "
            f"above the mean (turned at random at most {met.turned:.1f})",
        ),
    ]


def origin_of(entry: CatalogEntry) -> str:
    """Program, job and component of the series, as far as they are known."""
    if entry.series is None:
        return ", ".join(sorted({state.kind.replace("_", " ") for state in entry.states}))
    component = None if entry.series.component is None else f"component {entry.series.component}"
    return ", ".join(part for part in (entry.series.program, entry.series.job, component) if part)


def chain_lines(entry: CatalogEntry) -> list[str]:
    """One line for each group of chains."""
    return [
        f"{len(group.names)} x {group.description or 'protein'} ({', '.join(group.names)}): "
        + (f"{len(group.sequence)} residues" if group.sequence else "sequence not given")
        for group in entry.chains
    ]


def place_of(entry: CatalogEntry) -> str:
    """Where the reference's file comes from."""
    source = entry.sources[entry.reference.source]
    if isinstance(source, LocalSource):
        return f"{source.folder}/{entry.reference.file}"
    return source.distribution if isinstance(source, PackageSource) else source.id


def span(names: list[str]) -> str:
    """How many, and the first and the last."""
    return f"{len(names)}: {names[0]}" + (f" to {names[-1]}" if len(names) > 1 else "")


def spread(numbers: Iterable[float]) -> str:
    """The one number, or the least and the greatest."""
    listed = list(numbers)
    low, high = f"{min(listed):.4g}", f"{max(listed):.4g}"
    return low if low == high else f"{low} to {high}"
