"""What is run on ammonia (Schwalbe-Koda 2021, Sec. 3.2, A.2.2): sizes, starts, recipes and the
loop.

A job is one seed of one start and one recipe. Starts are

- "thermal": 78 geometries displaced along normal modes at 250 to 750 K, as printed. The paper's
  first committee misses the barrier by about 1 kcal/mol; from these displacements it does not.
- "cold": the frames of the ground state's optimisation, filled up to as many with displacements at
  25 to 75 K. Trained as printed the first committee misses the barrier by that much and more, but
  not with our training;
- "frozen": the same at 10 to 30 K, chosen on other seeds so that with ours it does, too.

Recipes are

- "printed": the paper's, which takes 500 epochs of batches of 30 and attacks the ground state. What
  it leaves open: force variance and Boltzmann factor of total energies, the weights of the best
  validation epoch, and what becomes of attacks that
  end in the same place: one of each cluster is labelled. Members are trained side by side and share
  batches: 30 structures of the union of their training sets, of which each learns from its own,
  about 18; an epoch is three steps of them for 78 structures, five for 138.
- "ours" was chosen on seeds from 100 on, before those that are reported, which start at 0 (seed 0
  from the thermal start had been seen with an earlier recipe). Training: batches of 10, a learning
  rate annealed from 1e-3, and more steps than printed (:mod:`.ammonia_convergence`); each member
  keeps nine tenths of the data; energies weigh twenty times as much as printed, because structures
  near the plane kept errors of 0.3 kcal/mol while their forces fitted; errors of structures with
  forces above 5 eV/angstrom count relative to the force, lest a few high labels outweigh everything
  near the barrier. Attacks: all printed ones run to the same few places, N-H pressed together. Ours
  start apart and take few steps down the logarithm of Eq. 4, which has a slope everywhere. The
  first round goes wide, kT = 5 kcal/mol: half from hot normal modes, which stretch every bond, but
  whose straight displacements never reach the plane without stretching; half from where short
  simulations with the committee itself arrive, which end where the force variance exceeds (0.2
  eV/angstrom)^2, or they fall into holes of the first committee, high up in truth. The second round
  goes deep, to the barrier of 6: hotter simulations with the better committee, up to 0.3
  eV/angstrom, cross the plane, and kT = 3 kcal/mol brings them down on it. :mod:`.ammonia_remedies`
  takes these away one by one. With a run or two for each, its barriers differ by no more than those
  of equal
  trainings do: it shows that none of them is decisive, not which is best.
- "frames" is our recipe without the attack: the same starts, labelled as they are.
- "converged" is the printed recipe with our training, to tell what the attacks are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from ase import units

from agal_toolkit.analysis.rmsd import AlignedRmsd
from agal_toolkit.attack import Adam, Attack, BoltzmannVariance
from agal_toolkit.geometry import Geometry
from agal_toolkit.loop.loop import Recipe, Schedule
from agal_toolkit.potentials.schnet import SchNet
from agal_toolkit.sampling.molecular_dynamics import MolecularDynamics
from agal_toolkit.sampling.normal_modes import NormalModes
from agal_toolkit.sampling.samplers import Copies, Mixture, Rattle
from agal_toolkit.selection import Deduplicate, MinDistance
from agal_toolkit.training.folds import Folds
from agal_toolkit.training.trainer import TorchTrainer

from .stability import physical
from .truth import Sizes, Truth

KCAL = units.kcal / units.mol
SHOWN = {
    0.1: 30,
    0.3: 30,
    1.0: 100,
}  # amplitudes, angstrom, and numbers of the random geometries of Figs. 3a to 3c
STARTS = {"thermal": (250.0, 750.0), "cold": (25.0, 75.0), "frozen": (10.0, 30.0)}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of the study; nothing else differs between presets.

    Attributes:
        features: width of the networks, of their filters too (256 in the paper).
        interactions: of the networks (4).
        epochs: of the printed recipe (500).
        converged: epochs of our recipe.
        start: initial geometries (78).
        attacks: of each of the first two committees (30).
        last: attacks of the third one, which are not labelled (100).
        random: geometries of the random committee as printed.
        trajectories: at each temperature (100).
        picoseconds: of each (5).
        truth: how closely the reference is looked at.
    """

    features: int = 64
    interactions: int = 3
    epochs: int = 500
    converged: int = 600
    start: int = 78
    attacks: int = 30
    last: int = 100
    random: int = 138
    trajectories: int = 10
    picoseconds: float = 5.0
    truth: Sizes = Sizes()


