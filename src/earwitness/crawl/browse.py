"""A pass of the persona browser: one profile's visits of one phase and iteration."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from earwitness.crawl import chromium
from earwitness.crawl import snapshot as snapshots
from earwitness.crawl.cdp import BrowserGone, CommandFailed, Session
from earwitness.crawl.collectors import (
    BidsCollector,
    Collector,
    CookiesCollector,
    CreativesCollector,
    Record,
    RequestsCollector,
)
from earwitness.crawl.events import EventLog
from earwitness.crawl.home import temporary_home
from earwitness.crawl.hops import Hop, header, host_of
from earwitness.crawl.jar import put_back, read_jar
from earwitness.crawl.recorder import Recorder
from earwitness.crawl.secrets import Secrets
from earwitness.crawl.sign_in import sign_in as sign_in_at
from earwitness.crawl.stop import QUIET_AFTER_LEAVING_S, Evidence, watch
from earwitness.crawl.tab import BLANK, Tab, TabCrashed
from earwitness.crawl.targets import Targets
from earwitness.crawl.visit import CrawlInterrupted, PassResult, Row, SignIn, Visit, VisitPlan
from earwitness.model.errors import EarwitnessError
from earwitness.model.network import Internet

T = TypeVar("T")

_COLLECTORS: tuple[type[Collector], ...] = (RequestsCollector, CookiesCollector, BidsCollector, CreativesCollector)
_TABLES = ("visits", "requests", "cookies", "bids", "creatives")
_READ_S = 5.0
_LEAVE_S = 5.0


class _Version(msgspec.Struct):
    product: str


class _Download(msgspec.Struct):
    url: str


async def run_pass(
    *,
    profile: str,
    pass_id: str,
    visits: Sequence[VisitPlan],
    internet: Internet,
    snapshot: Path | None,
    sealed: Path,
    sign_in: SignIn | None,
    events: Path,
    token_key: bytes,
    visit_cap_s: float = 20.0,
    pictures: Path | None = None,
) -> PassResult:
    """Visit pages as one profile, and record everything that can be seen.

    The profile starts as `snapshot` left it (null: a fresh one) and is sealed to `sealed` in the end. Where it is not
    signed in yet, it signs in first, unrecorded. Every event of the browser goes to the new file `events`. Secrets are
    replaced by tokens keyed with `token_key`. A visit takes at most about `visit_cap_s` seconds. Pictures of
    ads go to the directory `pictures`, which exists (null: none are kept); the rows of `creatives` carry their file
    names.

    Raises:
        CrawlInterrupted: the browser ended; what was recorded is in its `rows` and `gaps`, and nothing was sealed.
        EarwitnessError: signing in failed, or Chromium is missing or does not start.
        BadInput: `snapshot` is no sealed profile.
        FileExistsError: `events` is there already.
    """
    async with temporary_home() as home:
        memory = snapshots.Memory()
        if snapshot is None:
            chromium.seed_preferences(home)
        else:
            memory = await asyncio.to_thread(snapshots.restore, snapshot, chromium.user_data(home))
        secrets = Secrets(token_key, memory.known)
        if sign_in is not None:
            secrets.hide_password(sign_in.password)
        with closing(EventLog(events, secrets.redact)) as log:
            browser = await chromium.start(home, chromium.internet_flags(internet, profile))
            persona = PersonaBrowser(profile, pass_id, log, secrets, visit_cap_s, pictures)
            try:
                await persona.open(browser.url)
                await put_back(persona.targets.browser, memory.session_cookies)
                secrets.learn_jar(await read_jar(persona.targets.browser))
                if sign_in is not None:
                    await persona.sign_in(sign_in)
                for plan in visits:
                    await persona.visit(plan)
                jar = await read_jar(persona.targets.browser)
                secrets.learn_jar(jar)
                await persona.quit()
                if not await browser.ended():
                    raise BrowserGone("chromium does not end when told to")
            except BrowserGone as error:
                raise persona.interrupted(str(error)) from error
            finally:
                await persona.targets.close()
                await browser.kill()
        memory = snapshots.Memory([cookie for cookie in jar if cookie.session], secrets.known)
        # In a thread: other browsers of this process are being listened to meanwhile.
        await asyncio.to_thread(snapshots.seal, chromium.user_data(home), memory, sealed)
        return persona.result()


class PersonaBrowser:
    """One running browser, its one tab, and what has been recorded so far."""

    def __init__(
        self,
        profile: str,
        pass_id: str,
        log: EventLog,
        secrets: Secrets,
        cap_s: float,
        pictures: Path | None = None,
    ) -> None:
        self.targets = Targets()
        recorder = Recorder(self.targets, log, secrets, self._unseen)
        self._record = Record(profile, self.targets, recorder, log, secrets, pictures)
        self._collectors = [collector(self._record) for collector in _COLLECTORS]
        self._pass, self._cap_s = pass_id, cap_s
        self._rows: dict[str, list[Row]] = {table: [] for table in _TABLES}
        self._browser = ""
        self._tab: Tab | None = None
        self._page: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self._visit: Visit | None = None
        self.targets.attached = self._attached

    async def open(self, url: str) -> None:
        """Connect to the browser at a WebSocket address.

        Raises:
            BrowserGone: it ended meanwhile.
        """
        await self.targets.open(url)
        version = await self.targets.browser.ask(_Version, "Browser.getVersion")
        self._browser = f"Chromium {version.product.partition('/')[2]} (headless)"
        self.targets.listen("Browser.downloadWillBegin", self._download)
        await self.targets.browser.call("Browser.setDownloadBehavior", {"behavior": "deny", "eventsEnabled": True})
        await self._take_tab()

    async def sign_in(self, account: SignIn) -> None:
        """Sign in, unless the browser still holds all that signing in once gave it.

        Raises:
            EarwitnessError: it did not work.
            BrowserGone: the browser ended meanwhile.
        """
        secrets, browser = self._record.secrets, self.targets.browser
        before = await read_jar(browser)
        if secrets.signed_in(before):
            return
        host = host_of(account.url)
        try:
            await self._guarded(sign_in_at(self._the_tab, account, self._cap_s))
        except TabCrashed:
            raise EarwitnessError(f"sign-in at {host}: the page's process ended; run it again") from None
        secrets.learn_sign_in(host, before, await read_jar(browser))
        await self._leave()

    async def visit(self, plan: VisitPlan) -> None:
        """Visit one page; its rows are kept.

        Raises:
            BrowserGone: the browser ended; what was seen of the visit is kept, too.
        """
        record = self._record
        record.recorder.hops.take(record.profile, "")  # of no visit: what came before the first
        record.log.open_visit(plan.visit)
        record.recorder.recording = True
        self.targets.service_workers.clear()
        started_at = datetime.now(UTC)
        visit = Visit(plan, started_at, record.log.note("visit", {"url": plan.url}))
        self._visit = visit
        evidence = Evidence()
        status = "crashed"
        dwell_s = None
        try:
            for collector in self._collectors:
                await self._guarded(collector.visit_started(visit))
            opened_at = datetime.now(UTC)
            try:
                status = await self._guarded(self._see(visit, evidence))
                dwell_s = (datetime.now(UTC) - opened_at).total_seconds()
                await self._leave()
            except TabCrashed:
                status, evidence.cut_short = "crashed", "the page's process ended"
                record.gap(plan.visit, "crashed", f"{evidence.cut_short}: {plan.url}")
                await self._new_tab()
        except BrowserGone:
            evidence.cut_short = "the browser ended"
            raise
        finally:
            self._close_visit(visit, status, evidence, dwell_s)

    async def quit(self) -> None:
        """Ask the browser to write everything down and end."""
        with suppress(BrowserGone, CommandFailed):
            await self.targets.browser.call("Browser.close")

    def result(self) -> PassResult:
        """What has been recorded so far."""
        return PassResult(self._rows, self._record.gaps, self._browser)

    def interrupted(self, reason: str) -> CrawlInterrupted:
        """The error that says that the browser ended, with what was recorded."""
        self._record.gap(self._pass, "interrupted", reason)
        return CrawlInterrupted(self._pass, reason, self.result())

    # A visit, step by step ----------------------------------------------------------------------------------

    async def _see(self, visit: Visit, evidence: Evidence) -> str:
        """Open the page, wait for the evidence, let the collectors read it; the visit's status."""
        tab = self._the_tab
        error = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._cap_s):
                error = await tab.go(visit.plan.url)
                if not error:
                    await watch(tab, self._record.recorder, evidence)
        document = self._record.recorder.hops.main_document(tab.session.target)
        try:
            async with asyncio.timeout(_READ_S):
                for collector in self._collectors:
                    await collector.page_quiet(visit, tab)
        except TimeoutError:
            self._record.gap(visit.plan.visit, "page_stuck", "the page does not answer")
        return self._judge(visit, evidence, error, document)

    def _judge(self, visit: Visit, evidence: Evidence, error: str, document: Hop | None) -> str:
        http = document.status if document is not None else None
        if error or (http is not None and http >= 400):
            detail = error or f"HTTP {http}"
            self._record.gap(visit.plan.visit, "blocked", f"{detail}: {visit.plan.url}")
            evidence.cut_short = detail
            return "blocked"
        if not evidence.complete:
            self._record.gap(visit.plan.visit, "timeout", evidence.reason)
            return "timeout"
        return "no_bids" if evidence.prebid and not evidence.bids else "done"

    async def _leave(self) -> None:
        """Go to an empty page, and wait until what the last one still had to send has been sent."""
        try:
            async with asyncio.timeout(_LEAVE_S):
                await self._guarded(self._the_tab.go(BLANK))
                await self._guarded(self._the_tab.loaded())
                self._record.recorder.page_left()
                left_at = asyncio.get_running_loop().time()
                quiet = self._record.recorder.quiet(QUIET_AFTER_LEAVING_S, since=left_at)
                await self._guarded(quiet)
        except TimeoutError:
            await self._new_tab()

    def _close_visit(self, visit: Visit, status: str, evidence: Evidence, dwell_s: float | None) -> None:
        record, plan = self._record, visit.plan
        visit.ended_at = datetime.now(UTC)
        visit.hops, orphans = record.recorder.hops.take(record.profile, plan.visit)
        for orphan in orphans:
            host = header(orphan.headers, "host") or header(orphan.headers, ":authority")
            detail = f"a request to {host or 'some host'} was sent while the page was being left"
            record.gap(plan.visit, "request_unseen", detail)
        self._rows["visits"].append(
            {
                "visit": plan.visit,
                "profile": record.profile,
                "site": plan.site,
                "phase": plan.phase,
                "iteration": plan.iteration,
                "pass": self._pass,
                "position": plan.position,
                "started_at": visit.started_at,
                "ended_at": visit.ended_at,
                "dwell_s": dwell_s,
                "status": status,
                "reason": evidence.reason,
                "browser": self._browser,
                "locator": f"line {visit.line}",
            }
        )
        for collector in self._collectors:
            for table, rows in collector.rows(visit).items():
                self._rows[table] += rows
        record.log.flush()
        self._visit = None

    # Tabs ---------------------------------------------------------------------------------------------------

    @property
    def _the_tab(self) -> Tab:
        assert self._tab is not None, "open() comes first"
        return self._tab

    def _attached(self, session: Session) -> None:
        for collector in self._collectors:
            collector.attach(session)
        if session.kind != "page":
            return
        if not self._page.done():
            self._page.set_result(session)
        else:
            self.targets.browser.post("Target.closeTarget", {"targetId": session.target})
            self._unseen(session.url or BLANK, "popup_closed", "the page opened another window")

    async def _take_tab(self) -> None:
        """Make the page that was attached to first the tab of this browser."""
        session = await self._racing(asyncio.ensure_future(self._page), [self.targets.gone])
        self._tab = Tab(self.targets, session)
        await self._tab.enable()

    async def _new_tab(self) -> None:
        """Replace a tab that crashed or does not answer."""
        old, self._page = self._the_tab, asyncio.get_running_loop().create_future()
        old.session.post("Page.crash")  # a script that never ends would keep its process, and be used again
        await self.targets.browser.call("Target.createTarget", {"url": BLANK})
        await self._take_tab()
        with suppress(CommandFailed):
            await self.targets.browser.call("Target.closeTarget", {"targetId": old.session.target})
        self._record.recorder.page_left()

    async def _guarded(self, doing: Coroutine[object, object, T]) -> T:
        """Do something that is over at once when the tab crashes or the browser ends.

        Raises:
            TabCrashed: the page's process ended.
            BrowserGone: the browser ended.
        """
        task = asyncio.ensure_future(doing)
        return await self._racing(task, [self.targets.gone, self._the_tab.crashed])

    async def _racing(self, task: asyncio.Future[T], ends: Sequence[asyncio.Future[str]]) -> T:
        try:
            futures: list[asyncio.Future[T] | asyncio.Future[str]] = [task, *ends]
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            if self.targets.gone.done():
                raise BrowserGone(self.targets.gone.result())
            if not task.done():
                raise TabCrashed
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _download(self, params: msgspec.Raw, session: Session) -> None:
        url = msgspec.json.decode(params, type=_Download).url
        self._unseen(url, "download_denied", "the page started a download, whose request is not shown")

    def _unseen(self, subject: str, reason: str, detail: str) -> None:
        visit = self._visit.plan.visit if self._visit else None
        self._record.gap(visit or subject, reason, f"{detail}: {subject}" if visit else detail)
