"""Committed results belong to the recipes of this version, or a study could not go on from them."""

from __future__ import annotations

import pytest

from agal_toolkit.references import DFT
from studies.ammonia import study as ammonia
from studies.ammonia.recipes import PRESETS, RECIPES, STARTS
from studies.ammonia.truth import load_truth
from studies.calibrated import study as calibrated_attacks
from studies.double_well import study as double_well
from studies.double_well.recipes import PRESETS as WELL_PRESETS
from studies.double_well.recipes import VARIANTS
from studies.jobs import RESULTS, Runner, agree, read
from studies.water import public

WELLS = [
    (preset, name)
    for preset in WELL_PRESETS
    for name in VARIANTS
    if (RESULTS / f"double_well_{name}-{preset}.json").exists()
]
JOBS = [
    (preset, name, start)
    for preset in PRESETS
    for name in RECIPES
    for start in STARTS
    if (RESULTS / f"ammonia_{name}_{start}-{preset}.json").exists()
]


@pytest.mark.parametrize(("preset", "name"), WELLS)
def test_a_double_well_study_can_go_on(preset, name):
    place = RESULTS / f"double_well_{name}-{preset}.json"
    agree(read(place)["settings"], double_well.settings(WELL_PRESETS[preset], name), place)


@pytest.mark.parametrize(("preset", "name", "start"), JOBS)
def test_a_study_of_ammonia_can_go_on(preset, name, start):
    place = RESULTS / f"ammonia_{name}_{start}-{preset}.json"
    known = load_truth(RESULTS / "ammonia" / "reference", DFT(), PRESETS[preset].truth)
    agree(
        read(place)["settings"], ammonia.settings(name, start, PRESETS[preset], known, DFT()), place
    )


@pytest.mark.parametrize(
    "preset",
    [
        preset
        for preset in calibrated_attacks.PRESETS
        if (RESULTS / f"calibrated_attacks-{preset}.json").exists()
    ],
)
def test_a_study_of_calibrated_attacks_can_go_on(preset, tmp_path):
    place, sizes = RESULTS / f"calibrated_attacks-{preset}.json", calibrated_attacks.PRESETS[preset]
    found = calibrated_attacks.collect(Runner(preset, tmp_path), calibrated_attacks.trials(sizes))
    assert found == read(place)["records"]["trials"]


@pytest.mark.parametrize(
    "preset", [name for name in public.PRESETS if (RESULTS / f"water_public-{name}.json").exists()]
)
def test_a_study_of_public_water_can_go_on(preset):
    place = RESULTS / f"water_public-{preset}.json"
    stored = read(place)["settings"]
    agree(stored, public.settings(public.PRESETS[preset], stored["data"]), place)
