"""One reference sampled into a folder: what `cryofound sample` and jobs/sample.py share."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cryofound.commands.sample_draws import Draws, gather_draws, residue_fluctuations, sample_figures
from cryofound.commands.sample_files import FORCED, LATENTS, Ensemble, write_ensemble_files
from cryofound.commands.sample_reference import SampledReference, read_sampled_reference
from cryofound.commands.sample_view import sample_view
from cryofound.config import SamplingConfig, validated
from cryofound.disk import make_parent
from cryofound.ensemble.system import System
from cryofound.errors import CryoFoundError, RecipeError, StoreError, StructureError
from cryofound.evaluation.principal_motions import principal_motions
from cryofound.manifest import file_sha256, is_finished, publishing, read_manifest
from cryofound.report.sample_page import NAME as REPORT
from cryofound.report.sample_page import write_sample_report
from cryofound.revision import git_revision
from cryofound.sampling.drawing import residual_spread
from cryofound.sampling.flow_model import FlowModel
from cryofound.sampling.newcomer import Relation, find_family, newcomer
from cryofound.sampling.trust import Verdict, judge
from cryofound.sampling.zero_shot import draw_valid
from cryofound.structure.alignment import superpose

KIND = "samples"
JUDGED = 16  # samples that the verdict rests on at most
RESIDUAL_DRAWS = 4
MOST_GUIDANCE = 100.0  # far beyond any use


@dataclass(frozen=True)
class SampleRequest:
    """What a user asks for, of one reference; None where the model's recipe decides.

    name: of a prediction in a folder of several; chains: of its protein chains some; fasta: its sequences; force: also
    outside every family.
    """

    reference: Path
    model: str
    name: str | None = None
    chains: tuple[str, ...] | None = None
    fasta: Path | None = None
    samples: int | None = None
    steps: int | None = None
    solver: str | None = None
    guidance: float | None = None
    seed: int = 0
    symmetry: Literal["kept", "released"] = "kept"
    force: bool = False

    def settings(self, recipe: SamplingConfig) -> SamplingConfig:
        """The recipe's settings with those that were asked for in their place."""
        asked = {"samples": self.samples, "solver_steps": self.steps, "solver": self.solver, "guidance": self.guidance}
        told = recipe.model_dump() | {key: value for key, value in asked.items() if value is not None}
        return validated(told, SamplingConfig, "sampling")

    def facts(self) -> dict[str, Any]:
        """Ready for JSON, with whole paths."""
        paths = {name: getattr(self, name) for name in ("reference", "fasta")}
        told = {name: path and str(path.resolve()) for name, path in paths.items()}
        return asdict(self) | told | {"chains": self.chains and list(self.chains)}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "SampleRequest":
        """The request that `facts` told of."""
        paths = {name: facts[name] and Path(facts[name]) for name in ("reference", "fasta")}
        return cls(**{**facts, **paths, "chains": facts["chains"] and tuple(facts["chains"])})


@dataclass(frozen=True)
class Sampled:
    """What was written: how many samples, how many were dropped, and the verdict in a word and in sentences."""

    folder: Path
    samples: int
    dropped: int
    grade: str
    sentences: tuple[str, ...]


def require_sense(request: SampleRequest) -> None:
    """Raise RecipeError for numbers that make no sense, before anything is loaded."""
    for option, value in (("--n", request.samples), ("--steps", request.steps)):
        if value is not None and value < 1:
            raise RecipeError(f"{option} {value}: must be 1 or more")
    if request.guidance is not None and not 0 <= request.guidance < MOST_GUIDANCE:
        raise RecipeError(
            f"--guidance {request.guidance}: must be from 0 (no condition) to {MOST_GUIDANCE}; 1 is the plain flow"
        )


