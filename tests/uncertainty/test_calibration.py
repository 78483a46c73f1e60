"""Laws from disagreement to error: what is known is found again, and what cannot be known is
refused.
"""

from __future__ import annotations

import json
from dataclasses import replace

import helpers
import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from agal_toolkit.batch import Prediction
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.uncertainty.calibration import Calibration, samples
from agal_toolkit.uncertainty.power_law import CalibrationRefused, PowerLaw


def drawn(rng, a, b, n=4000, members=4, centre=1.0):
    """Uncertainties over two decades and normal errors of size a sigma^b."""
    sigma = centre * np.exp(rng.uniform(-2.3, 2.3, n))
    return sigma, rng.normal(size=(members, n)) * a * sigma**b


def nll(theta, sigma, errors):
    """As the paper writes it, each error by itself."""
    s = theta[0] + theta[1] * np.log(sigma)
    return np.mean(0.5 * np.log(2 * np.pi) + s + 0.5 * (errors * np.exp(-s)) ** 2)


@pytest.mark.parametrize("centre", [1e-8, 1e-2, 1.0, 1e5], ids="{:g}".format)
@pytest.mark.parametrize(("a", "b"), [(1.5, 1.0), (0.4, 0.35), (3.0, 1.7)])
def test_a_known_power_law_is_found_at_any_scale(a, b, centre, rng):
    law = PowerLaw.fit(*drawn(rng, a, b, centre=centre))
    assert law.exponent == pytest.approx(b, abs=0.02)
    assert np.log(law.at(centre) / (a * centre**b)) == pytest.approx(0.0, abs=0.02)
    assert law.samples == 4000
    assert law.low < centre < law.high


def test_a_law_remembers_where_most_of_its_samples_lie(rng):
    sigma, errors = drawn(rng, 0.7, 0.8, n=2000)
    law = PowerLaw.fit(sigma, errors)
    assert np.mean(sigma < law.low) == pytest.approx(0.025, abs=1e-3)
    assert np.mean(sigma > law.high) == pytest.approx(0.025, abs=1e-3)


@pytest.mark.parametrize("form", ["power", "linear"])
def test_no_other_law_of_the_form_is_likelier(form, rng):
    sigma, errors = drawn(rng, 0.7, 0.8, n=300)
    errors = errors * rng.standard_t(3, size=errors.shape)  # nothing rests on errors being normal
    law = PowerLaw.fit(sigma, errors, form)
    fitted = np.array([np.log(law.scale), law.exponent])
    free = np.array([True, form == "power"])
    best = min(
        (
            minimize(
                lambda x: nll(np.where(free, x, [0.0, 1.0]), sigma, errors),
                start,
                method="Nelder-Mead",
                options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000},
            )
            for start in ([0.0, 1.0], [2.0, 0.2], [-3.0, 2.0])
        ),
        key=lambda result: result.fun,
    )
    assert law.nll == pytest.approx(nll(fitted, sigma, errors), abs=1e-12)
    assert law.nll <= best.fun + 1e-12
    np.testing.assert_allclose(fitted[free], best.x[free], atol=1e-5)


def test_units_change_the_scale_only(rng):
    sigma, errors = drawn(rng, 0.5, 0.6, n=200)
    one, other = PowerLaw.fit(sigma, errors), PowerLaw.fit(1000 * sigma, 1000 * errors)
    assert other.exponent == pytest.approx(one.exponent, rel=1e-9)
    np.testing.assert_allclose(other.at(1000 * sigma), 1000 * one.at(sigma), rtol=1e-9)


def test_the_linear_law_and_the_identity_are_closed_forms(rng):
    sigma, errors = drawn(rng, 2.0, 0.7, n=50)
    linear = PowerLaw.fit(sigma, errors, "linear")
    assert linear.exponent == 1
    assert linear.scale == pytest.approx(np.sqrt(np.mean((errors / sigma) ** 2)))
    raw = PowerLaw.fit(sigma, errors, "identity")
    assert (raw.scale, raw.exponent) == (1, 1)
    assert raw.nll == pytest.approx(nll([0, 1], sigma, errors))
    assert raw.nll > linear.nll
    np.testing.assert_array_equal(raw.at(sigma), sigma)


def test_extreme_values_neither_overflow_nor_end_the_search(rng):
    sigma = np.exp(rng.uniform(-300, 300, 500))
    law = PowerLaw.fit(sigma, rng.normal(size=500) * sigma)
    assert law.exponent == pytest.approx(1.0, abs=1e-3)
    assert np.isfinite(law.nll)
    two = PowerLaw.fit([1.0, 2.0], [1.0, 1e6])
    assert two.exponent == pytest.approx(np.log(1e6) / np.log(2))


