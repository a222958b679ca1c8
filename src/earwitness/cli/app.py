"""All commands, in the order in which a newcomer needs them."""

from __future__ import annotations

import typer

from earwitness.cli import ask, audit, doctor, inspection, lab

app = typer.Typer(
    name="earwitness",
    help=(
        "Audit smart-speaker ecosystems: what a speaker sends, to whom, who shares it, whether it changes ads and bids."
    ),
    epilog=(
        "Exit codes: 0 done; 1 done, but something failed or was cut short; 2 bad use or bad input; "
        "3 a tool is missing."
    ),
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(audit.demo)
app.command()(audit.init)
app.command()(audit.plan)
app.command()(audit.run)
app.command()(audit.analyse)
app.command()(audit.report)
app.command()(inspection.inspect)
app.command()(ask.sql)
app.command()(ask.score)
app.command()(ask.verify)
app.command()(doctor.doctor)
app.add_typer(lab.app, name="lab")