def require_new(out: Path) -> None:
    """Raise StoreError if `out` is there and not an empty folder, or cannot be made."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out}: is there already and not empty; give a new folder with --out")
    make_parent(out)


def sample_once(
    load: Callable[[], FlowModel], request: SampleRequest, out: Path, report: Callable[[str], None] = print
) -> Sampled | None:
    """As `sample_reference`; None if `out` holds what is asked for, StoreError if it holds what was asked otherwise."""
    model = load()
    if is_finished(out):
        told = read_manifest(out, check="sizes")
        same = told.get("kind") == KIND and told["request"] == request.facts()
        if not same or told["model_sha256"] != weights_sha256(model):
            raise StoreError(f"{out}: was sampled otherwise; name another folder with --out, or delete it")
        return None
    return sample_reference(model, request, out, report)


def sample_reference(
    model: FlowModel, request: SampleRequest, out: Path, report: Callable[[str], None] = print
) -> Sampled:
    """Sample one reference into the folder `out`, which appears whole or not at all.

    Raises a CryoFoundError in one line: StructureError where the reference cannot be used, disagrees with its sequence
    or is outside every family, MapError where it is too large, StoreError where `out` is in use.
    """
    require_sense(request)
    require_new(out)
    settings = request.settings(model.recipe.sampling)
    reference = read_sampled_reference(request.reference, request.name, request.fasta, request.chains)
    for note in reference.notes:
        report(f"note: {note}")
    relation, system = system_of(model, reference, request)
    if relation.outside:
        report("note: outside every family, sampled by force; every file is marked")
    with tempfile.TemporaryDirectory(prefix="cryofound-sample-") as scratch:
        draws = gather_draws(
            draw_valid(model, system, settings, request.seed, symmetry=request.symmetry),
            settings.samples,
            reference.atoms,
            superpose(system.reference.positions_xyz, reference.atoms.positions_xyz),
            Path(scratch),
            JUDGED,
        )
        spread = residual_spread(
            model, system, draws.first_latent, request.seed, RESIDUAL_DRAWS, symmetry=request.symmetry
        )
        verdict = judge(model, system, relation, draws.first_xyz, spread)
        return _published(out, model, request, settings, reference, relation, system, draws, verdict)


def weights_sha256(model: FlowModel) -> str:
    """Hex digest of both networks' weights: an alias may point to another version tomorrow."""
    digest = hashlib.sha256()
    for network in (model.vae, model.velocity):
        for name, weight in sorted(network.state_dict().items()):
            digest.update(name.encode() + weight.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def system_of(model: FlowModel, reference: SampledReference, request: SampleRequest) -> tuple[Relation, System]:
    """The family of a reference, and its system there; raises StructureError outside every family without force."""
    relation = find_family(reference.atoms, model.members)
    if relation.outside and not request.force:
        raise StructureError(f"{reference.path}: {relation.refusal()}; --force samples it all the same, marked")
    prediction = reference.prediction
    confidence, embedding = prediction.residue_confidence(), None
    if model.recipe.model.embedding_width and prediction.embeddings is not None:
        embedding = prediction.residue_embedding()[reference.residues]
    try:
        system = newcomer(
            reference.atoms,
            model.members,
            relation,
            model.recipe,
            name=prediction.name,
            confidence=None if confidence is None else confidence[reference.residues],
            embedding=embedding,
            symmetry=request.symmetry,
        )
    except CryoFoundError as error:
        raise type(error)(f"{reference.path}: {error}") from None
    return relation, system


def _published(
    out: Path,
    model: FlowModel,
    request: SampleRequest,
    settings: SamplingConfig,
    reference: SampledReference,
    relation: Relation,
    system: System,
    draws: Draws,
    verdict: Verdict,
) -> Sampled:
    """Measure, and write the folder."""
    motions = principal_motions(draws.samples.chunks)
    ensemble = Ensemble(
        title=reference.prediction.name,
        structure=reference.structure,
        samples=draws.samples,
        figures=sample_figures(draws, motions, system.symmetry),
        profiles={"rmsf": residue_fluctuations(draws.samples)},
        uncertainty=verdict.uncertainty,
        motions=motions,
        verdict={"forced": relation.outside, **asdict(relation), **verdict.facts()},
        grade=verdict.grade,
        mark=FORCED if relation.outside else "",
    )
    facts = {
        "kind": KIND,
        "reference": {"path": str(reference.path.resolve()), "sha256": file_sha256(reference.path)},
        "request": request.facts(),
        "model_sha256": weights_sha256(model),
        "settings": settings.model_dump(mode="json"),
        "samples": len(draws.samples),
        "dropped": draws.dropped,
        "forced": relation.outside,
        "notes": list(reference.notes),
        "revision": git_revision(Path(__file__).parent),
    }
    with publishing(out, resumable=False, **facts) as folder:
        write_ensemble_files(folder, ensemble)
        shutil.copyfile(draws.latents, folder / LATENTS)
        view = sample_view(ensemble, model, system, reference, relation, verdict, facts)
        write_sample_report(folder / REPORT, view)
    return Sampled(out, len(draws.samples), draws.dropped, verdict.grade, tuple(verdict.sentences))
