"""A Prebid.js bundle out of the npm package's prebuilt parts, unmodified.

The package ships `dist/chunks` with `dependencies.json`; what its build tool calls bundling is joining the core, the
modules and what they depend on, and starting the queue.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from earwitness.model.errors import MissingTool


def find_prebid() -> Path:
    """The folder of the npm package: in `$EARWITNESS_NODE_MODULES`, else in a `node_modules` above here or the package.

    Raises:
        MissingTool: it is nowhere.
    """
    here = Path(__file__).resolve()
    folders = [folder / "node_modules" for start in (here, Path.cwd() / "here") for folder in start.parents]
    if named := os.environ.get("EARWITNESS_NODE_MODULES"):
        folders.insert(0, Path(named))
    for folder in folders:
        if (folder / "prebid.js/dist/chunks/dependencies.json").is_file():
            return folder / "prebid.js"
    raise MissingTool("prebid.js", "npm ci --ignore-scripts")


def bundle(package: Path, bidders: Iterable[str]) -> bytes:
    """The script that defines `pbjs` with consent management and the adapters of `bidders`, 300 to 400 kB."""
    chunks = package / "dist" / "chunks"
    needs = json.loads((chunks / "dependencies.json").read_text())
    modules = [*(f"{bidder}BidAdapter.js" for bidder in bidders), "consentManagementTcf.js"]
    needed = [part for name in ("prebid-core.js", *modules) for part in needs.get(name, ())]
    parts = dict.fromkeys(("prebid-core.js", *needed, *modules))
    source = "\n".join((chunks / part).read_text() for part in parts)
    opening = "if(!window.pbjs||!window.pbjs.libLoaded){(function(){\n"
    return f"{opening}{source}\n}})();pbjs.processQueue();}}\n".encode()
