"""The recipe: every setting of a run, each with its one default."""

import hashlib
import json
from pathlib import Path
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from cryofound.errors import RecipeError


class Section(BaseModel):
    """Base of all recipe sections: immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GridConfig(Section):
    """The canonical grid that every map of a recipe is brought to (cubic, centred on the origin)."""

    box_size: int | tuple[int, ...] = Field(
        default=64,
        description="voxels per edge, a multiple of 8; or several such, 16 or a multiple apart: each system takes "
        "the smallest that holds its reference and all its states",
    )
    voxel_size: float = Field(default=2.0, gt=0, description="angstrom per voxel")

    @field_validator("box_size")
    @classmethod
    def _of_one_lattice(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        sizes = (value,) if isinstance(value, int) else tuple(sorted(set(value)))
        if not sizes:
            raise ValueError("box_size is an empty list; give at least one size")
        for size in sizes:
            if size < 16 or size % 8:
                raise ValueError(f"box_size {size} is not a multiple of 8 of at least 16")
            # Boxes are centred: with an odd number of latent voxels more, theirs would lie between those of the others.
            if (size - sizes[0]) % 16:
                raise ValueError(
                    f"box_size {sizes[0]} and {size} differ by {size - sizes[0]}, no multiple of 16, so that their "
                    f"latent voxels lie half a voxel apart; take {size + 8} in place of {size}"
                )
        return value if isinstance(value, int) else sizes

    @property
    def box_sizes(self) -> tuple[int, ...]:
        """All box sizes that a system of the recipe may have, the smallest first."""
        return (self.box_size,) if isinstance(self.box_size, int) else self.box_size


class ShardsConfig(Section):
    """Training shards: which systems training may see, and how samples are shuffled into tar files."""

    validation: float = Field(default=0.0, ge=0, lt=1, description="share of the train systems set aside by chance")
    test: float = Field(default=0.0, ge=0, lt=1, description="share of them that joins the held-out systems as test")
    whole_families: bool = Field(
        default=False, description="whether a family is set aside whole, and held out whole if any of its systems is"
    )
    seed: int = Field(default=0, description="of both choices")
    mebibytes: int = Field(default=256, ge=1, description="largest tar file")


class ModelConfig(Section):
    """Sizes of the shared VAE (DESIGN.md sections 4 and 5)."""

    latent_channels: int = 8
    encoder_width: int = 128
    encoder_depth: int = 3
    decoder_width: int = 128
    decoder_depth: int = 3
    feature_channels: int = 64
    token_width: int = 64
    atom_field_width: int = 128
    groups: tuple[int, ...] = Field(
        default=(), description="levels of rigid groups that a protein is cut into, the coarsest first"
    )
    grouped_from: int = Field(
        default=500, description="residues; in smaller proteins groups hinder more than they help (decision 022)"
    )
    system_residual_width: int = 16
    embedding_width: int = Field(
        default=0, ge=0, description="of a predictor's residue embeddings (Boltz-2: 384); 0: the networks see none"
    )
    occupancy_reach: float = Field(default=7.0, description="angstrom from a latent voxel's cell to the nearest atom")


class StereochemistryConfig(Section):
    """Weights of the stereochemical terms, and the spreads that make each a squared deviation without unit."""

    bond: float = Field(default=1.0, ge=0)
    angle: float = Field(default=1.0, ge=0)
    volume: float = Field(default=1.0, ge=0, description="hand of chiral centres, flatness of planar groups")
    omega: float = Field(default=1.0, ge=0)
    cbeta: float = Field(default=1.0, ge=0)
    ramachandran: float = Field(default=1.0, ge=0)
    rotamer: float = Field(default=1.0, ge=0)
    clash: float = Field(default=1.0, ge=0)
    cbeta_sigma: float = Field(default=0.1, gt=0, description="angstrom")
    ramachandran_sigma: float = Field(default=3.0, gt=0, description="degrees")
    ramachandran_region: Literal["allowed", "favored"] = Field(
        default="allowed", description="where every residue is wanted: no outlier, or among the 98 % that are favored"
    )
    ramachandran_margin: float = Field(default=6.0, description="degrees inside the region that are asked for")
    rotamer_sigma: float = Field(default=5.0, gt=0, description="degrees")
    rotamer_margin: float = Field(default=5.0, description="degrees inside the allowed region that are asked for")
    clash_sigma: float = Field(default=0.05, gt=0, description="angstrom of overlap")
    clash_tolerance: float = Field(default=0.2, description="angstrom of overlap that costs nothing")


LossTerm = Literal[
    "kl", "backbone", "bond", "peptide", "residue", "turning", "residual", "stereochemistry", "guide"
]  # each has a weight of its name in Stage1Config


class Stage1Config(Section):
    """VAE training: map -> latent -> displacement -> atoms -> rendered map."""

    steps: int = 1500
    batch_size: int = 8
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    kl_weight: float = 1e-4
    backbone_weight: float = 0.001
    bond_weight: float = 0.05
    peptide_weight: float = 0.03
    residue_weight: float = 0.1
    turning_weight: float = Field(
        default=0.0, description="for series of linear modes, whose residues shift without turning"
    )
    residual_weight: float = Field(default=1e-3, description="pull of the system residuals to zero")
    stereochemistry_weight: float = Field(default=1e-6, ge=0, description="of the mean over residues; 0 saves its time")
    family_weights: dict[str, dict[LossTerm, float]] = Field(
        default={}, description="family: {term: weight}, in place of the weight above for that family's systems"
    )
    identity_dropout: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of maps decoded without sequence and system residual, as new systems",
    )
    family_balance: float = Field(
        default=0.0, ge=0, le=1, description="0: every map is seen as often; 1: every family, however many maps it has"
    )
    family_shares: dict[str, PositiveFloat] = Field(
        default={}, description="family: how many times as often its maps are seen as balance alone says"
    )
    even_cost: bool = Field(
        default=False, description="smaller batches of larger molecules; batch_size is that of the smallest"
    )
    batch_multiple: int = Field(default=1, ge=1, description="of batches made smaller: the workers that share them")
    coarse_resolution: float = Field(
        default=0.0, ge=0, description="angstrom that maps are compared at first, sharpening to their own; 0: their own"
    )
    coarse_share: float = Field(default=0.6, gt=0, le=1, description="share of the steps that this takes")
    guide_weight: float = Field(
        default=0.0, ge=0, description="per angstrom from models placed into the maps by rigid bodies; 0: none are made"
    )
    guide_share: float = Field(default=0.7, gt=0, le=1, description="share of the steps in which it falls to nothing")
    checkpoint_every: int = 100
    validate_every: int = Field(default=500, ge=0, description="a multiple of checkpoint_every; 0: never")
    log_every: int = 20


class Stage2Config(Section):
    """Flow-matching training over occupied latent tokens, conditioned on residue tokens."""

    steps: int = 2000
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    width: int = 128
    depth: int = 4
    heads: int = 4
    relatives: float = Field(
        default=0.3, ge=0, le=1, description="share of codes lent by a relative of the family to another's reference"
    )
    family_shares: dict[str, PositiveFloat] = Field(
        default={}, description="family: how many times as often its systems are the condition"
    )
    companions: int = Field(
        default=0, ge=0, description="most relatives whose like motions are mixed into a lent one, by random weights"
    )
    lent_amplitude: tuple[float, float] = Field(
        default=(1.0, 1.0), description="least and largest factor of a lent motion"
    )
    condition_dropout: float = Field(default=0.1, ge=0, le=1)
    coupling: Literal["independent", "optimal_transport"] = Field(
        default="independent", description="of noise and codes; the second exchanges noise between codes of a condition"
    )
    interpolations_per_gap: int = Field(default=0, description="latents between neighbouring states (the paper: 93)")
    checkpoint_every: int = 500
    validate_every: int = Field(default=500, ge=0, description="as in stage1")
    log_every: int = 50


class RepairConfig(Section):
    """Stereochemical repair of samples: evaluations of the physics terms, and how far it may go."""

    iterations: int = Field(
        default=80, ge=0, description="most evaluations of the terms; a sample that is sound takes no more; 0: none"
    )
    movement_weight: float = Field(
        default=300.0, ge=0, description="of the mean squared movement, per squared angstrom, beside the physics terms"
    )
    stereochemistry: StereochemistryConfig = StereochemistryConfig()
    most_movement: float = Field(
        default=1.0, gt=0, description="angstrom RMS over atoms; a sample that needs more is not valid"
    )

    @model_validator(mode="before")
    @classmethod
    def _without_retired(cls, values: object) -> object:
        """Recipes inside trained models tell the weights of an earlier repair, which have no meaning any more."""
        names = ("bond_weight", "peptide_weight", "residue_weight", "ramachandran_weight", "ramachandran_margin")
        return {key: each for key, each in values.items() if key not in names} if isinstance(values, dict) else values


class ValidityConfig(Section):
    """What a sample must keep to be counted; what the reference itself breaks is allowed to samples as well."""

    ramachandran_outliers: float = Field(default=0.02, ge=0, le=1, description="share of residues beyond reference's")
    clashes: float = Field(default=10.0, ge=0, description="per 1000 atoms beyond the reference's, by our own count")
    bond_rms: float = Field(default=0.05, gt=0, description="angstrom from ideal lengths")


class BuildConfig(Section):
    """Building atomic models into a map series: the same for every map, docs/decisions/023-building.md says why."""

    coarsest: float = Field(default=40.0, gt=0, description="angstrom at which maps are seen first, from the reference")
    coarsest_between: float = Field(
        default=15.0, gt=0, description="angstrom at which they are seen first from the model of another state"
    )
    group_levels: tuple[int, ...] = Field(default=(2, 4, 8, 16, 32, 64), description="groups of residues, by level")
    motion_steps: int = Field(default=300, ge=1, description="steps of rigid bodies")
    group_rate: float = Field(default=0.2, gt=0, description="learning rate of the groups' motions")
    residue_rate: float = Field(default=0.03, gt=0, description="learning rate of the residues' motions")
    groups_alone: float = Field(default=0.3, ge=0, lt=1, description="share of the steps before residues move too")
    sharp_after: float = Field(default=0.7, gt=0, le=1, description="share of the steps after which maps are sharp")
    motion_weight: float = Field(default=0.05, ge=0, description="of kept distances, per squared angstrom")
    refinement: tuple[tuple[float, int, float], ...] = Field(
        default=((200.0, 250, 0.05), (20.0, 150, 0.03), (2.0, 150, 0.03), (0.1, 150, 0.02)),
        description="of every atom: weight of the map's likelihood, steps, learning rate in angstrom",
    )
    turns: int = Field(default=2, ge=0, description="last stages of refinement that begin with side chains turned")
    window_weight: float = Field(default=17.0, ge=0, description="of the reference's backbone windows in refinement")
    stereochemistry: StereochemistryConfig = StereochemistryConfig(
        rotamer=20.0,
        ramachandran=4.0,
        ramachandran_region="favored",
        ramachandran_margin=2.0,
        clash=4.0,
        clash_tolerance=0.0,
    )
    reach: float = Field(default=4.0, gt=0, description="angstrom from the model within which voxels count")
    free_share: float = Field(default=0.1, ge=0, lt=0.5, description="of the map, held back from a second build")
    seed: int = Field(default=0, description="of the voxels held back")


class SamplingConfig(Section):
    """Zero-shot sampling."""

    samples: int = Field(default=16, ge=1)
    pool: int = Field(
        default=0,
        ge=0,
        description="draws; the samples are those that stand for all, and the reference; 0: the first draws",
    )
    solver: Literal["euler", "midpoint", "heun"] = Field(
        default="midpoint", description="the last two ask for the velocity twice a step"
    )
    solver_steps: int = Field(default=8, ge=1, description="ODE steps (the paper: 50 by euler; decision 029)")
    systems: Literal["all", "unseen"] = Field(
        default="all", description="which are sampled after training; unseen: with a state that training did not see"
    )
    guidance: float = Field(default=1.0, description="classifier-free strength; 1 is the plain conditional flow")
    repair: RepairConfig = RepairConfig()
    validity: ValidityConfig = ValidityConfig()
    attempts_per_sample: int = Field(default=4, ge=1, description="draws for each sample wanted before giving up")


class EngineConfig(Section):
    """How training is spread: Ray Train workers and DeepSpeed's settings."""

    workers: int = Field(default=1, ge=1)
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    threads: int = Field(default=2, ge=1, description="torch threads per worker")
    zero_stage: Literal[0, 1, 2, 3] = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    accumulation: int = Field(
        default=1, ge=1, description="parts of a worker's share of a batch, taken one after the other to save memory"
    )
    activation_checkpointing: bool = Field(
        default=False, description="compute the networks' blocks again in the backward pass rather than keep them"
    )
    keep_last: int = Field(default=2, ge=1, description="newest checkpoints that are kept")
    keep_best: int = Field(default=1, ge=0, description="checkpoints with the least validation loss that are kept too")
    skip_steps: tuple[int, ...] = Field(
        default=(), description="steps whose batch is left out: one that cannot be used"
    )
    max_failures: int = Field(default=3, description="worker deaths survived before the run fails")


