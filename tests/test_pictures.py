"""Pictures of points on the line, in the plane and beyond, and grids of images of many classes."""

import math

import numpy as np
import pytest
import torch

from ganrun.engine import clouds, pictures, snapshots
from ganrun.ground import figures
from ganrun.ground.spec import Spec


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn(points, real=None):
    """The axes on which the points are drawn."""
    with figures.style():
        axes = figures.figure(4, 4).add_subplot()
        clouds.draw(axes, points, real)
    return axes


def shown(axes, name):
    """The points (n, 2) on the axes whose legend says ``name``."""
    (line,) = [line for line in axes.lines if name in line.get_label()]
    return line.get_xydata()


def test_a_histogram_shows_shares_of_all_samples_in_the_frame_of_the_real_ones():
    real = torch.cat([torch.full((300, 1), -1.0), torch.full((100, 1), 1.0)])
    axes = drawn(torch.cat([torch.full((4, 1), -1.0), torch.full((1, 1), 9.0)]), real)
    assert axes.get_xlim() == (-1.5, 1.5)
    of_real, of_made = [patch.get_data() for patch in axes.patches]
    assert sorted(of_real.values[of_real.values > 0]) == pytest.approx([0.25, 0.75])
    assert sorted(of_made.values[of_made.values > 0]) == pytest.approx([0.8])  # what lies outside counts
    for data, value in ((of_real, -1.0), (of_made, -1.0)):
        place = int(np.argmax(data.values))
        assert data.edges[place] <= value <= data.edges[place + 1]
    assert axes.get_xlabel() == "x"
    assert "share" in axes.get_ylabel()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["400 real", "5 generated"]


def test_points_of_the_plane_are_where_they_are_over_real_ones():
    points, real = random(50, 2), random(70, 2, seed=1)
    axes = drawn(points, real)
    np.testing.assert_allclose(shown(axes, "generated"), points)
    np.testing.assert_allclose(shown(axes, "real"), real)
    for ends, column in ((axes.get_xlim(), 0), (axes.get_ylim(), 1)):
        low, high = real[:, column].min(), real[:, column].max()
        assert ends[0] < low < high < ends[1]
        assert sum(ends) == pytest.approx(float(low + high), abs=1e-5)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")
    legend = axes.get_legend().get_window_extent()
    assert legend.y1 <= axes.get_window_extent().y0  # off the data


def test_points_that_are_not_finite_or_all_alike_have_a_picture():
    bad = torch.tensor([[float("nan")], [float("inf")], [0.0]])
    for points, real in ((bad, None), (bad, bad), (torch.zeros(4, 1), None), (torch.full((3, 1), float("nan")), None)):
        assert drawn(points, real).get_xlim()[0] < 0 < drawn(points, real).get_xlim()[1]
    assert len(shown(drawn(torch.full((3, 7), float("nan")), random(9, 7)), "generated")) == 0
    picture = clouds.drawing(torch.full((3, 7), float("nan")), title="$x^{ is no formula")
    assert picture.size == (560, 560)


def test_the_plane_of_the_picture_is_that_of_the_largest_variance():
    wide = random(500, 6) * torch.tensor([0.1, 5.0, 0.1, 0.1, 2.0, 0.1]) + 3
    middle, directions = clouds.plane(wide)
    torch.testing.assert_close(middle, wide.mean(0))
    assert directions[1, 0] > 0.99
    assert directions[4, 1] > 0.99
    covariance = np.linalg.eigh(np.cov(wide.numpy().T))[1][:, ::-1][:, :2]
    assert np.abs((covariance * directions.numpy()).sum(0)) == pytest.approx([1, 1], abs=1e-4)
    torch.testing.assert_close(directions.T @ directions, torch.eye(2))


def test_beyond_the_plane_real_and_generated_points_fall_on_the_same_one():
    real = torch.cat([random(100, 50) * 0.01 + 4 * torch.eye(50)[3], random(100, 50) * 0.01 - 4 * torch.eye(50)[3]])
    axes = drawn(real[:100], real)
    made, known = shown(axes, "generated"), shown(axes, "real")
    np.testing.assert_allclose(made, known[:100], atol=1e-5)
    assert made[:, 0].mean() * known[100:, 0].mean() < 0
    assert abs(made[:, 0].mean()) == pytest.approx(4, abs=0.1)
    assert "principal direction of the data" in axes.get_xlabel()


def test_what_generated_points_do_across_the_real_plane_is_not_shown():
    along, across = torch.eye(50)[3], torch.eye(50)[7]
    real = random(100, 50) * 0.01 + 4 * random(100, 1) * along
    made = random(100, 50, seed=2) * 0.01 + 4 * random(100, 1) * across
    assert np.ptp(shown(drawn(made, real), "generated")[:, 0]) < 0.2
    alone = drawn(made)
    assert np.ptp(shown(alone, "generated")[:, 0]) > 8
    assert "of the samples" in alone.get_xlabel()


