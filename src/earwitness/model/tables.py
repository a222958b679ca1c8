"""The data dictionary: every table of a study, declared once.

Stages know these tables, not each other. `docs/tables.md` is generated from this module. Names stay, columns may
grow. Every table ends with the four provenance columns (`PROVENANCE`), so that any row can be walked back to the
step that made it and the bytes it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

TEXT = pa.string()
INT = pa.int64()
REAL = pa.float64()
FLAG = pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
TEXTS = pa.list_(pa.string())


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, unit (empty where it has none) and meaning."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """One table: what a row is, its columns, and the stage that fills it."""

    name: str
    row: str
    filled_by: str
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema, provenance included."""
        return pa.schema([(c.name, c.type) for c in (*self.columns, *PROVENANCE)])

    def arrow(self, rows: Iterable[Mapping[str, object]]) -> pa.Table:
        """Rows (dictionaries; a missing key is null) as an Arrow table of this schema.

        Raises:
            KeyError: a row has a column that the dictionary does not know.
        """
        rows = list(rows)
        known = set(self.schema.names)
        for row in rows:
            if unknown := row.keys() - known:
                raise KeyError(f"{self.name} has no column {sorted(unknown)}")
        return pa.Table.from_pylist(rows, schema=self.schema)


PROVENANCE = (
    Column("step", TEXT, "the step that wrote the row"),
    Column("attempt", INT, "which attempt of that step, counted from 1; more than 1 means that earlier ones failed"),
    Column("evidence", TEXT, "SHA-256 of the artefact the row was read from"),
    Column("locator", TEXT, "where in that artefact: packet, event number, byte range, sentence or second"),
)


def _time(name: str, meaning: str) -> Column:
    return Column(name, TIME, meaning, "UTC, µs")


def _bytes(name: str, meaning: str) -> Column:
    return Column(name, INT, meaning, "bytes")


_PROFILE = Column("profile", TEXT, "the experimental unit: an account, a device and a browser profile")
_VISIT = Column("visit", TEXT, "the page visit")

