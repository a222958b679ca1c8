"""study.yaml: what is wrong is said with the place and the nearest valid value."""

import pytest
import yaml

from earwitness.model.errors import BadStudy
from earwitness.study import load_study, new_study, study_yaml


def a_study():
    return new_study(
        world="anywhere",
        seed=4,
        platform={"organisation": "Voice Co", "sign_in": "https://voice.test/in", "voice_service": "avs.voice.test"},
        personas=[
            {"name": "pets", "role": "interest", "interest": "Pets", "replicates": 3, "skills": ["dogs", "cats"]},
            {"name": "control", "role": "control", "interest": None, "replicates": 6, "skills": []},
        ],
        skills=[
            {
                "skill": s,
                "name": s,
                "category": "Pets",
                "vendor": "V",
                "utterances": [f"open {s}", f"ask {s} for a tip"],
            }
            for s in ("dogs", "cats")
        ],
        sites=[{"site": f"s{i}", "url": f"https://s{i}.test/", "rank": i} for i in range(1, 4)],
        sites_before=1,
        iterations=1,
    )


def write(tmp_path, study):
    (tmp_path / "study.yaml").write_text(study_yaml(study) if isinstance(study, dict) else study)
    return tmp_path


def test_what_init_writes_is_valid_commented_and_round_trips(tmp_path):
    study = load_study(write(tmp_path, a_study()))
    text = (tmp_path / "study.yaml").read_text()
    assert yaml.safe_load(text) == a_study()
    assert text.count("# ") >= len(a_study())
    assert [p.sites for p in study.phases] == [["s1"], [], ["s1", "s2", "s3"]]
    assert [(h.persona, h.control, h.alternative) for h in study.hypotheses] == [("pets", "control", "greater")]


@pytest.mark.parametrize(
    ("change", "path", "nearest"),
    [
        (lambda s: s["personas"][0].update(rol="interest"), "personas.0.rol", "role"),
        (lambda s: s["personas"][0].update(role="intrest"), "personas.0.role", "interest"),
        (lambda s: s["personas"][0].update(skills=["dog"]), "personas.0.skills", "dogs"),
        (lambda s: s["phases"][0].update(sites=["s11"]), "phases.0.sites", "s1"),
        (lambda s: s["hypotheses"][0].update(persona="pet"), "hypotheses.0", "pets"),
        (lambda s: s.update(sed=1), "sed", "seed"),
        (lambda s: s["crawl"].update(browsers=0), "crawl.browsers", None),
        (lambda s: s["sites"][0].update(url="javascript:alert(1)"), "sites.0.url", None),
        (lambda s: s["lists"].update(ownership=["../../etc/passwd"]), "lists.0", None),
        (lambda s: s["sites"].append(dict(s["sites"][0])), "sites", None),
        (lambda s: s["phases"][0].update(sites=[]), "phases.0.sites", None),
        (lambda s: s.pop("title"), "title", None),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, change, path, nearest):
    study = yaml.safe_load(yaml.safe_dump(a_study()))
    change(study)
    with pytest.raises(BadStudy) as caught:
        load_study(write(tmp_path, yaml.safe_dump(study)))
    assert caught.value.path == path
    assert caught.value.nearest == nearest
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["title: [", "just words", "", "- a\n- b"])
def test_a_file_that_is_no_study_is_refused(tmp_path, text):
    with pytest.raises(BadStudy):
        load_study(write(tmp_path, text))


def test_no_study_at_all(tmp_path):
    with pytest.raises(BadStudy, match="earwitness init"):
        load_study(tmp_path)
