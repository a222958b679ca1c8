"""How far identifiers get: partners of the platform, and whom they reach from there."""

from __future__ import annotations

from earwitness.model.sql import literal


def reach_query(platform: str) -> str:
    """A query over `syncs` that gives each partner of `platform` and each organisation downstream (METHOD: sharing).

    A partner sends its own identifier to the platform; one that only passes on another's is none. Downstream is
    whoever, neither platform nor partner, an identifier reaches from a partner, directly or over further hops, each
    hop passing on the same identifier of the same profile.

    Returns:
        SQL with the columns `organisation` and `role` (partner or downstream), partners first, each by name.
    """
    ours = literal(platform)
    return f"""
        with recursive
        partners as (
          select distinct sender as organisation from syncs
          where receiver = {ours} and sender <> {ours} and owner = sender
        ),
        reached as (
          select identifier, sender as organisation from syncs where sender in (from partners)
          union
          select s.identifier, s.receiver
          from reached r join syncs s on s.identifier = r.identifier and s.sender = r.organisation
        )
        select distinct organisation,
               case when organisation in (from partners) then 'partner' else 'downstream' end as role
        from reached where organisation <> {ours}
        order by role desc, organisation
    """  # noqa: S608 - the name is a literal made by `literal`