# One column a line, as in the reference made from it.
# fmt: off
_TABLES = (
    Table("personas", "a treatment of the experiment", "study", (
        Column("persona", TEXT, "its name"),
        Column("role", TEXT, "interest, control, neutral, placebo or web"),
        Column("interest", TEXT, "the interest it shows; null for controls"),
    )),
    Table("profiles", "one experimental unit", "study", (
        _PROFILE,
        Column("persona", TEXT, "the persona it was assigned to, at random"),
        Column("replicate", INT, "its number within the persona, from 1"),
        Column("account", TEXT, "the platform account, as the platform knows it"),
        Column("device_mac", TEXT, "hardware address of its speaker"),
        Column("device_ip", TEXT, "address of its speaker on the audited network"),
        Column("seed", INT, "the seed of everything random about it"),
    )),
    Table("skills", "a voice app", "study", (
        Column("skill", TEXT, "its identifier on the platform"),
        Column("name", TEXT, "its display name"),
        Column("category", TEXT, "the store's category"),
        Column("vendor", TEXT, "who publishes it"),
        Column("permissions", TEXTS, "what it asks for"),
        Column("policy_url", TEXT, "address of its privacy policy; null where none is given"),
    )),
    Table("sites", "a page that profiles visit", "study", (
        Column("site", TEXT, "its short name"),
        Column("url", TEXT, "the address visited"),
        Column("rank", INT, "its popularity rank where known"),
    )),
    Table("interactions", "one utterance spoken to one speaker", "speakers", (
        Column("interaction", TEXT, "its identifier"),
        _PROFILE,
        Column("skill", TEXT, "the skill addressed; null for an idle window"),
        Column("phase", TEXT, "install, train, interact, request …"),
        Column("utterance", TEXT, "what was said"),
        _time("started_at", "the wake"),
        _time("ended_at", "the end of everything it set off"),
        Column("heard", TEXT, "what the speaker answered, as text"),
        Column("outcome", TEXT, "answered, no_answer or failed"),
        Column("captured_by", TEXT, "how its traffic was captured: namespaces, or userspace with the reason"),
    )),
    Table("flows", "one conversation between two addresses and ports", "capture", (
        Column("flow", TEXT, "its identifier"),
        Column("capture", TEXT, "SHA-256 of the capture"),
        _PROFILE,
        Column("interaction", TEXT, "the interaction in whose window it began; null when idle"),
        Column("protocol", TEXT, "tcp or udp"),
        Column("client_mac", TEXT, "hardware address of the client"),
        Column("client_ip", TEXT, "the client: sender of the SYN, else the private side, else the higher port"),
        Column("client_port", INT, "its port"),
        Column("server_ip", TEXT, "the other side"),
        Column("server_port", INT, "its port"),
        _time("first_seen", "first packet"),
        _time("last_seen", "last packet"),
        Column("packets_up", INT, "packets from the client"),
        Column("packets_down", INT, "packets to the client"),
        _bytes("bytes_up", "original frame lengths from the client"),
        _bytes("bytes_down", "original frame lengths to the client"),
        Column("host", TEXT, "the best name; null where nothing names it"),
        Column("host_source", TEXT, "decrypted, sni, quic_sni, http_host or dns"),
        Column("candidates", TEXTS, "every name seen for it, as source=name, best first"),
    )),
    Table("dns_answers", "one address in a DNS answer to a client", "capture", (
        Column("capture", TEXT, "SHA-256 of the capture"),
        Column("client_ip", TEXT, "who asked"),
        Column("name", TEXT, "the name asked for"),
        Column("address", TEXT, "the address answered"),
        Column("ttl", INT, "how long it may be kept", "s"),
        _time("seen_at", "when the answer passed"),
    )),
    Table("messages", "one decrypted request, response or frame", "capture", (
        Column("message", TEXT, "its identifier"),
        Column("flow", TEXT, "the flow that carried it"),
        _PROFILE,
        Column("interaction", TEXT, "the interaction in whose window it was sent"),
        _time("at", "when its first byte passed"),
        Column("direction", TEXT, "up or down"),
        Column("method", TEXT, "HTTP method; null for responses"),
        Column("url", TEXT, "the full address"),
        Column("status", INT, "HTTP status; null for requests"),
        Column("content_type", TEXT, "as declared"),
        Column("body", TEXT, "SHA-256 of the body"),
    )),
    Table("streams", "one audio stream that a speaker fetched", "speakers", (
        Column("stream", TEXT, "its identifier"),
        _PROFILE,
        Column("interaction", TEXT, "the interaction that started it"),
        Column("url", TEXT, "the address the platform gave"),
        Column("final_host", TEXT, "the host that delivered the audio"),
        Column("hops", TEXTS, "every host on the way, in order, the last one included"),
        Column("seconds", REAL, "length of the audio", "s"),
    )),
    Table("hosts", "what is publicly known of a host", "parties", (
        Column("host", TEXT, "the host name"),
        Column("site", TEXT, "its registrable domain"),
        Column("organisation", TEXT, "who runs it; the registrable domain where no list knows"),
        Column("purpose", TEXT, "advertising_tracking, content, functional or unknown"),
        Column("rule", TEXT, "the list rule that decided the purpose; null where none did"),
        Column("source", TEXT, "the list that named the organisation; registrable_domain where none did"),
        Column("source_date", TEXT, "date of that list", "ISO 8601"),
        Column("purpose_source", TEXT, "the list that decided the purpose; null where none did"),
        Column("purpose_source_date", TEXT, "date of that list", "ISO 8601"),
    )),
    Table("contacts", "a host that a device talked to, for a skill or idle", "detect", (
        _PROFILE,
        Column("skill", TEXT, "the skill in whose windows it stands out; null for the device's own traffic"),
        Column("host", TEXT, "the host"),
        Column("party", TEXT, "platform, vendor or third"),
        Column("flows", INT, "flows that were active"),
        _bytes("bytes_up", "sent"),
        _bytes("bytes_down", "received"),
        Column("baseline_rate", REAL, "the same device's traffic with this host when idle", "bytes/s"),
    )),
    Table("data_sent", "one data type in one message", "detect", (
        _PROFILE,
        Column("interaction", TEXT, "when"),
        Column("receiver_host", TEXT, "who received it"),
        Column("data_type", TEXT, "what it is"),
        Column("field", TEXT, "path of the field"),
        Column("where_from", TEXT, "body, query, header or multipart"),
        Column("confidence", REAL, "0 to 1"),
    )),
    Table("activations", "a stretch of audio upload by a speaker", "detect", (
        _PROFILE,
        _time("started_at", "start"),
        _time("ended_at", "end"),
        _bytes("bytes_up", "sent meanwhile"),
        Column("host", TEXT, "to whom"),
        Column("interaction", TEXT, "the utterance that explains it"),
        Column("expected", FLAG, "whether anybody asked for it"),
    )),
    Table("visits", "one page visit", "crawl", (
        _VISIT,
        _PROFILE,
        Column("site", TEXT, "the site"),
        Column("phase", TEXT, "before or after …"),
        Column("iteration", INT, "which round of the phase, from 1"),
        Column("pass", TEXT, "the crawl step: one profile, phase and iteration"),
        Column("position", INT, "order within the pass, from 1"),
        _time("started_at", "navigation"),
        _time("ended_at", "after the page was closed and its last requests were seen"),
        Column("dwell_s", REAL, "time on the page", "s"),
        Column("status", TEXT, "done, no_bids, timeout, crashed or blocked"),
        Column("reason", TEXT, "why it ended: the evidence the stop rule saw"),
        Column("browser", TEXT, "browser and version"),
    )),
    Table("requests", "one hop of one request", "crawl", (
        Column("request", TEXT, "its identifier"),
        _VISIT,
        Column("hop", INT, "0 for the first request, then each redirect"),
        _time("at", "when it was sent"),
        Column("method", TEXT, "HTTP method"),
        Column("url", TEXT, "full address"),
        Column("host", TEXT, "its host"),
        Column("type", TEXT, "document, script, image, xhr, fetch, ping …"),
        Column("frame_url", TEXT, "address of the frame that asked"),
        Column("initiator", TEXT, "address of the script or document that caused it"),
        Column("redirected_from", TEXT, "the request (hop) whose answer sent the browser here"),
        Column("status", INT, "HTTP status; null where no answer came"),
        Column("location", TEXT, "where the answer redirects to"),
        Column("cookies_sent", TEXT, "the Cookie header, platform session values as tokens"),
        Column("cookies_set", TEXTS, "the Set-Cookie lines, platform session values as tokens"),
        Column("body", TEXT, "the request body as text, or null"),
        Column("seen_by", TEXT, "cdp or netlog"),
        Column("referer", TEXT, "the Referer header as sent; null where there was none"),
    )),
    Table("cookies", "one cookie or storage entry as it was set", "crawl", (
        Column("cookie", TEXT, "its identifier"),
        _PROFILE,
        _VISIT,
        Column("request", TEXT, "the hop that set it; null for scripts"),
        _time("at", "when"),
        Column("host", TEXT, "the domain that it is sent to"),
        Column("name", TEXT, "its name"),
        Column("value", TEXT, "its value; platform session values as tokens"),
        Column("via", TEXT, "http, script or storage"),
        _time("expires_at", "when it ends; null for session cookies"),
        Column("first_party", FLAG, "whether it belongs to the visited site"),
    )),
    Table("bids", "one answer of one bidder for one slot", "crawl", (
        Column("bid", TEXT, "its identifier"),
        _VISIT,
        Column("request", TEXT, "the request that carried it"),
        Column("slot", TEXT, "the ad unit's code"),
        Column("bidder", TEXT, "Prebid's bidder code"),
        Column("status", TEXT, "bid, no_bid or timeout"),
        Column("cpm_usd", REAL, "price", "USD per thousand"),
        Column("price", REAL, "price as bid, in its own currency", "per thousand"),
        Column("currency", TEXT, "ISO 4217"),
        Column("size", TEXT, "width x height", "px"),
        Column("latency_ms", REAL, "time to respond", "ms"),
        Column("won", FLAG, "whether it was rendered"),
        Column("forced", FLAG, "whether we called requestBids ourselves"),
        Column("creative", TEXT, "the bidder's creative id"),
        Column("advertiser_domain", TEXT, "who advertises, as declared"),
    )),
    Table("creatives", "one rendered ad", "crawl", (
        Column("creative", TEXT, "its identifier"),
        _VISIT,
        Column("slot", TEXT, "where"),
        Column("screenshot", TEXT, "SHA-256 of the picture"),
        Column("text", TEXT, "the visible text"),
        Column("landing_url", TEXT, "where it leads"),
        Column("perceptual_hash", TEXT, "equal for equal pictures"),
    )),
    Table("ad_labels", "what an ad advertises", "detect", (
        Column("ad", TEXT, "the creative or audio spot"),
        Column("advertiser", TEXT, "who"),
        Column("category", TEXT, "what for"),
        Column("how", TEXT, "adomain, landing page or text"),
        Column("confidence", REAL, "0 to 1"),
    )),
    Table("identifiers", "a value by which a party can recognise a profile", "detect", (
        Column("identifier", TEXT, "its identifier as a row"),
        _PROFILE,
        Column("kind", TEXT, "stored, account or carried"),
        Column("owner_host", TEXT, "the host that keeps or minted it"),
        Column("value", TEXT, "the value itself"),
        _time("first_seen", "when"),
    )),
    Table("syncs", "an identifier arriving at another organisation", "detect", (
        Column("sync", TEXT, "its identifier"),
        _PROFILE,
        Column("identifier", TEXT, "the identifier passed on"),
        Column("sender", TEXT, "the organisation that passed it on"),
        Column("receiver", TEXT, "the organisation that received it"),
        Column("sender_host", TEXT, "its host"),
        Column("receiver_host", TEXT, "its host"),
        Column("channel", TEXT, "query, path, body, referer or location"),
        Column("encoding", TEXT, "plain, url …"),
        Column("request", TEXT, "the hop that proves it"),
        Column("owner", TEXT, "the organisation whose identifier it is; null where the study knew it"),
    )),
    Table("ad_spots", "one spoken ad in a stream", "listen", (
        Column("spot", TEXT, "its identifier"),
        _PROFILE,
        Column("stream", TEXT, "the stream"),
        Column("started_s", REAL, "start", "s"),
        Column("ended_s", REAL, "end", "s"),
        Column("transcript", TEXT, "what was said"),
        Column("confidence", REAL, "0 to 1"),
    )),
    Table("declared_interests", "what the platform admits", "imports", (
        _PROFILE,
        Column("request_number", INT, "which data request, from 1"),
        _time("received_at", "when the archive came"),
        Column("kind", TEXT, "amazon_audiences, advertiser_audiences or third_party_audiences"),
        Column("value", TEXT, "the audience; null where the file was empty"),
        Column("source_file", TEXT, "path inside the archive"),
    )),
    Table("policies", "one privacy policy as fetched", "crawl", (
        Column("policy", TEXT, "its identifier"),
        Column("skill", TEXT, "whose"),
        Column("vendor", TEXT, "who publishes it"),
        Column("url", TEXT, "from where"),
        Column("status", TEXT, "fetched, missing, dead or blocked"),
        _time("fetched_at", "when"),
        Column("text", TEXT, "its text"),
    )),
    Table("statements", "one claim of a policy", "policy", (
        Column("statement", TEXT, "its identifier"),
        Column("policy", TEXT, "the policy"),
        Column("sentence", TEXT, "the sentence"),
        Column("actor", TEXT, "who"),
        Column("action", TEXT, "collect, use, share …"),
        Column("data_type", TEXT, "what"),
        Column("receiver", TEXT, "with whom"),
        Column("negated", FLAG, "whether it is denied"),
        Column("condition", TEXT, "on which condition"),
    )),
    Table("verdicts", "an observed flow held against a policy", "policy", (
        _PROFILE,
        Column("skill", TEXT, "the skill"),
        Column("receiver", TEXT, "who received it"),
        Column("data_type", TEXT, "what"),
        Column("verdict", TEXT, "clear, vague, omitted, ambiguous, contradicted or no_policy"),
        Column("statement", TEXT, "the statement that decided"),
        Column("policy", TEXT, "the policy"),
    )),
    Table("tests", "one statistical test", "stats", (
        Column("hypothesis", TEXT, "its name"),
        Column("family", TEXT, "the family that multiplicity is corrected over"),
        Column("persona", TEXT, "the treatment"),
        Column("control", TEXT, "what it is held against"),
        Column("outcome", TEXT, "what was measured"),
        Column("estimand", TEXT, "what `effect` estimates"),
        Column("unit", TEXT, "profile; or bid, which is the wrong unit and said so"),
        Column("units_treated", INT, "units in the treated arm"),
        Column("units_control", INT, "units in the control arm"),
        Column("method", TEXT, "the test"),
        Column("statistic", REAL, "its value"),
        Column("effect", REAL, "size of the effect"),
        Column("ci_low", REAL, "lower end of the 95 % interval; -inf where unbounded"),
        Column("ci_high", REAL, "upper end; +inf where unbounded"),
        Column("p", REAL, "p-value"),
        Column("p_attainable", REAL, "the smallest p this design can give"),
        Column("p_adjusted", REAL, "p after correction over the family"),
        Column("registered", FLAG, "whether it was frozen before collection"),
        Column("seed", INT, "seed of random draws; null where exact"),
    )),
    Table("findings", "one plain sentence of the report", "study", (
        Column("finding", TEXT, "its name"),
        Column("claim", TEXT, "the sentence"),
        Column("sql", TEXT, "the query that reproduces its numbers"),
        Column("confidence", TEXT, "how sure, in words"),
        Column("gaps", TEXTS, "what limits it"),
    )),
    Table("gaps", "something that was not seen", "every stage", (
        Column("stage", TEXT, "where"),
        Column("subject", TEXT, "what was being looked at"),
        Column("reason", TEXT, "a short stable word: interrupted, truncated, no_name …"),
        Column("detail", TEXT, "one line for people"),
        _time("at", "when; null where no moment is meant"),
    )),
)
# fmt: on

TABLES: dict[str, Table] = {table.name: table for table in _TABLES}