class TrackingConfig(Section):
    """What is kept in MLflow, and under which names."""

    experiment: str = "cryofound"
    registered_model: str = "cryofound"
    systems: int = Field(
        default=100, ge=0, description="most systems with a run of their own: held-out ones first, families in turn"
    )
    pictures: int = Field(
        default=8, ge=0, description="systems whose reconstructed maps are drawn: training ones first, families in turn"
    )
    patience: float = Field(
        default=60.0, ge=0, description="seconds to wait at the end for an MLflow that is locked or gone"
    )


class StartConfig(Section):
    """A pretrained model that training goes on from, with the recipe's steps and learning rates."""

    model: str = Field(
        description="models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/PATH, or a folder: a finished run, a stage 1"
    )
    train: Literal["residual", "all"] = Field(
        default="all", description="which weights: those of the systems' residuals alone, or all, the flow's too"
    )


Scope = Literal["system", "family", "all"]


class Recipe(Section):
    """Everything that decides the result of `jobs/pretrain.py`."""

    name: str
    seed: int = 0
    entries: tuple[str, ...] = Field(description="catalog entries (YAML), globs relative to the working directory")
    grid: GridConfig = GridConfig()
    shards: ShardsConfig = ShardsConfig()
    scope: Scope = Field(
        default="all", description="which training systems share one model; `system`: each has its own, a new one none"
    )
    start: StartConfig | None = Field(default=None, description="fine-tuning; without it, weights begin at random")
    model: ModelConfig = ModelConfig()
    stereochemistry: StereochemistryConfig = StereochemistryConfig()
    stage1: Stage1Config = Stage1Config()
    stage2: Stage2Config = Stage2Config()
    sampling: SamplingConfig = SamplingConfig()
    engine: EngineConfig = EngineConfig()
    tracking: TrackingConfig = TrackingConfig()


