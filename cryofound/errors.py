"""Errors a user can cause: one line that says what is wrong and how to mend it."""


class CryoFoundError(Exception):
    """Base of every error that is the input's fault; its text is one complete line for the user."""


class RecipeError(CryoFoundError):
    """A recipe or catalog entry that cannot be read or does not say what it must."""


class SourceError(CryoFoundError):
    """A file that a catalog entry names cannot be had, or is not the file it should be."""


class StructureError(CryoFoundError):
    """An atomic model that cannot be used: missing chain, missing backbone, wrong sequence."""


class MapError(CryoFoundError):
    """A density map that cannot be used: bad header, NaN, too small a box."""


class StoreError(CryoFoundError):
    """A store, shard or checkpoint on disk that is incomplete, damaged or of another schema."""


class TrainingError(CryoFoundError):
    """Training cannot go on: a non-finite loss, or a checkpoint that does not fit the recipe."""


class SamplingError(CryoFoundError):
    """A model that does not draw as many valid samples of a protein as were asked for."""


class TrackingError(CryoFoundError):
    """MLflow cannot be reached, read or written: its database is locked, gone or damaged, its server is down."""
