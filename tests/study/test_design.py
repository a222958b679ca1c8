"""Design: assignment and order come from the seed alone, and no persona comes first."""

from collections import Counter

from earwitness.study import StudyFile, enrolled, make_assignments, make_plan, outlook

from .test_config import a_study


def study(seed=4, **changes):
    return StudyFile.model_validate({**a_study(), "seed": seed, **changes})


def test_assignment_is_random_but_fixed_by_the_seed():
    first, again, other = (make_assignments(study(seed)) for seed in (4, 4, 5))
    assert first == again
    assert [a.persona.name for a in first] != [a.persona.name for a in other]
    assert Counter(a.persona.name for a in first) == {"pets": 3, "control": 6}
    assert [a.profile for a in first] == [f"p{n:02d}" for n in range(1, 10)]
    for field in ("account", "device_mac", "device_ip", "seed"):
        assert len({getattr(a, field) for a in first}) == 9


def test_which_profile_gets_the_treatment_varies_over_seeds():
    treated = Counter(
        a.profile for seed in range(200) for a in make_assignments(study(seed)) if a.persona.name == "pets"
    )
    assert all(40 < treated[f"p{n:02d}"] < 95 for n in range(1, 10))  # 66.7 expected


def test_passes_are_interleaved_over_personas():
    assignments = make_assignments(study())
    plan = make_plan(study(), assignments)
    persona = {a.profile: a.persona.name for a in assignments}
    assert plan[0].step == "enrol"
    assert [s.position for s in plan] == list(range(len(plan)))
    for phase in ("before", "interact", "after"):
        order = [persona[s.profile] for s in plan if s.phase == phase]
        assert len(order) == 9
        places = [i for i, p in enumerate(order) if p == "pets"]
        assert [i // 3 for i in places] == [0, 1, 2]
    orders = [[s.profile for s in plan if s.phase == phase] for phase in ("before", "after")]
    assert orders[0] != orders[1]


def test_credentials_depend_on_the_study_s_key_only():
    assignments = make_assignments(study())
    one, again, other = (enrolled(assignments, key) for key in (b"k" * 32, b"k" * 32, b"x" * 32))
    assert one == again
    assert not {e.password for e in one} & {e.password for e in other}
    assert all("password" not in repr(a) for a in assignments)


def test_the_outlook_counts_and_refuses_what_the_design_cannot_show():
    view = outlook(study())
    assert (view["profiles"], view["visits"], view["utterances"]) == (9, 9 * 4, 3 * 4)
    (hypothesis,) = view["hypotheses"]
    assert hypothesis["p_attainable"] == 1 / 84
    assert hypothesis["confirmatory"]
    personas = a_study()["personas"]
    personas[0]["profiles"] = personas[1]["profiles"] = 2
    (hypothesis,) = outlook(study(personas=personas))["hypotheses"]
    assert hypothesis["p_attainable"] == 1 / 6
    assert not hypothesis["confirmatory"]
    assert hypothesis["would_do"] == {"treated": 3, "control": 3}