SectionT = TypeVar("SectionT", bound=Section)


def load_yaml(path: Path, schema: type[SectionT]) -> SectionT:
    """Read a YAML file into a section; raises RecipeError naming the file, the key and what was expected."""
    try:
        # libyaml, where PyYAML was built with it, is ten times as fast: a catalog has thousands of files.
        raw = yaml.load(Path(path).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        raise RecipeError(
            f"{path}: no such file; give the path of a YAML file, for example configs/pretrain/demo.yaml"
        ) from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: must be a YAML mapping, found {type(raw).__name__}")
    return validated(raw, schema, str(path))


def validated(raw: object, schema: type[SectionT], where: str) -> SectionT:
    """A section from plain data; raises RecipeError that begins with `where` and names every key that is wrong."""
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(_describe(problem, schema) for problem in error.errors())
        raise RecipeError(f"{where}: {problems}") from None


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe; raises RecipeError with one line, as `load_yaml` does."""
    return load_yaml(path, Recipe)


def digest(*parts: object) -> str:
    """12 hex digits over JSON-serialisable parts (sections are dumped): the identity of a step's inputs."""
    payload = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()[:12]


def _describe(problem: ErrorDetails, schema: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "top level"
    if problem["type"] == "extra_forbidden":
        section: object = schema
        for part in problem["loc"][:-1]:
            field = getattr(section, "model_fields", {}).get(part)
            section = field.annotation if field else None
        known = ", ".join(getattr(section, "model_fields", {}))
        return f"unknown key '{where}'" + (f" (known here: {known})" if known else "; remove it")
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