@pytest.mark.parametrize(
    ("sigma", "errors", "reason"),
    [
        ([], [], "n > 0 samples"),
        ([1.0, 2.0], [1.0], "n > 0 samples"),
        ([1.0, np.nan], [1.0, 1.0], "not finite"),
        ([1.0, 2.0], [1.0, np.inf], "not finite"),
        ([1.0, 0.0, 0.0], [1.0, 1.0, 1.0], "2 of 3 uncertainties are zero"),
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], "all uncertainties are equal"),
        ([1.0, 2.0], [0.0, 0.0], "all errors are zero"),
        ([1.0, 2.0, 4.0], [4.0, 2.0, 1.0], "the fitted exponent is -1"),
        ([1.0, 2.0, 3.0], [1.0, 0.0, 0.0], "only structures of the lowest"),
    ],
)
def test_what_cannot_tell_is_refused_with_the_reason(sigma, errors, reason):
    with pytest.raises(CalibrationRefused, match=reason):
        PowerLaw.fit(sigma, errors)


def test_a_form_that_does_not_exist():
    with pytest.raises(ValueError, match="expected one of power, linear, identity"):
        PowerLaw.fit([1.0, 2.0], [1.0, 2.0], "cubic")


def test_a_law_has_a_slope_where_members_agree():
    variance = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(PowerLaw(2.0, 0.7)(variance).sum(), variance)
    assert slope.isfinite().all()
    x = torch.tensor([0.25], dtype=torch.float64)
    assert PowerLaw(2.0, 0.7)(x).sqrt().item() == pytest.approx(2.0 * 0.5**0.7)


def committee_and_data(rng, count=6):
    """Crystals with made-up predictions of five members about labels that are known."""
    data = Dataset(
        [helpers.crystal(rng, (2, 2, 2)) for _ in range(count)], [labels(rng) for _ in range(count)]
    )
    prediction = Prediction(
        torch.tensor(data.energies) + 0.3 * torch.tensor(rng.normal(size=(5, count))),
        torch.tensor(np.concatenate(data.forces) + 0.1 * rng.normal(size=(5, 8 * count, 3))),
        torch.tensor(
            np.stack([label.stress for label in data.labels])
            + 0.01 * rng.normal(size=(5, count, 3, 3))
        ),
    )
    return prediction, data


def labels(rng):
    return Labels(
        energy=rng.normal(), forces=rng.normal(size=(8, 3)), stress=np.diag(rng.normal(size=3))
    )


def test_samples_are_components_and_values_per_atom(rng):
    prediction, data = committee_and_data(rng)
    forces, energy, virial = (
        samples(prediction, data, quantity) for quantity in ("forces", "energy", "virial")
    )
    np.testing.assert_allclose(forces.sigma, prediction.forces.numpy().std(0, ddof=1).ravel())
    np.testing.assert_allclose(
        forces.errors[2], (prediction.forces.numpy()[2] - np.concatenate(data.forces)).ravel()
    )
    assert forces.owner.tolist() == np.repeat(np.arange(6), 24).tolist()
    np.testing.assert_allclose(energy.sigma, prediction.energy.numpy().std(0, ddof=1) / 8)
    np.testing.assert_allclose(energy.errors, (prediction.energy.numpy() - data.energies) / 8)
    volumes = np.array([abs(np.linalg.det(geometry.cell)) for geometry in data])
    np.testing.assert_allclose(
        virial.sigma.reshape(6, 3, 3),
        prediction.stress.numpy().std(0, ddof=1) * volumes[:, None, None] / 8,
    )
    np.testing.assert_allclose(
        virial.errors[1].reshape(6, 3, 3),
        (prediction.stress.numpy()[1] - [label.stress for label in data.labels])
        * volumes[:, None, None]
        / 8,
    )
    mean = samples(prediction, data, of="mean")
    np.testing.assert_allclose(mean.errors, forces.errors.mean(0, keepdims=True))
    with pytest.raises(ValueError, match="expected one of forces, energy, virial"):
        samples(prediction, data, "charges")


