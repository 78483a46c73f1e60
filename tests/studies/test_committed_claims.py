"""Every claim in a committed result follows from its records."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from agal_toolkit.references import DFT
from studies.ammonia import claims as ammonia
from studies.ammonia import convergence
from studies.ammonia.recipes import KCAL, PRESETS
from studies.ammonia.truth import load_truth
from studies.calibrated import claims as calibrated
from studies.calibrated import elements
from studies.double_well import study as double_well
from studies.double_well.recipes import STRATEGIES, VARIANTS
from studies.jobs import RESULTS, read
from studies.malonaldehyde import study as malonaldehyde
from studies.uio66 import claims as uio66
from studies.uio66 import recipes as uio66_recipes
from studies.water import claims as water
from studies.water import costs, properties, public
from studies.water import recipes as water_recipes
from studies.water import study as water_study

FILES = sorted(RESULTS.glob("*-laptop.json"))


def recomputed(study, records):
    """Return the claims of a study."""
    if study == "calibrated_attacks":
        return calibrated.claims(records)
    if study == "calibrated_elements":
        return elements.claims(records)
    if study == "ammonia_convergence":
        return convergence.claims(records["fits"], PRESETS["laptop"].features)
    if study == "ammonia_remedies":
        return []
    if study == "malonaldehyde":
        return malonaldehyde.claims(records)
    if study == "water":
        members = water_recipes.PRESETS["laptop"].members
        return water.claims(water_study.finished(records, members))
    if study == "uio66":
        return uio66.claims(records, uio66_recipes.PRESETS["laptop"])
    if study == "water_truth":
        sizes = properties.PRESETS["laptop"]
        return properties.claims(records, properties.BLOCKS * sizes.replicas)
    if study == "water_public":
        return public.claims(records)
    if study == "water_costs":
        return costs.claims(records)
    if study.startswith("double_well_"):
        both = VARIANTS[study.removeprefix("double_well_")].strategies == STRATEGIES
        return double_well.claims(records["pairs"]) if both else []
    truth = load_truth(RESULTS / "ammonia" / "reference", DFT(), PRESETS["laptop"].truth)
    return ammonia.claims(records["runs"], truth.path.barrier / KCAL)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_claims_follow_from_records(file: Path):
    result = read(file)
    claims = recomputed(result["study"], result["records"])
    found = [{**asdict(claim), "met": claim.met} for claim in claims]
    assert json.loads(json.dumps(found)) == result["claims"]
