"""Chains of a complex, under the names by which the pipeline and the registration of chains still ask for them here."""

from cryofound.structure.chains import chain_rows, joined

__all__ = ["chain_rows", "joined"]