def test_a_calibration_speaks_of_atoms_structures_and_virials(rng):
    prediction, data = committee_and_data(rng)
    fitted = Calibration.fit(prediction, data, "linear")
    batch = helpers.Batch.of(list(data))
    components = fitted.forces.at(prediction.forces.numpy().std(0, ddof=1))
    np.testing.assert_allclose(fitted.atomic_variance(prediction).numpy(), (components**2).sum(-1))
    np.testing.assert_allclose(
        fitted.energy_sigma(prediction, batch).numpy(),
        fitted.energy.at(samples(prediction, data, "energy").sigma),
    )
    np.testing.assert_allclose(
        fitted.virial_sigma(prediction, batch).numpy().ravel(),
        fitted.virial.at(samples(prediction, data, "virial").sigma),
    )
    assert not fitted.notes
    low, high = fitted.forces.at([fitted.forces.low, fitted.forces.high])
    assert fitted.outside(float(low + high) / 2) is None
    assert "outside the calibrated range" in fitted.outside(2 * float(high))
    assert (
        fitted.outside(2 * float(high), components=9) is None
    )  # a norm over nine components is three times as large


def test_open_structures_have_no_virial(rng):
    prediction, data = committee_and_data(rng)
    open_data = Dataset(
        list(data), [Labels(energy=label.energy, forces=label.forces) for label in data.labels]
    )
    fitted = Calibration.fit(prediction, open_data, "linear")
    assert fitted.virial is None
    assert fitted.energy is not None
    with pytest.raises(
        ValueError, match="no law for virial, only for forces and energy: calibrate on"
    ):
        fitted.virial_sigma(prediction, helpers.Batch.of(list(data)))
    with pytest.raises(ValueError, match="no structure has a labelled stress"):
        samples(prediction, open_data, "virial")


def test_a_calibration_with_fallback_does_not_take_nonsense_for_agreement(rng):
    prediction, data = committee_and_data(rng, count=8)
    prediction.forces[0, 3, 1] = torch.nan
    with pytest.raises(CalibrationRefused, match="not finite"):
        Calibration.fit_with_fallback(prediction, data)


def test_a_calibration_notes_its_fallbacks(rng):
    prediction, data = committee_and_data(rng, count=3)
    few = Calibration.fit_with_fallback(prediction, data)
    assert few.forces.exponent == few.energy.exponent == few.virial.exponent == 1
    assert any(
        note.startswith("forces: a linear law, as 3 structures are too few") for note in few.notes
    )
    assert len(few.notes) == 3
    prediction, data = committee_and_data(rng, count=8)
    same = Prediction(prediction.energy, prediction.forces, prediction.stress)
    same.energy[:] = (
        torch.tensor(data.energies) + torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    )  # equally sure of all energies
    fallback = Calibration.fit_with_fallback(same, data)
    assert fallback.energy.exponent == 1
    assert any(
        "energy: no power law, all uncertainties are equal" in note for note in fallback.notes
    )
    agreeing = Prediction(
        prediction.energy, prediction.forces[:1].repeat(5, 1, 1), prediction.stress
    )
    for fit in (Calibration.fit_with_fallback, Calibration.fit):
        without = fit(agreeing, data)
        assert without.forces is None
        told = "forces: no law, 192 of 192 uncertainties are zero"
        assert any(note.startswith(told) for note in without.notes)


def test_a_few_coincidences_are_left_out_of_a_calibration(rng):
    """Members of low precision may agree on a component by chance; many such components are no
    chance.
    """
    prediction, data = committee_and_data(rng, count=8)
    forces = prediction.forces.clone()
    forces[:, 0, 0] = forces[0, 0, 0]
    few = Calibration.fit_with_fallback(
        Prediction(prediction.energy, forces, prediction.stress), data
    )
    assert few.forces.samples == forces[0].numel() - 1
    assert any("1 of" in note and "left out" in note for note in few.notes)
    forces[:, :, 0] = forces[0, :, 0]
    many = Calibration.fit_with_fallback(
        Prediction(prediction.energy, forces, prediction.stress), data
    )
    assert many.forces is None
    assert "64 of 192 uncertainties are zero" in many.notes[-1]


def with_atoms(rng, count=6):
    """Crystals, and two isolated atoms on which all members predict zero forces."""
    prediction, data = committee_and_data(rng, count)
    atoms = [Geometry(positions=[[0, 0, 0]], numbers=[z]) for z in (1, 6)]
    labelled = Dataset(atoms, [Labels(energy=e, forces=np.zeros((1, 3))) for e in (-13.6, -1030)])
    energies = torch.tensor([-13.6, -1030.0]) + torch.linspace(-1, 1, 5)[:, None]
    added = Prediction(
        torch.cat([prediction.energy, energies.double()], 1),
        torch.cat([prediction.forces, torch.zeros(5, 2, 3, dtype=torch.float64)], 1),
        torch.cat([prediction.stress, torch.full((5, 2, 3, 3), torch.nan)], 1),
    )
    return prediction, data, added, data + labelled