PRESETS: Mapping[str, Preset] = {
    "fast": Preset(
        features=16,
        interactions=1,
        epochs=10,
        converged=20,
        start=10,
        attacks=4,
        last=6,
        random=14,
        trajectories=1,
        picoseconds=0.02,
        truth=Sizes(heights=3, radii=10, images=3, fmax=0.3),
    ),
    "laptop": Preset(),
    "gpu": Preset(features=256, interactions=4, trajectories=100),
    "paper": Preset(features=256, interactions=4, trajectories=100),
}


def initial(start: str, preset: Preset, truth: Truth, seed: int) -> list[Geometry]:
    """The unlabelled geometries that a job starts from."""
    rng = np.random.default_rng([seed, 2021, list(STARTS).index(start)])
    frames = truth.optimisation.geometries[: preset.start // 2] if start != "thermal" else ()
    modes = NormalModes(truth.ground, truth.hessian, STARTS[start], preset.start - len(frames))
    return [*frames, *modes.draw(rng)]


def random(amplitude: float, count: int, truth: Truth, seed: int) -> list[Geometry]:
    """The ground state with every coordinate displaced by up to `amplitude` angstrom, uniformly."""
    ground = truth.optimisation[[len(truth.optimisation) - 1]]
    rng = np.random.default_rng([seed, 2021, 10, round(1000 * amplitude)])
    return Rattle(amplitude, copies=count).draw(ground, rng)


Change = Callable[[Recipe, Preset, Truth], Recipe]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A recipe of the study.

    Attributes:
        about: what it is, for tables.
        change: made to the printed recipe at a preset's sizes, knowing the ground state and its
            Hessian.
        later: made instead from the second round on; None keeps the first.
    """

    about: str
    change: Change
    later: Change | None = None


def _printed(recipe: Recipe, preset: Preset, truth: Truth) -> Recipe:
    return recipe


def _converged(recipe: Recipe, preset: Preset, truth: Truth) -> Recipe:
    trainer = replace(
        recipe.trainer,
        epochs=preset.converged,
        learning_rate=1e-3,
        batch_size=10,
        patience=None,
        anneal=True,
        keep_best=False,
        energy_weight=2.0,
        large_force=5.0,
    )
    return replace(recipe, trainer=trainer, folds=Folds(train=0.9, valid=0.1))


def _wide(recipe: Recipe, preset: Preset, truth: Truth) -> Recipe:
    """Our first round."""
    half = preset.attacks // 2
    starts = Mixture(
        [_displaced(half, truth), _simulated(preset.attacks - half, truth, (1000.0, 3000.0), 0.2)]
    )
    return replace(
        _converged(recipe, preset, truth),
        sampler=starts,
        attack=_attack(kT=5.0, steps=10),
        selectors=[MinDistance(0.7), *recipe.selectors],
    )


def _deep(recipe: Recipe, preset: Preset, truth: Truth) -> Recipe:
    """Our later rounds."""
    return replace(
        _wide(recipe, preset, truth),
        sampler=_simulated(preset.attacks, truth, (1000.0, 4000.0), 0.3),
        attack=_attack(kT=3.0, steps=20),
    )


def _attack(kT: float, steps: int) -> Attack:
    """Down the logarithm of Eq. 4; kT in kcal/mol."""
    return Attack(BoltzmannVariance(kT=kT * KCAL, log=True), Adam(0.01, steps), start=0.01)


def _displaced(count: int, truth: Truth) -> NormalModes:
    return NormalModes(truth.ground, truth.hessian, (500.0, 2500.0), count)


def _simulated(
    count: int, truth: Truth, temperature: tuple[float, float], uncertain: float
) -> MolecularDynamics:
    stops = physical(truth.zero, tolerance=KCAL)
    return MolecularDynamics(
        temperature=temperature,
        picoseconds=0.4,
        count=count,
        start=truth.ground,
        stops=stops,
        uncertain=uncertain,
    )


def _varied(about: str, edit: Change) -> Variant:
    """Our recipe with an edit in all rounds."""
    return Variant(
        about=about,
        change=lambda recipe, preset, truth: edit(_wide(recipe, preset, truth), preset, truth),
        later=lambda recipe, preset, truth: edit(_deep(recipe, preset, truth), preset, truth),
    )


def _trained(about: str, **changes: object) -> Variant:
    return _varied(
        about,
        lambda recipe, preset, truth: replace(recipe, trainer=replace(recipe.trainer, **changes)),
    )


RECIPES: Mapping[str, Variant] = {
    "printed": Variant(about="the printed recipe", change=_printed),
    "ours": Variant(about="our recipe", change=_wide, later=_deep),
    "frames": _varied(
        "our recipe without the attack", lambda recipe, preset, truth: replace(recipe, attack=None)
    ),
    "converged": Variant(about="printed, with our training", change=_converged),
}
REMEDIES: Mapping[str, Variant] = {
    "energy-weight-0.1": _trained("energies weigh 0.1, as printed", energy_weight=0.1),
    "no-relative-loss": _trained("all errors count alike", large_force=None),
    "displaced": _varied(
        "all attacks from normal modes",
        lambda recipe, preset, truth: replace(recipe, sampler=_displaced(preset.attacks, truth)),
    ),
    "long-attacks": _varied(
        "attacks of 60 steps, as printed",
        lambda recipe, preset, truth: replace(
            recipe, attack=replace(recipe.attack, minimizer=Adam(0.01, 60))
        ),
    ),
    "kT-20": _varied(
        "kT = 20 kcal/mol, as printed",
        lambda recipe, preset, truth: replace(
            recipe,
            attack=replace(recipe.attack, objective=BoltzmannVariance(kT=20 * KCAL, log=True)),
        ),
    ),
    "first-round-twice": Variant(about="both rounds as the first", change=_wide),
    "second-round-twice": Variant(about="both rounds as the second", change=_deep),
}


def recipe(name: str, preset: Preset, truth: Truth, device: str = "cpu") -> Schedule:
    """The recipe of two labelled rounds, then of one that is not.

    Raises:
        ValueError: a name that is no recipe.
    """
    known = {**RECIPES, **REMEDIES}
    if name not in known:
        raise ValueError(f"recipe is {name!r}, expected one of {', '.join(known)}")
    trainer = TorchTrainer(
        network=partial(
            SchNet,
            (1, 7),
            features=preset.features,
            filters=preset.features,
            interactions=preset.interactions,
        ),
        epochs=preset.epochs,
        learning_rate=3e-4,
        batch_size=30,
        energy_weight=0.1,
        forces_weight=1.0,
        patience=30,
        factor=0.5,
        device=device,
    )

    def of(change: Change, attacks: int) -> Recipe:
        printed = Recipe(
            trainer=trainer,
            sampler=Copies(truth.ground, attacks),
            attack=Attack(BoltzmannVariance(kT=20 * KCAL), Adam(0.01, 60), start=0.01),
            selectors=[Deduplicate(0.02, AlignedRmsd(reflections=True))],
            members=5,
            folds=Folds(train=0.6, valid=0.2),
        )
        return change(printed, replace(preset, attacks=attacks), truth)

    first, later = known[name].change, known[name].later
    second = {} if later is None else {1: of(later, preset.attacks)}
    return Schedule({0: of(first, preset.attacks), **second, 2: of(later or first, preset.last)})
