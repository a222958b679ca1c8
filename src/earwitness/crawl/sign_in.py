"""Signing in to the platform by its form, like a person. Nothing of it is recorded."""

from __future__ import annotations

import asyncio

from earwitness.crawl.cdp import CommandFailed
from earwitness.crawl.hops import host_of
from earwitness.crawl.tab import Tab
from earwitness.crawl.visit import SignIn
from earwitness.model.errors import EarwitnessError

_POLL_S = 0.05
_FORM = "input[name=password]"
_SUBMIT = "form:has(input[name=password]) :is(button:not([type]), [type=submit])"


async def sign_in(tab: Tab, account: SignIn, seconds: float) -> None:
    """Fill in the form at the sign-in address and submit it; done when an element `signed-in` is there.

    Raises:
        EarwitnessError: it did not work within `seconds`; the message names neither account nor password.
    """
    host = host_of(account.url)
    try:
        async with asyncio.timeout(seconds):
            error = await tab.go(account.url)
            if error:
                raise EarwitnessError(f"sign-in at {host}: {error}; check the sign-in address")
            await tab.loaded()
            await _fill_in(tab, account)
            await _arrive(tab, host)
    except TimeoutError:
        raise EarwitnessError(f"sign-in at {host}: no answer within {seconds:g} s; check the sign-in address") from None
    except CommandFailed:
        # The browser's message may quote what was typed.
        raise EarwitnessError(f"sign-in at {host}: there is no form with inputs email and password") from None


async def _fill_in(tab: Tab, account: SignIn) -> None:
    for field, text in (("email", account.account), ("password", account.password)):
        await tab.click(f"input[name={field}]")
        await tab.type(text)
    tab.expect_load()
    if await tab.evaluate(bool, f"!!document.querySelector('{_SUBMIT}')"):
        await tab.click(_SUBMIT)
    else:
        await tab.press_enter()


async def _arrive(tab: Tab, host: str) -> None:
    """Wait for the page that says so; a page that shows the form again says no."""
    await tab.loaded()
    while True:
        try:
            if await tab.evaluate(bool, "!!document.getElementById('signed-in')"):
                return
            refused = await tab.evaluate(
                bool, f"document.readyState === 'complete' && !!document.querySelector('{_FORM}')"
            )
        except CommandFailed:
            refused = False  # the page was just being replaced by the next one
        if refused:
            raise EarwitnessError(f"sign-in at {host} was refused; check the account's password")
        await asyncio.sleep(_POLL_S)
