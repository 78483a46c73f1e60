"""Pictures: every function draws what it was given, with labelled axes, on a canvas without a display."""

from __future__ import annotations

from itertools import islice

import helpers
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from agal_toolkit import plots
from agal_toolkit.analysis.surfaces import Grid, Surface
from agal_toolkit.dynamics import Trajectory
from agal_toolkit.events import Epoch


@pytest.fixture(scope="module")
def generations():
    return list(islice(helpers.small_loop().generations(helpers.first_data()), 2))


@pytest.fixture
def axes():
    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def drawn(axes, x, y):
    """The axes say what they show, and the canvas draws it."""
    assert axes.get_xlabel() == x and axes.get_ylabel() == y
    axes.figure.canvas.draw()
    return np.asarray(axes.figure.canvas.buffer_rgba())


def test_surfaces_show_the_points(axes, generations):
    surface = Surface.of(generations[1].committee, Grid(points=12))
    plots.committee_surface(axes, generations[1], surface)
    plots.attack_paths(axes, generations[1].adversaries)
    drawn(axes, "x", "y")
    original, earlier, new = axes.collections[-3:] if len(generations[1].labelled) else (*axes.collections[-2:], None)
    assert len(original.get_offsets()) == len(helpers.first_data())
    assert len(earlier.get_offsets()) == len(generations[0].labelled)
    assert new is None or len(new.get_offsets()) == len(generations[1].labelled)
    assert [text.get_text() for text in axes.texts] == ["generation 2"]


def test_the_energy_scale_is_the_same_for_all(axes, generations):
    grid = Grid(points=12)
    pictures = []
    for shift in (0.0, 100.0):
        figure = Figure()
        FigureCanvasAgg(figure)
        own = figure.add_subplot()
        plots.energy_surface(own, grid, Surface.of(generations[0].committee, grid).energy + shift)
        pictures.append(drawn(own, "x", "y"))
    assert not np.array_equal(*pictures)
    plots.uncertainty_surface(axes, generations[0], Surface.of(generations[0].committee, grid))
    drawn(axes, "x", "y")


def test_curves_have_a_point_for_each_generation(axes, generations):
    plots.learning_curves(axes, {"adversarial": generations, "random": generations[:1]})
    drawn(axes, "generation", "RMSE on the grid")
    assert [len(curve.get_xdata()) for curve in axes.lines] == [2, 1]
    assert axes.lines[0].get_color() == plots.ADVERSARIAL and axes.lines[1].get_color() == plots.RANDOM
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [g.metrics["rmse"] for g in generations])


@pytest.mark.parametrize(("plot", "label"), [(plots.data_curves, "labelled structures"), (plots.sampled_energies, "energy of sampled points")])
def test_other_curves(axes, generations, plot, label):
    plot(axes, {"adversarial": generations})
    drawn(axes, "generation", label)
    plot(axes, {"adversarial": ()})


def test_bands_are_quartiles_and_skip_what_is_empty(axes):
    runs = [np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([]), np.array([10.0, 20.0, 30.0, 40.0, 50.0])]
    plots.band(axes, {"random": runs}, "RMSE on the grid")
    drawn(axes, "generation", "RMSE on the grid")
    assert axes.lines[0].get_xdata().tolist() == [1, 3] and axes.lines[0].get_ydata().tolist() == [3.0, 30.0]
    corners = axes.collections[0].get_paths()[0].vertices
    assert {(1.0, 2.0), (1.0, 4.0), (3.0, 20.0), (3.0, 40.0)} <= set(map(tuple, corners.tolist()))


def test_figure_2b_is_drawn_from_records(rng):
    """Every number of every pair is in its panel, energies of all pairs pooled."""
    def loop(k):
        return [
            {"metrics": {"rmse": 8.0 / (k + g + 1)}, "structures": 60 + 10 * g, "energies": rng.normal(size=3 if g < 2 else 0).tolist()} for g in range(3)
        ]

    pairs = [{"seed": k, "adversarial": loop(k), "random": loop(2 * k)} for k in range(3)]
    figure = Figure()
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    plots.pairs_summary(*panels, pairs, ("adversarial", "random"))
    for axes, label in zip(panels, ("RMSE on the grid", "training points", "energy of sampled points"), strict=True):
        drawn(axes, "generation", label)
        assert [line.get_color() for line in axes.lines] == [plots.ADVERSARIAL, plots.RANDOM]
    assert panels[0].lines[0].get_ydata().tolist() == [4.0, 8 / 3, 2.0]
    pooled = [e for pair in pairs for e in pair["adversarial"][0]["energies"]]
    assert len(pooled) == 9 and panels[2].lines[0].get_ydata()[0] == pytest.approx(np.median(pooled))
    assert len(panels[2].lines[0].get_xdata()) == 2


def test_rows_of_errors_show_every_run(axes):
    plots.error_rows(axes, ["ours", "other"], [np.array([0.1, 0.2, 0.4]), np.array([1.0, 2.0])], [(0.1, 0.4), (1.0, 2.0)], "final RMSE")
    drawn(axes, "final RMSE", "")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ours", "other"]
    assert axes.get_ylim() == (1.5, -0.5), "the first row is on top"
    assert sorted(len(line.get_xdata()) for line in axes.lines) == [1, 1, 2, 2, 2, 2, 3]


def test_losses_are_drawn_as_the_papers_print_them(axes, generations):
    adversaries = generations[0].adversaries
    plots.attack_losses(axes, adversaries)
    drawn(axes, "attack step", r"$\mathcal{L}_\mathrm{adv}$")
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), -adversaries[0].losses)


def test_verdicts_are_counted(axes, generations):
    plots.verdict_bars(axes, generations[0])
    drawn(axes, "candidates", "")
    assert sorted(bar.get_width() for bar in axes.patches) == sorted(generations[0].verdicts.count(v) for v in set(generations[0].verdicts))


def test_sigma_and_error(axes):
    sigma, error = np.geomspace(1e-3, 10, 50), np.geomspace(1e-2, 100, 50)
    plots.sigma_against_error(axes, sigma, error)
    drawn(axes, r"uncertainty $\sigma_F$", "force error of the mean")
    assert len(axes.lines[0].get_xdata()) == 50 and axes.get_xlim() == axes.get_ylim()


def test_histogram_of_uncertainties(axes):
    plots.sigma_histogram(axes, np.geomspace(1e-3, 10, 50), threshold=0.1)
    drawn(axes, r"$\sigma_F$", "structures")
    assert sum(bar.get_height() for bar in axes.patches) == 50


def test_training_curves_pass_over_epochs_without_validation(axes):
    epochs = [Epoch(e, 10, np.array([2.0 / e, 1.0 / e]), np.full(2, 1.0 if e in (1, 10) else np.nan), np.full(2, 1e-3)) for e in range(1, 11)]
    plots.training_curves(axes, epochs)
    drawn(axes, "epoch", "loss of each member")
    assert [len(curve.get_xdata()) for curve in axes.lines[:4]] == [10, 10, 2, 2]


def test_density_is_normalised(axes, rng):
    trajectory = Trajectory(np.arange(5.0), rng.uniform(-1, 1, (5, 400, 1, 2)), np.zeros((5, 400)))
    plots.position_density(axes, {"flat": trajectory}, (np.array([-1.0, 1.0]), np.array([0.5, 0.5])))
    drawn(axes, "x", "density of frames")
    values, edges, _ = axes.patches[0].get_data()
    assert (values * np.diff(edges)).sum() == pytest.approx(1.0)