def test_a_drawing_says_what_it_is_and_is_the_same_every_time():
    points = random(30, 2)
    one, other = (clouds.drawing(points, title=title) for title in ("ring8 at step 500", "another title"))
    assert np.any(np.asarray(one)[:30] != np.asarray(other)[:30])
    assert np.array_equal(np.asarray(one)[40:], np.asarray(other)[40:])
    assert one.tobytes() == clouds.drawing(points, title="ring8 at step 500").tobytes()
    assert pictures.picture_of(points, Spec("points", (2,)), title="ring8 at step 500").tobytes() == one.tobytes()


def test_the_title_of_a_picture_has_the_step_and_the_score_that_counts():
    scores = {"a": {"value": None}, "b": {"value": 1.23456, "std": 0.5}, "c": {"value": 7.0}}
    assert snapshots.title_of("ring8", 500, {}, "c") == "ring8 at step 500"
    assert snapshots.title_of("ring8", 500, scores, "c") == "ring8 at step 500, c 7"
    assert snapshots.title_of("ring8", 500, scores, "a") == "ring8 at step 500, b 1.235 ±0.5"
    assert snapshots.title_of("ring8", 500, scores, None) == "ring8 at step 500, b 1.235 ±0.5"


@pytest.mark.parametrize(
    ("classes", "columns", "across"), [(1000, None, 5), (10, None, 5), (2, None, 5), (None, None, 5), (1000, 8, 8), (1, None, 5)]
)
def test_images_of_many_classes_have_a_square_grid(classes, columns, across):
    picture = pictures.picture_of(torch.zeros(25, 1, 4, 4), Spec("image", (1, 4, 4), classes), columns=columns)
    narrow = across * 5 + 1
    assert picture.width == narrow * max(1, round(512 / narrow))


@pytest.mark.parametrize("group", [1, 2, 3, 7, 10, 16, 26, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 64, 65, 100, 1000])
def test_no_picture_is_a_strip_and_columns_are_classes_where_that_can_be(count, group):
    columns = pictures.across(count, group)
    rows = math.ceil(count / columns)
    assert 1 <= columns <= max(count, 1)
    assert max(rows, columns) <= 3 * min(rows, columns)
    multiples = range(group, count + 1, group)
    ratios = [max(math.ceil(count / wide), wide) / min(math.ceil(count / wide), wide) for wide in multiples]
    if any(ratio <= 3 for ratio in ratios):
        assert columns % group == 0
        assert max(rows, columns) / min(rows, columns) == min(ratios) or group == 1


@pytest.mark.parametrize(("count", "group", "wanted"), [(64, 2, 8), (64, 10, 10), (64, 100, 8), (100, 100, 10), (3, 10, 2)])
def test_the_number_of_columns(count, group, wanted):
    assert pictures.across(count, group) == wanted


@pytest.mark.parametrize(("rows", "columns"), [(2, 32), (1, 64), (100, 1), (101, 1), (3, 21), (40, 8), (10, 6), (13, 97), (2, 7)])
def test_a_long_table_is_cut_into_bands_that_keep_its_rows_and_columns(rows, columns):
    cells = torch.arange(1, rows * columns + 1, dtype=torch.int32).reshape(-1, 1, 1, 1)
    found, wide = pictures.folded(cells, columns)
    high = len(found) // wide
    assert high * wide == len(found)
    assert max(high, wide) <= 4 * min(high, wide)
    cells, found = cells.reshape(rows, columns), found.reshape(high, wide)
    shown = found[found != pictures.BACKGROUND]
    assert set(shown.tolist()) | {pictures.BACKGROUND} == set(cells.flatten().tolist()) | {pictures.BACKGROUND}
    place = {int(value): divmod(index, wide) for index, value in enumerate(found.flatten().tolist())}
    for value in cells[:, :-1].flatten().tolist():  # whoever stands beside or below another one still does, or begins a band
        if value in place and value + 1 in place and pictures.BACKGROUND not in (value, value + 1):
            (row, column), (next_row, next_column) = place[value], place[value + 1]
            assert (next_row, next_column) == (row, column + 1) or (next_column == 0 and next_row > row)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 32, 500])
@pytest.mark.parametrize("target", [False, True])
def test_translations_stand_beside_their_sources_in_no_strip(count, target):
    x = torch.zeros(count, 1, 8, 8)
    picture = pictures.beside(x, Spec("image", (1, 8, 8)), x - 1, x + 1 if target else None)
    assert max(picture.size) <= 3.2 * min(picture.size)