def test_isolated_atoms_say_nothing_about_forces(rng):
    prediction, data, added, more = with_atoms(rng)
    for fit in (Calibration.fit, Calibration.fit_with_fallback):
        alone, together = fit(prediction, data), fit(added, more)
        assert together.forces == alone.forces
        assert together.virial == alone.virial
        assert together.energy.samples == 8
        note = "forces: 6 of 150 samples were left out, where members agree and have no error"
        assert any(text.startswith(note) for text in together.notes)


def test_forces_that_vanish_by_symmetry_say_nothing(rng):
    """Planar structures: no force along z, up to rounding."""
    prediction, data = committee_and_data(rng)
    forces = prediction.forces.clone()
    forces[:, :, 2] = 1e-9 * torch.tensor(rng.normal(size=(5, 48)))
    flat = [label.forces * [1, 1, 0] for label in data.labels]
    labels = [
        Labels(energy=label.energy, forces=f) for label, f in zip(data.labels, flat, strict=True)
    ]
    fitted = Calibration.fit(
        Prediction(prediction.energy, forces, prediction.stress), Dataset(list(data), labels)
    )
    sigma = forces.numpy()[..., :2].std(0, ddof=1)
    errors = forces.numpy()[..., :2] - np.concatenate(flat)[:, :2]
    right = PowerLaw.fit(sigma.ravel(), errors.reshape(5, -1))
    assert fitted.forces.samples == 96
    assert fitted.forces.scale == pytest.approx(right.scale)
    assert fitted.forces.exponent == pytest.approx(right.exponent)


def test_agreeing_members_with_errors_are_refused_with_the_structures(rng):
    _, _, added, more = with_atoms(rng)
    wrong = [*more.labels[:6], *(Labels(energy=0, forces=np.ones((1, 3))) for _ in range(2))]
    for fit in (Calibration.fit, Calibration.fit_with_fallback):
        fitted = fit(added, Dataset(list(more), wrong))
        assert fitted.forces is None
        with pytest.raises(
            ValueError, match=r"no law for forces, only for energy and virial.*6, 7"
        ):
            fitted.law("forces")
    only = {"quantities": ("forces",)}
    with pytest.raises(CalibrationRefused, match=r"are zero.*They are in structures 6, 7\."):
        Calibration.fit(added, Dataset(list(more), wrong), **only)
    few = added.energy[:, 6:], added.forces[:, 48:], added.stress[:, 6:]
    with pytest.raises(CalibrationRefused, match="no structure says how large errors are"):
        Calibration.fit(Prediction(*few), more[6:], **only)


@pytest.mark.parametrize(
    "change",
    [{"scale": -1.0}, {"scale": np.nan}, {"exponent": 0.0}, {"exponent": np.inf}, {"low": 2.0}],
)
def test_a_stored_law_without_meaning_is_refused(change):
    law = {"scale": 1.5, "exponent": 0.8, "low": 0.1, "high": 1.0, "samples": 9}
    law |= {"nll": 0.2, "error": 0.4}
    stored = {"forces": law, "energy": None, "virial": None, "notes": []}
    again = Calibration.from_json(stored)
    assert again.to_json() == stored
    with pytest.raises(ValueError, match="expected a finite scale and exponent above 0"):
        Calibration.from_json({**stored, "forces": {**law, **change}})


def two_elements(rng, count=6):
    """Crystals of four H and four O, in the first three one N more; O has the larger errors."""
    prediction, data = committee_and_data(rng, count)
    numbers = [[1, 1, 1, 1, 8, 8, 8, 7 if k < 3 else 8] for k in range(count)]
    of_atoms = np.concatenate(numbers)[:, None]
    size = np.exp(rng.normal(-2, 0.5, (8 * count, 3)))
    shared = rng.normal(size=size.shape) * np.where(of_atoms == 8, 4, 1)
    noise = rng.normal(size=(5, *size.shape))
    forces = np.concatenate(data.forces) + size * (noise + shared)
    changed = [replace(g, numbers=z) for g, z in zip(data, numbers, strict=True)]
    said = Prediction(prediction.energy, torch.tensor(forces), prediction.stress)
    return said, Dataset(changed, data.labels), of_atoms


