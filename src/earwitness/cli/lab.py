"""`lab`: the simulated worlds."""

from __future__ import annotations

from typing import Annotated

import typer

from earwitness.cli.output import JsonOption, say, say_json, say_table

app = typer.Typer(help="Simulated worlds for trying and testing; nothing leaves this machine.", no_args_is_help=True)


@app.command("list")
def list_worlds(as_json: JsonOption = False) -> None:
    """List the worlds."""
    from earwitness import lab

    worlds = [{"world": name, "about": lab.describe(name, 1)["description"]} for name in lab.worlds()]
    if as_json:
        say_json(worlds)
    else:
        say_table(("world", "about"), [(w["world"], w["about"]) for w in worlds])


@app.command()
def show(
    world: Annotated[str, typer.Argument(metavar="NAME", help="The world's name.")],
    seed: Annotated[int, typer.Option(min=0, help="Its seed.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Show what is public in a world; its truth stays sealed."""
    from earwitness import lab

    public = lab.describe(world, seed)
    if as_json:
        say_json(public)
        return
    for key, value in public.items():
        if isinstance(value, list):
            say(f"{key}:")
            for entry in value:
                say(f"  {', '.join(str(v) for v in entry.values()) if isinstance(entry, dict) else entry}")
        else:
            say(f"{key}: {value}")
