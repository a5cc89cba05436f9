"""The key ``address``: where brokers run already. Read as it stands, then matched with the setups that need it.

What is wrong with an address is told without the address: it may hold a password, and only the person who wrote it need know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from harness import redaction
from harness.model import Setup
from harness.scenario.model import Addresses
from harness.scenario.problems import Report, did_you_mean, one_of
from harness.scenario.shapes import BAD, Schema, refuse
from harness.scenario.source import Node

EXTERNAL = "external"

_REFERENCE = re.compile(r"\$\{([^}]*)\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://")
ENCODE = "write / ? # @ % and spaces of a password percent-encoded (%2F %3F %23 %40 %25 %20)"


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressShape:
    """One URL, or a mapping of brokers to URLs; read as a dict of nodes by broker, ``""`` for the one URL."""

    setups: Mapping[str, Setup]

    @property
    def expected(self) -> str:
        """Returns both forms."""
        schemes = dict.fromkeys(scheme for setup in self.setups.values() for scheme in setup.schemes[:1])
        some = ", ".join(f"{scheme}://…" for scheme in schemes) or "a URL"
        return f"one URL ({some}), or {{broker: URL, …}}; ${{NAME}} stands for an environment variable"

    def read(self, node: Node, report: Report) -> Any:
        """Returns the nodes of the URLs by broker."""
        if node.kind == "text" and node.text.strip():
            return {"": node}
        if node.kind != "map" or not node.entries:
            return refuse(node, report, self, "" if node.kind == "nothing" else "this is no address")
        known = dict.fromkeys(setup.broker for setup in self.setups.values())
        sound = True
        for broker, entry in node.entries.items():
            if broker not in known:
                text, remedy = f"there is no broker {broker!r}", did_you_mean(broker, known)
                report.add(entry.place, entry.path, text, expected=one_of(known), remedy=remedy)
                sound = False
            elif entry.kind != "text" or not entry.text.strip():
                report.add(entry.place, entry.path, "this is no address", expected="a URL")
                sound = False
        return dict(node.entries) if sound else BAD

    def schema(self) -> Schema:
        """Returns a string, or an object of strings."""
        url = {"type": "string", "minLength": 1}
        brokers = dict.fromkeys(setup.broker for setup in self.setups.values())
        return {
            "anyOf": [
                url,
                {
                    "type": "object",
                    "properties": dict.fromkeys(brokers, url),
                    "additionalProperties": False,
                    "minProperties": 1,
                },
            ]
        }


def addresses(
    written: Mapping[str, Node] | None, deployment: str, setups: Sequence[Setup], root: Node, report: Report
) -> Addresses | None:
    """Returns the address of every broker that the setups need, None where the deployment is not external.

    Args:
        written: what :class:`AddressShape` read; None = the key is not there.
        setups: of the scenario.
    """
    if deployment != EXTERNAL:
        for node in (written or {}).values():
            text = f"an address stands beside deployment: {deployment}, which starts brokers of its own"
            remedy = "write deployment: external, or remove it (on the command line: --set address=null)"
            report.add(node.place, node.path, text, expected="no address", remedy=remedy)
            break
        return None
    brokers = dict.fromkeys(setup.broker for setup in setups)
    if written is None:
        node = root.nearest("deployment")
        text = "the brokers run already, and no address says where"
        report.add(
            node.place, node.path, text, expected=f"the key address for {_and(brokers)}", remedy="add 'address: …'"
        )
        return None
    if "" in written and len(brokers) > 1:
        node = written[""]
        expected = f"{{{', '.join(f'{broker}: …' for broker in brokers)}}}"
        report.add(node.place, node.path, f"one URL for setups of {_and(brokers)}", expected=expected)
        return None
    return _of_brokers(written, brokers, setups, root, report)


def secrets_in_one_piece(root: Node, text: str, report: Report) -> None:
    """Remembers the passwords of all addresses that are written, and refuses one that the file's text does not hold as it is:
    what is written with escapes or over several lines could not be hidden in the copy of the scenario that a run keeps."""
    written = root.entries.get("address")
    for node in () if written is None else (written, *written.entries.values(), *written.items):
        if redaction.keep(node.text) and not node.place.option and node.text not in text:
            problem = "an address with a password is written with escapes or over several lines"
            report.add(node.place, node.path, problem, expected="the URL in one piece", remedy="or ${NAME}")


def _of_brokers(
    written: Mapping[str, Node], brokers: Mapping[str, None], setups: Sequence[Setup], root: Node, report: Report
) -> Addresses:
    urls: dict[str, str] = {}
    variables: dict[str, None] = {}
    for broker in brokers:
        node = written.get(broker) or written.get("")
        if node is None:
            place = root.nearest("address")
            text = f"no address for {broker}, which a setup needs"
            report.add(place.place, place.path, text, expected=f"the key {broker}", remedy=f"add '{broker}: …'")
            continue
        url = _filled_in(node, variables, report)
        if url is None:
            continue
        redaction.keep(url)
        of_broker = [setup for setup in setups if setup.broker == broker]
        for problem, expected, remedy in _problems(url, of_broker):
            report.add(node.place, node.path, problem, expected=expected, remedy=remedy)
        urls[broker] = url
    return Addresses(urls=urls, variables=tuple(variables))


def _filled_in(node: Node, variables: dict[str, None], report: Report) -> str | None:
    """Returns the text with the values of environment variables in it, None where one is missing; notes their names."""
    missing = False
    for name in _REFERENCE.findall(node.text):
        problem = ""
        if not _NAME.fullmatch(name):
            problem = "${…} holds no name of an environment variable"
        elif not os.environ.get(name, "").strip():
            problem = f"the environment variable {name} is {'empty' if name in os.environ else 'not set'}"
        if problem:
            remedy = f"export {name}=…" if _NAME.fullmatch(name) else ""
            report.add(node.place, node.path, problem, expected="a URL, or a part of one", remedy=remedy)
            missing = True
        variables[name] = None
    return None if missing else _REFERENCE.sub(lambda found: os.environ[found[1]].strip(), node.text.strip())


def _problems(url: str, setups: Sequence[Setup]) -> Iterator[tuple[str, str, str]]:
    """Yields what is wrong with a URL, what was expected and the remedy: never a part of the URL behind its scheme."""
    for setup in setups:
        if not setup.schemes:
            yield f"the setup {setup.name} cannot be run on a broker that runs already", "another deployment", ""
    schemes = dict.fromkeys(scheme for setup in setups for scheme in setup.schemes)
    expected = one_of(f"{scheme}://…" for scheme in schemes) if schemes else "a URL"
    scheme = _SCHEME.match(url)
    if scheme is None:
        yield "this is no URL", expected, ""
        return
    if schemes and scheme[1].lower() not in schemes:
        yield f"the scheme {scheme[1]}:// does not belong to {setups[0].broker}", expected, ""
    authority = re.split(r"[/?#]", url[scheme.end() :], maxsplit=1)[0]
    if re.search(r"\s", url) or redaction.is_ambiguous(url):
        yield "this is no URL: a part of it is not percent-encoded", expected, ENCODE
        return
    try:
        if "," not in authority:  # libpq takes several hosts
            _ = urlsplit(url).port
    except ValueError:
        yield "the port of the URL is no number up to 65535", expected, ENCODE


def _and(words: Mapping[str, None]) -> str:
    return " and ".join(words)
