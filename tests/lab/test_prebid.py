import json
from pathlib import Path

import pytest

from earwitness.lab import prebid
from earwitness.model.errors import MissingTool


def test_the_bundle_is_the_package_s_own_code_with_the_adapters_asked_for() -> None:
    package = prebid.find_prebid()
    bundle = prebid.bundle(package, ["openx", "ix"]).decode()
    for module in ("prebid-core", "openxBidAdapter", "ixBidAdapter"):
        assert (package / "dist/chunks" / f"{module}.js").read_text() in bundle
    assert (package / "dist/chunks/rubiconBidAdapter.js").read_text() not in bundle
    assert bundle.endswith("pbjs.processQueue();}\n")
    assert json.loads((package / "package.json").read_text())["version"] in bundle


def test_a_package_named_by_the_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = tmp_path / "prebid.js/dist/chunks"
    chunks.mkdir(parents=True)
    (chunks / "dependencies.json").write_text("{}")
    monkeypatch.setenv("EARWITNESS_NODE_MODULES", str(tmp_path))
    assert prebid.find_prebid() == tmp_path / "prebid.js"


def test_without_the_package_the_mend_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EARWITNESS_NODE_MODULES", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prebid, "__file__", str(tmp_path / "lab/prebid.py"))
    with pytest.raises(MissingTool, match="npm ci"):
        prebid.find_prebid()
