"""Diseases are pure functions of rows: each on rows that are sick, healthy, too short, recovering, and without its numbers."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import CONF, compose_config, make_trainer, one_in

from ganrun.diseases.base import improving, kendall
from ganrun.diseases.examination import consequences, examine, headlines, onsets, silent, watches
from ganrun.disk import identity
from ganrun.ground import registry
from ganrun.ground.finding import Evidence, Finding

ROOT = Path(__file__).resolve().parent.parent
NAMES = registry.names("disease")
HEALTHY = {
    "gap": 0.02,
    "gap_floor": 0.001,
    "spread": 0.95,
    "starved": 0.0,
    "mode_move": 0.1,
    "radius": 1.0,
    "sharpness": 1.3,
    "blur": 0.3,
    "copied": 0.5,
    "extreme": 0.02,
    "auc": 0.72,
    "auc_held_out": 0.5,
    "teaching": 0.55,
    "slope": 2.0,
    "penalty_share": 0.2,
    "clip_share": 0.3,
    "class_hits": 0.85,
    "class_hits_real": 0.9,
    "class_chance": 0.1,
    "noise_move": 0.3,
    "gap_average": 0.02,
    "batch_move": 0.1,
    "gap_training": 0.02,
    "rank": 0.5,
    "move_generator": 1e-3,
    "move_discriminator": 1e-3,
    "generator_gradient": 1e4,
    "norm_generator": 10.0,
    "norm_discriminator": 10.0,
}
FAR = {"gap": 0.4, "gap_training": 0.4, "gap_average": 0.4}
SICK: dict[str, dict[str, Any]] = {
    "explosion": {"slope": 900.0},
    "clipped": {"clip_share": 0.9, "slope": 1e-9},
    "penalty": {"penalty_share": 0.95},
    "vanishing": {**FAR, "teaching": 1e-3, "auc": 0.97},
    "saturated": {**FAR, "auc": 0.995},
    "weak_discriminator": {**FAR, "auc": 0.1},
    "collapse": {"spread": 0.03},
    "oscillation": {**FAR, "mode_move": 0.9},
    "dropping": {"starved": 0.4},
    "dead_output": {"extreme": 0.5},
    "stalled": {**FAR, "move_generator": 1e-7},
    "spectral_collapse": {**FAR, "rank": 0.02},
    "blurred": {"blur": 0.95},
    "overfit": {"auc_held_out": 0.95},
    "label_ignored": {"class_hits": 0.11},
    "noise_ignored": {"noise_move": 0.001},
    "average_lag": {"gap_average": 0.5},
    "batch_statistics": {"batch_move": 0.6},
}


def diseases() -> dict[str, Any]:
    return {name: registry.build("disease", {"name": name}) for name in NAMES}


def rows(*parts: tuple[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """``count`` looks of healthy numbers with changes, for each part."""
    kinds = [change for count, change in parts for _ in range(count)]
    return [{"step": 50 * (place + 1), **HEALTHY, **change} for place, change in enumerate(kinds)]


def test_every_disease_is_tried_here() -> None:
    assert set(SICK) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_sick_run_is_named_by_its_disease_and_a_healthy_one_by_none(name: str) -> None:
    disease = {name: registry.build("disease", {"name": name})}
    assert examine(rows((20, {})), disease) == []
    found = examine(rows((6, {}), (14, SICK[name])), disease)
    assert [finding.disease for finding in found] == [name]
    (finding,) = found
    assert finding.standing
    assert 50 * 7 <= finding.since <= 50 * 15
    assert finding.since < finding.named
    assert finding.evidence.words
    assert all(isinstance(value, float | int) for value in finding.evidence.values.values())
    assert finding.thresholds == disease[name].thresholds()


@pytest.mark.parametrize("name", NAMES)
def test_it_needs_persistence_recovers_and_is_silent_without_its_numbers(name: str) -> None:
    disease = {name: registry.build("disease", {"name": name})}
    assert examine(rows((8, {}), (2, SICK[name])), disease) == []  # two looks are no finding
    over = examine(rows((6, {}), (14, SICK[name]), (30, {})), disease)
    if name != "explosion":  # a first slope that is steep stays its own past
        assert [finding.standing for finding in over] == [False], over
    missing = disease[name].watches[0]
    without = [{key: value for key, value in row.items() if key != missing} for row in rows((6, {}), (14, SICK[name]))]
    assert examine(without, disease) == []
    assert missing in silent(without, disease)[name]


@pytest.mark.parametrize("name", NAMES)
def test_no_condition_reads_the_value_of_a_loss_or_names_a_loss(name: str) -> None:
    source = inspect.getsource(inspect.getmodule(registry.lookup("disease", name)))  # type: ignore[arg-type]
    condition = source.split("def holds")[1].split("def remedies")[0]
    assert "config" not in condition
    for loss in (path.stem for path in (CONF / "loss").glob("*.yaml")):
        assert f'"{loss}"' not in condition
    assert '"loss' not in condition


@pytest.mark.parametrize("name", NAMES)
def test_the_yaml_holds_the_thresholds_with_their_meaning(name: str) -> None:
    text = (CONF / "disease" / f"{name}.yaml").read_text(encoding="utf-8")
    held = dict(compose_config(f"disease=[{name}]")["disease"][name])
    assert held.pop("name") == name
    assert held == registry.build("disease", {"name": name}).thresholds()
    assert all("  # " in line for line in text.splitlines()[3:])
    assert f"@package disease.{name}" in text


def test_all_is_all() -> None:
    assert sorted(compose_config()["disease"]) == NAMES
    assert compose_config("disease=none")["disease"] == {}
    assert list(compose_config("disease=[collapse]")["disease"]) == ["collapse"]


def test_what_explains_what_has_no_circle() -> None:
    explains = {name: disease.explains for name, disease in diseases().items()}
    for name, held in explains.items():
        assert held <= set(NAMES), name
        seen, waiting = set(), list(held)
        while waiting:
            other = waiting.pop()
            assert other != name, f"{name} explains itself"
            if other not in seen:
                seen.add(other)
                waiting += explains[other]


def test_a_cause_hides_its_consequences_from_the_headline_and_not_from_the_findings() -> None:
    sick = {**SICK["weak_discriminator"], "starved": 0.4, "spread": 0.03}
    found = examine(rows((4, {}), (12, sick)), diseases())
    assert [finding.disease for finding in headlines(found)] == ["weak_discriminator"]
    below = {finding.disease for finding in consequences(headlines(found)[0], found)}
    assert below == {"collapse", "dropping"}


def test_a_condition_that_has_not_persisted_is_a_watch() -> None:
    found = watches(rows((8, {}), (1, SICK["collapse"])), diseases())
    assert list(found) == ["collapse"]
    assert "0.03" in found["collapse"].words


def test_nothing_is_named_in_the_first_looks() -> None:
    assert examine(rows((3, {key: value for change in SICK.values() for key, value in change.items()})), diseases()) == []


def test_an_unfinished_run_that_improves_is_not_sick() -> None:
    falling = [{"step": 50 * place, **HEALTHY, "auc": 0.999, "gap": 0.9 * 0.8**place} for place in range(1, 12)]
    assert examine(falling, {"saturated": registry.build("disease", {"name": "saturated"})}) == []
    still = [{**row, "gap": 0.5} for row in falling]
    assert examine(still, {"saturated": registry.build("disease", {"name": "saturated"})})


def test_a_slope_that_rises_without_end_is_an_explosion_and_one_that_is_high_or_rises_alone_is_none() -> None:
    disease = {"explosion": registry.build("disease", {"name": "explosion"})}

    def found(slopes: list[float], gap: float) -> list[str]:
        looks = [{"step": 25 * (place + 1), **HEALTHY, "gap": gap, "slope": slope} for place, slope in enumerate(slopes)]
        return [finding.disease for finding in examine(looks, disease)]

    rising = [2.0 + 3 * place for place in range(16)]
    assert found(rising, 0.05) == ["explosion"]
    assert found(rising, 0.01) == []  # the samples are near
    assert found([slope / 3 for slope in rising], 0.05) == []  # it is not high
    assert found([18 + slope for slope in rising], 0.05) == []  # it was so at first
    assert found([slope + 20 * (place % 2) for place, slope in enumerate(rising)], 0.05) == []  # it goes up and down


def named(name: str, **series: list[float]) -> list[str]:
    """What is found of one disease in looks that are healthy but for these numbers."""
    count = len(next(iter(series.values())))
    looks = [{"step": 25 * (at + 1), **HEALTHY, **{key: held[at] for key, held in series.items()}} for at in range(count)]
    found = examine(looks, {name: registry.build("disease", {"name": name})})
    return [finding.disease for finding in found if finding.standing]


def test_weights_that_grew_and_stay_are_an_explosion_as_long_as_samples_stay_away() -> None:
    grew = [10.0] * 6 + [10 + 4 * place for place in range(6)] + [30.0] * 12  # no longer growing for twelve looks
    assert named("explosion", norm_discriminator=grew, gap=[0.4] * 24) == ["explosion"]
    assert named("explosion", norm_discriminator=grew, gap=[0.05] * 24) == []
    assert named("explosion", norm_discriminator=[*grew[:-3], 12.0, 12.0, 12.0], gap=[0.4] * 24) == []  # they came back
    slow = [10 * 2 ** (place / 15) for place in range(24)]  # twice in fifteen looks: a slow drift
    assert named("explosion", norm_discriminator=slow, gap=[0.4] * 24) == []
    drawn = [3.0, 5.0, *[7.0] * 12]  # from how they were drawn
    assert named("explosion", norm_discriminator=drawn, gap=[0.4] * 14) == []


def test_an_oscillation_that_rests_at_some_looks_is_one_and_one_near_the_data_is_none() -> None:
    moves = [0.1] * 4 + [0.8, 0.3, 0.7, 0.4, 0.8, 0.2, 0.6, 0.7, 0.3, 0.6]
    assert named("oscillation", mode_move=moves, gap=[0.1, 0.05] * 7) == ["oscillation"]
    assert named("oscillation", mode_move=moves, gap=[0.02] * 14) == []
    assert named("oscillation", mode_move=[0.1] * 12 + [0.8] * 2, gap=[0.1] * 14) == []


def test_a_lost_rank_counts_where_samples_stay_away() -> None:
    ranks = [0.4, 0.3, 0.2, 0.1, 0.07, 0.06, 0.05, 0.04, 0.03, 0.03]
    assert named("spectral_collapse", rank=ranks, gap=[0.2] * 10) == ["spectral_collapse"]
    assert named("spectral_collapse", rank=ranks, gap=[0.01] * 10) == []  # a ring without any fault loses its rank too
    assert named("spectral_collapse", rank=ranks, gap=[0.5 * 0.8**at for at in range(10)]) == []  # and this one improves


def test_what_is_starved_while_samples_come_nearer_is_unfinished() -> None:
    assert named("dropping", starved=[0.4] * 14, gap=[0.2] * 14) == ["dropping"]
    assert named("dropping", starved=[0.4] * 14, gap=[0.5 * 0.85**at for at in range(14)]) == []


def test_a_discriminator_that_memorises_is_named_where_it_shows() -> None:
    known = [0.7] * 12
    assert named("overfit", auc_held_out=known, gap=[0.003] * 12) == []  # near, and no copies: as the demo is after 6000 steps
    assert named("overfit", auc_held_out=known, gap=[0.003] * 12, copied=[0.75] * 12) == ["overfit"]
    assert named("overfit", auc_held_out=known, gap=[0.05] * 12) == ["overfit"]
    assert named("overfit", auc_held_out=[0.95] * 12, gap=[0.003] * 12) == ["overfit"]
    assert named("overfit", auc_held_out=[0.55] * 12, gap=[0.05] * 12, copied=[0.75] * 12) == []


def test_blurred_waits_for_what_still_gets_sharper_and_for_the_coarse_law() -> None:
    assert named("blurred", blur=[0.95] * 20) == ["blurred"]
    assert named("blurred", blur=[0.7] * 20) == []
    assert named("blurred", blur=[3 * 0.94**at for at in range(20)]) == []
    assert named("blurred", blur=[0.95] * 20, gap=[0.6 * 0.9**at for at in range(20)]) == []  # the coarse law comes first
    assert named("blurred", blur=[0.95] * 20, gap=[0.012 * 0.9**at for at in range(20)]) == ["blurred"]  # it has come


def test_improving_is_kendalls_tau_and_a_fall() -> None:
    from scipy.stats import kendalltau

    values = [0.9, 0.7, 0.8, 0.5, 0.6, 0.4, 0.3, 0.35]
    assert kendall(values) == pytest.approx(kendalltau(range(8), values).statistic)
    assert improving([{"gap": value} for value in values], 7)
    assert not improving([{"gap": value} for value in reversed(values)], 7)
    flat = [0.5 - 1e-5 * place for place in range(8)]
    assert not improving([{"gap": value} for value in flat], 7)  # falls, by nothing
    assert improving([{"gap": 1.0}] * 4, 3)  # cannot be told yet
    tenth = [1.0, 1.0, 1.0, 0.95, 0.93, 0.9, 0.88, 0.88]
    assert improving([{"gap": value} for value in tenth], 7, by=0.1)
    assert not improving([{"gap": value} for value in tenth], 7, by=0.2)


def test_since_allows_one_gap_and_over_needs_two_of_three() -> None:
    disease = {"collapse": registry.build("disease", {"name": "collapse"})}
    sick = SICK["collapse"]
    found = examine(rows((5, {}), (2, sick), (1, {}), (4, sick)), disease)
    assert [(finding.since, finding.before, finding.looks) for finding in found] == [(300, 250, (6, 7))]
    found = examine(rows((5, {}), (4, sick), (2, {})), disease)
    assert [finding.ended for finding in found] == [550]


def test_onsets_are_the_looks_before_what_stands_and_before_what_may_become_a_finding() -> None:
    disease = {"collapse": registry.build("disease", {"name": "collapse"})}
    sick = SICK["collapse"]
    assert onsets(rows((8, {})), disease) == []
    assert onsets(rows((8, {}), (1, sick)), disease) == [400]  # a watch: it may be a finding two looks later
    assert onsets(rows((8, {}), (1, sick), (1, {})), disease) == [400]  # one look without it is a gap
    assert onsets(rows((8, {}), (1, sick), (2, {})), disease) == []
    assert onsets(rows((8, {}), (20, sick)), disease) == [400]
    assert onsets(rows((20, sick)), disease) == [150]  # the looks of grace come before
    assert onsets([], disease) == []


def test_numbers_that_are_not_taken_at_every_look_are_read_from_the_look_before() -> None:
    disease = {"average_lag": registry.build("disease", {"name": "average_lag"})}
    looks = rows((4, {}), (8, SICK["average_lag"]))
    for row in looks[1::2]:
        del row["gap_average"]
    assert [finding.disease for finding in examine(looks, disease)] == ["average_lag"]


@pytest.mark.parametrize("name", one_in(3, NAMES))
def test_every_remedy_composes_and_trains(name: str) -> None:
    disease = registry.build("disease", {"name": name})
    kinds = (
        ("dataset=ring8", "loss=minimax", "n_critic=3", "optimizer.generator.lr=1e-5"),
        ("dataset=ring8", "loss=wasserstein", "regularizer=[weight_clip]", "optimizer.discriminator.lr=1e-6"),
        ("dataset=ring8", "loss=wasserstein", "regularizer=[gradient_penalty]", "model.discriminator.norm=none"),
    )
    for base in kinds:
        small = ("batch_size=8", "steps=4", "model.generator.width=4", "model.discriminator.width=4", *base)
        config = compose_config(*small)
        for remedy in disease.remedies(config, Evidence("")):
            chosen = {word.partition("=")[0] for word in remedy.overrides}
            kept = [word for word in small if word.partition("=")[0] not in chosen]
            if "regularizer" in chosen:
                kept = [word for word in kept if not word.startswith("regularizer")]
            if any(word.startswith(("condition", "regularizer.")) for word in remedy.overrides):
                continue  # of a labelled run, or an option of what the stack holds
            changed = compose_config(*kept, *remedy.overrides)
            assert identity.differing(identity.result_keys(config), identity.result_keys(changed)), remedy
            trainer = make_trainer(changed).trainer
            trainer.advance()
            trainer.check()
            assert remedy.why


def test_what_was_measured_of_remedies_belongs_to_remedies_that_there_are() -> None:
    from ganrun.cli import remedies

    for name, measured in json.loads(remedies.RECORDS.read_text(encoding="utf-8")).items():
        source = inspect.getsource(inspect.getmodule(registry.lookup("disease", name)))  # type: ignore[arg-type]
        for why, record in measured.items():
            assert why in source, f"{name}: {why}"
            assert record


def test_the_diseases_and_the_answer_import_no_torch() -> None:
    code = (
        "import sys; import ganrun.cli.diagnosis; from ganrun.ground import registry;"
        "[registry.build('disease', {'name': name}) for name in registry.names('disease')]; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "False", done.stderr


def test_a_finding_is_plain() -> None:
    (finding,) = examine(rows((6, {}), (9, SICK["collapse"])), {"collapse": registry.build("disease", {"name": "collapse"})})
    assert isinstance(finding, Finding)
    assert json.loads(json.dumps(finding.plain()))["disease"] == "collapse"
