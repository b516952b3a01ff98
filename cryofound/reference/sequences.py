"""The protein chains a reference must have: from FASTA and stoichiometry to a check, letter by letter."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryofound.errors import StructureError
from cryofound.reference.prediction import Prediction
from cryofound.structure.alignment import ONE_LETTER, sequence_mismatch
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chain_rows
from cryofound.structure.reading import read_model

MIN_LENGTH = 3


@dataclass(frozen=True)
class ProteinChain:
    """One chain: what it is a copy of, its one-letter sequence, and its name, None where any will do."""

    protein: str
    sequence: str
    chain_id: str | None = None


def read_fasta(path: Path) -> dict[str, str]:
    """Sequences by the first word of their header, in the file's order.

    Raises StructureError if there are none, a name comes twice, or a letter is no amino acid.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise StructureError(f"{path}: cannot be read ({error.strerror}); give a FASTA file") from None
    sequences: dict[str, str] = {}
    name = ""
    for line in map(str.strip, lines):
        if line.startswith(">"):
            name = (line[1:].split() or [""])[0]
            if not name or name in sequences:
                raise StructureError(f"{path}: name '{name}' is empty or used twice; give each sequence its own")
            sequences[name] = ""
        elif line and not name:
            raise StructureError(f"{path}: does not start with '>name'; give a FASTA file")
        elif line:
            sequences[name] += line.replace(" ", "").upper()
    if not sequences:
        raise StructureError(f"{path}: holds no sequence; give a FASTA file")
    for name, sequence in sequences.items():
        wrong = [position for position, letter in enumerate(sequence, 1) if letter not in ONE_LETTER]
        if wrong:
            raise StructureError(f"{path}: {name}: '{sequence[wrong[0] - 1]}' at position {wrong[0]} is no amino acid")
        if len(sequence) < MIN_LENGTH:
            raise StructureError(f"{path}: {name}: {len(sequence)} residues, at least {MIN_LENGTH} are needed")
    return sequences


def chains_of(sequences: Mapping[str, str], copies: Mapping[str, int] | None = None) -> tuple[ProteinChain, ...]:
    """One chain for each copy of each sequence, in the order of the sequences; one copy where `copies` names none."""
    unknown = sorted(set(copies or {}) - set(sequences))
    if unknown:
        raise StructureError(f"stoichiometry names {unknown[0]}, the sequences are {', '.join(sequences)}")
    return tuple(
        ProteinChain(name, sequence) for name, sequence in sequences.items() for _ in range((copies or {}).get(name, 1))
    )


def check_chains(prediction: Prediction, expected: Sequence[ProteinChain]) -> None:
    """Raise StructureError, in one line, unless the prediction's protein chains are the expected ones.

    Chains are compared by name where the expected ones have names, else in order. A predicted chain must have every
    residue; of a plain structure file, which may lack what an experiment did not see, only the order is asked. X on
    either side matches anything.
    """
    alone = prediction.program == "structure"
    where = str(prediction.best.path) if alone else f"{prediction.folder}: {prediction.name}"
    found = chain_sequences(prediction.best.atoms)
    names = [chain.chain_id for chain in expected if chain.chain_id is not None] or list(found)
    if len(found) != len(expected) or set(names) != set(found):
        copies = Counter(chain.protein for chain in expected)
        wanted = " and ".join(f"{count} of {protein}" for protein, count in copies.items())
        called = f" called {', '.join(names)}" if set(names) != set(found) else ""
        raise StructureError(
            f"{where}: {len(found)} protein chains ({', '.join(found)}), expected were {wanted}{called}; "
            "predict all chains of the complex, or correct the stoichiometry"
        )
    wrong = {
        name: chain for name, chain in zip(names, expected, strict=True) if not _equal(found[name], chain.sequence)
    }
    for name, chain in wrong.items():
        if alone:
            told = sequence_mismatch(chain.sequence, read_model(prediction.best.path, name))
        else:
            told = _exchanged(name, wrong, found) or _first_difference(chain.sequence, found[name])
        if told is not None:
            raise StructureError(f"{where}: chain {name}, {chain.protein}: {told}")


def chain_sequences(atoms: AtomicModel) -> dict[str, str]:
    """One-letter sequence of each chain, in the order of the model, X where the type is unknown."""
    return {
        name: "".join(ONE_LETTER[kind] for kind in atoms.residue_type[rows].tolist())
        for name, rows in chain_rows(atoms).items()
    }


def _exchanged(name: str, wrong: Mapping[str, ProteinChain], found: Mapping[str, str]) -> str | None:
    """Says so if another chain has the sequence of this one, and this one that of the other."""
    for other, chain in wrong.items():
        if _equal(found[name], chain.sequence) and _equal(found[other], wrong[name].sequence):
            return (
                f"has the sequence of {chain.protein}, and chain {other} that of {wrong[name].protein}; "
                "the two are swapped, exchange them"
            )
    return None


def _first_difference(expected: str, found: str) -> str:
    pairs = list(zip(expected, found, strict=False))
    row = next((row for row, (one, other) in enumerate(pairs) if not _equal(one, other)), len(pairs))
    one, other = (sequence[row : row + 1] or "nothing" for sequence in (expected, found))
    told = f"position {row + 1} is {one} in the sequence and {other} in the prediction"
    return told if len(expected) == len(found) else f"{told} ({len(expected)} and {len(found)} residues)"


def _equal(first: str, second: str) -> bool:
    return len(first) == len(second) and all(
        one == other or "X" in (one, other) for one, other in zip(first, second, strict=True)
    )