@pytest.mark.parametrize("fit", [Calibration.fit, Calibration.fit_with_fallback])
def test_elements_with_enough_data_have_laws_of_their_own(fit, rng):
    said, data, of_atoms = two_elements(rng, 10)
    fitted, common = fit(said, data, per_element=True), fit(said, data)
    assert common.elements == {}
    assert replace(fitted, elements={}, notes=()) == replace(common, notes=())
    sigma = said.forces.numpy().std(0, ddof=1)
    errors = said.forces.numpy() - np.concatenate(data.forces)
    variance = fitted.forces.at(sigma) ** 2
    assert list(fitted.elements) == ["H", "O"]
    for symbol, z in (("H", 1), ("O", 8)):
        on = np.broadcast_to(of_atoms == z, sigma.shape)
        right = PowerLaw.fit(sigma[on], errors[:, on])
        assert fitted.elements[symbol].scale == pytest.approx(right.scale)
        assert fitted.elements[symbol].exponent == pytest.approx(right.exponent)
        variance[on] = right.at(sigma[on]) ** 2
    few = "forces on N: the law of all atoms, as 9 components in 3 structures are too few"
    assert any(note.startswith(few) for note in fitted.notes)
    batch = helpers.Batch.of(list(data))
    np.testing.assert_allclose(fitted.component_variance(said, batch).numpy(), variance)
    np.testing.assert_allclose(fitted.atomic_variance(said, batch), variance.sum(-1))
    with pytest.raises(ValueError, match="give the prediction's batch"):
        fitted.atomic_variance(said)


def test_an_element_in_few_structures_has_the_law_of_all_atoms(rng):
    said, data, _ = two_elements(rng, 4)
    fitted = Calibration.fit(said, data, per_element=True)
    assert fitted.elements == {}
    few = "H: the law of all atoms, as 48 components in 4 structures are too few (100 in 5 are"
    assert any(few in note for note in fitted.notes)


def test_an_element_without_a_relation_has_the_law_of_all_atoms(rng):
    said, data, of_atoms = two_elements(rng, 10)
    sigma = np.exp(rng.normal(-2, 0.5, said.forces.shape[1:]))
    wrong = np.where(of_atoms == 8, 0.004 / sigma, sigma * rng.normal(size=sigma.shape))
    spread = sigma * np.array([-1, -0.5, 0, 0.5, 1])[:, None, None]
    forces = torch.tensor(np.concatenate(data.forces) + wrong + spread)
    fitted = Calibration.fit(replace(said, forces=forces), data, of="mean", per_element=True)
    assert list(fitted.elements) == ["H"]
    assert any(
        "forces on O: the law of all atoms, as the fitted exponent" in n for n in fitted.notes
    )


def test_laws_of_elements_are_stored_and_old_files_have_none(rng):
    said, data, _ = two_elements(rng, 10)
    for laws in (Calibration.fit(said, data, per_element=True), Calibration.fit(said, data)):
        stored = json.loads(json.dumps(laws.to_json()))
        assert ("elements" in stored) == bool(laws.elements)
        assert Calibration.from_json(stored) == laws
        assert hash(laws) == hash(Calibration.from_json(stored))
    forces = Calibration(None, laws.energy, notes=("forces: no law, all errors are zero",))
    assert Calibration.from_json(json.loads(json.dumps(forces.to_json()))) == forces


def test_a_target_outside_the_range_of_an_element_is_told_of():
    laws = Calibration(
        PowerLaw(1.0, 1.0, 0.1, 1.0, 200),
        elements={"H": PowerLaw(1.0, 1.0, 0.1, 0.2, 100), "O": PowerLaw(2.0, 1.0, 0.1, 0.5, 100)},
    )
    assert laws.outside(0.2) is None
    assert "of forces on H (0.1 to 0.2): the" in laws.outside(0.5)
    assert "of forces on H (0.1 to 0.2) and of forces on O (0.2 to 1) and" in laws.outside(2.0)
    assert "and of forces on other elements (0.1 to 1): the" in laws.outside(2.0)


def test_values_that_are_not_finite_are_no_reason_to_leave_out_a_quantity(rng):
    said, data = committee_and_data(rng)
    said.energy[1, 4] = torch.nan
    for fit in (Calibration.fit, Calibration.fit_with_fallback):
        with pytest.raises(CalibrationRefused, match=r"energy: some .*not finite: drop.* 4$"):
            fit(said, data)
