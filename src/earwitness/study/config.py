"""study.yaml: what may stand in it, and errors that name the place."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from earwitness.model.errors import BadStudy

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]


def _https(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not a web address (https://…)")
    return url


Url = Annotated[str, AfterValidator(_https)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class World(_Part):
    """The simulated ecosystem that stands in for the internet."""

    name: Name
    seed: int = Field(ge=0)


class Platform(_Part):
    """The voice platform under audit."""

    organisation: str = Field(min_length=1)
    sign_in: Url
    voice_service: str = Field(pattern=r"^[a-z0-9.-]+$")


class Persona(_Part):
    """A treatment."""

    name: Name
    role: Literal["interest", "control", "neutral", "placebo"]
    interest: str | None = None
    profiles: int = Field(ge=1, le=64)
    skills: list[str] = []


class Skill(_Part):
    """A voice app and what is said to it."""

    skill: Name
    name: str
    category: str
    vendor: str
    permissions: list[str] = []
    policy_url: Url | None = None
    utterances: list[str] = Field(min_length=1)


class Site(_Part):
    """A page that profiles visit."""

    site: Name
    url: Url
    rank: int | None = None


class Phase(_Part):
    """One phase of the study: visits of pages, or interactions with skills."""

    phase: Name
    does: Literal["crawl", "interact"]
    sites: list[str] = []
    iterations: int = Field(default=1, ge=1, le=100)
    idle_s: float = Field(default=5.0, ge=0, le=3600)


class Crawl(_Part):
    """How the persona browser works."""

    browsers: int = Field(default=2, ge=1, le=16)
    visit_cap_s: float = Field(default=20.0, gt=0, le=600)


class Lists(_Part):
    """Public lists that say who owns and who tracks; paths relative to the study."""

    ownership: list[str] = []
    filters: list[str] = []


class HypothesisEntry(_Part):
    """A hypothesis, frozen before collection."""

    name: Name
    family: Name
    persona: str
    control: str
    outcome: Literal["bid_cpm"]
    alternative: Literal["greater", "two-sided"]


class StudyFile(_Part):
    """The whole of study.yaml."""

    title: str
    seed: int = Field(ge=0)
    world: World
    platform: Platform
    personas: list[Persona] = Field(min_length=1)
    skills: list[Skill]
    sites: list[Site]
    phases: list[Phase] = Field(min_length=1)
    crawl: Crawl = Crawl()
    lists: Lists = Lists()
    hypotheses: list[HypothesisEntry] = []

    @model_validator(mode="after")
    def _names_meet(self) -> StudyFile:
        personas = [p.name for p in self.personas]
        skills = [s.skill for s in self.skills]
        sites = [s.site for s in self.sites]
        for what, names in (("personas", personas), ("skills", skills), ("sites", sites)):
            _unique(what, names)
        _unique("phases", [p.phase for p in self.phases])
        _unique("hypotheses", [h.name for h in self.hypotheses])
        for i, persona in enumerate(self.personas):
            _known(f"personas.{i}.skills", persona.skills, skills)
        for i, phase in enumerate(self.phases):
            _known(f"phases.{i}.sites", phase.sites, sites)
            if phase.does == "crawl" and not phase.sites:
                raise BadStudy(f"phases.{i}.sites", "a crawl phase needs at least one site")
        for i, hypothesis in enumerate(self.hypotheses):
            _known(f"hypotheses.{i}", [hypothesis.persona, hypothesis.control], personas)
        for i, name in enumerate([*self.lists.ownership, *self.lists.filters]):
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise BadStudy(f"lists.{i}", "a path inside the study's directory is needed")
        return self


def load_study(directory: Path) -> StudyFile:
    """Read and check study.yaml.

    Raises:
        BadStudy: with the yaml path, the reason and the nearest valid value.
    """
    try:
        data = yaml.safe_load((directory / "study.yaml").read_text("utf-8"))
    except FileNotFoundError:
        raise BadStudy(str(directory), "there is no study here; make one with: earwitness init DIR") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise BadStudy(f"line {mark.line + 1}" if mark else "file", "this is not valid YAML") from None
    try:
        return StudyFile.model_validate(data)
    except ValidationError as error:
        raise _first_problem(error, data) from None


def _first_problem(error: ValidationError, data: Any) -> BadStudy:
    problem = error.errors()[0]
    path = ".".join(str(part) for part in problem["loc"]) or "file"
    nearest = None
    if problem["type"] == "extra_forbidden":
        parent: Any = StudyFile
        for part in problem["loc"][:-1]:
            parent = _field_model(parent, part)
        nearest = _nearest(str(problem["loc"][-1]), list(getattr(parent, "model_fields", {})))
        return BadStudy(path, "unknown key", nearest)
    if problem["type"] == "literal_error":
        options = str(problem.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
        nearest = _nearest(str(problem["input"]), options)
    return BadStudy(path, str(problem["msg"]).removeprefix("Value error, "), nearest)


def _field_model(parent: Any, part: object) -> Any:
    if isinstance(part, int):
        return parent
    field = getattr(parent, "model_fields", {}).get(part)
    if field is None:
        return parent
    arguments = getattr(field.annotation, "__args__", (field.annotation,))
    return next((a for a in arguments if isinstance(a, type) and issubclass(a, BaseModel)), field.annotation)


def _nearest(value: str, options: list[str]) -> str | None:
    found = difflib.get_close_matches(value, options, n=1, cutoff=0.4)
    return found[0] if found else None


def _unique(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise BadStudy(what, f"{name!r} stands there twice")


def _known(path: str, names: list[str], valid: list[str]) -> None:
    for name in names:
        if name not in valid:
            raise BadStudy(path, f"{name!r} is not declared", _nearest(name, valid))
