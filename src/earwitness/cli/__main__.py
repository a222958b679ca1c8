"""`python -m earwitness.cli` is the `earwitness` command."""

from earwitness.cli import main

main()
