"""Every key of a scenario, as tables: one place from which the reading, the JSON schema and the reference come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.envelope import HEADER_BYTES
from harness.scenario.addresses import AddressShape
from harness.scenario.catalogue import Catalogue
from harness.scenario.entries import FaultShape, SetupEntry, Slo
from harness.scenario.mappings import Either, Key, Table, Variants
from harness.scenario.model import Agents
from harness.scenario.problems import Report
from harness.scenario.quantities import duration, rate, size
from harness.scenario.shapes import BAD, ListOf, OneOrMore, Schema, Text, Whole, Words, refuse
from harness.scenario.sites import CLIENTS, NETWORKS, NetworkShape
from harness.scenario.source import Node

MAX_SHARDS = 65_535  # producer and worker numbers are u16 in the envelope and in slots
MAX_ATTEMPTS = 255  # attempt is u8 in the envelope

_RATE = rate()
_RATE_OR_NONE = rate("0/s")
_FOR = Key(name="for", shape=duration(), required=True, meaning="length of this piece")

SEGMENTS = Variants(
    what="a piece of a profile",
    tables={
        "constant": Table(
            name="constant",
            keys=(Key(name="constant", shape=_RATE_OR_NONE, required=True, meaning="one rate"), _FOR),
        ),
        "ramp": Table(
            name="ramp",
            keys=(
                Key(
                    name="ramp",
                    shape=ListOf(item=_RATE_OR_NONE, least=2, most=2, what="the first and the last rate"),
                    required=True,
                    meaning="a rate that changes evenly from the first to the last",
                ),
                _FOR,
            ),
        ),
        "steps": Table(
            name="steps",
            keys=(
                Key(
                    name="steps",
                    shape=ListOf(item=_RATE_OR_NONE, most=200, what="rates"),
                    required=True,
                    meaning="rates one after the other, each for an equal part of the length",
                ),
                _FOR,
            ),
        ),
        "spike": Table(
            name="spike",
            keys=(Key(name="spike", shape=_RATE_OR_NONE, required=True, meaning="one rate, for a short time"), _FOR),
        ),
        "sine": Table(
            name="sine",
            keys=(
                Key(
                    name="sine",
                    shape=ListOf(item=_RATE_OR_NONE, least=2, most=2, what="the lowest and the highest rate"),
                    required=True,
                    meaning="a rate that swings between the lowest, where it begins, and the highest",
                ),
                Key(name="period", shape=duration(), required=True, meaning="time from one low to the next"),
                _FOR,
            ),
        ),
        "replay": Table(
            name="replay",
            keys=(
                Key(
                    name="replay",
                    shape=Text(expected="a file of send times, relative to the scenario"),
                    required=True,
                    meaning="send times from a file: one number of seconds per line, ascending, from the start of the piece",
                ),
                Key(name="for", shape=duration(), meaning="length of this piece; else it ends with its last message"),
            ),
        ),
    },
)

_OUTSTANDING = (
    Key(
        name="window",
        shape=Whole(least=1, most=1_000_000),
        default="1000",
        meaning="outstanding confirms per producer",
    ),
)

LOAD = Table(
    name="load",
    exactly_one=("rate", "profile", "saturate"),
    keys=(
        Key(name="rate", shape=_RATE, meaning="messages per second over all producers, all the time"),
        Key(name="profile", shape=ListOf(item=SEGMENTS, most=200), meaning="pieces of *steady* in order"),
        Key(
            name="saturate",
            shape=Table(name="saturate", keys=_OUTSTANDING),
            meaning="closed loop: as fast as confirms come, for the ceiling",
        ),
        Key(
            name="ceiling",
            shape=Table(name="ceiling", keys=_OUTSTANDING),
            meaning="beside `rate` or `profile`: runs each case a second time, in closed loop",
        ),
        Key(
            name="arrival",
            shape=Words(words=("poisson", "constant")),
            default="poisson",
            meaning="how send times lie around the rate: at random, as from many independent clients, or evenly",
        ),
        Key(
            name="producers",
            shape=Whole(least=1, most=MAX_SHARDS),
            default="1",
            meaning="producer processes; they share the rate",
        ),
        Key(
            name="payload",
            shape=size(f"{HEADER_BYTES} B", "16 MiB"),
            default="256 B",
            meaning="size of a message, its envelope of 40 B included",
        ),
        Key(
            name="window",
            shape=Whole(least=1, most=1_000_000),
            default="1000",
            meaning="most unconfirmed messages per producer",
        ),
        Key(
            name="batch",
            shape=Whole(least=1, most=65_536),
            default="256",
            meaning="most messages in one block, and never more than the window",
        ),
        Key(name="tick", shape=duration("50 us", "1 s"), default="1 ms", meaning="time between looks at what is due"),
        Key(
            name="style",
            shape=Words(words=("library",), later=("block", "single")),
            default="library",
            meaning="how the driver speaks: through the client library, with pipelines and confirm windows",
        ),
        Key(
            name="retry",
            shape=Table(
                name="retry",
                keys=(
                    Key(
                        name="attempts",
                        shape=Whole(least=0, most=MAX_ATTEMPTS - 1),
                        required=True,
                        meaning="further attempts after a rejected or unknown one, under the same identity",
                    ),
                    Key(
                        name="backoff", shape=duration("0 s", "1 h"), default="100 ms", meaning="time between attempts"
                    ),
                ),
            ),
            meaning="what the harness tries again; the client library never does",
        ),
    ),
)

_MEAN = duration("1 us", "1 h")

WORKERS = Table(
    name="workers",
    keys=(
        Key(name="count", shape=Whole(least=1, most=MAX_SHARDS), default="2", meaning="worker processes"),
        Key(
            name="prefetch",
            shape=OneOrMore(item=Whole(least=1, most=65_535)),
            default="100",
            meaning="most messages that one worker holds; a list expands to cases",
        ),
        Key(
            name="ack",
            shape=Words(words=("explicit", "auto")),
            default="explicit",
            meaning="settle after the work, or by receiving (a loss after delivery is then invisible)",
        ),
        Key(
            name="settle",
            shape=Table(
                name="settle",
                keys=(
                    Key(
                        name="batch",
                        shape=Whole(least=1, most=65_535),
                        default="100",
                        meaning="most acknowledgements sent together, and never more than the prefetch",
                    ),
                    Key(
                        name="linger",
                        shape=duration("0 s", "10 s"),
                        default="5 ms",
                        meaning="longest time that an acknowledgement waits for others",
                    ),
                ),
            ),
            filled=True,
            meaning="how acknowledgements are batched",
        ),
        Key(
            name="work",
            shape=Either(
                words=Words(words=("none",)),
                table=Table(
                    name="work",
                    exactly_one=("constant", "exponential"),
                    keys=(
                        Key(name="constant", shape=_MEAN, meaning="every message takes this long"),
                        Key(name="exponential", shape=_MEAN, meaning="mean of exponentially distributed times"),
                    ),
                ),
            ),
            default="none",
            meaning="service time per message",
        ),
        Key(
            name="kind",
            shape=Words(words=("sleep", "cpu")),
            default="sleep",
            meaning="whether work waits or burns CPU",
        ),
        Key(
            name="visibility",
            shape=duration("10 ms", "1 h"),
            default="5 s",
            meaning="how long a worker may hold a message before others may have it",
        ),
        Key(
            name="sweep",
            shape=duration("10 ms", "10 min"),
            default="1 s",
            meaning="how often workers look for holds that have run out",
        ),
        Key(
            name="idempotency",
            shape=OneOrMore(item=Words(words=("none", "delete-in-finally", "key-first", "done-marker"))),
            default="none",
            meaning="what shall keep a message that comes twice from having two effects (redis only); a list expands to cases",
        ),
    ),
)

PHASES = Table(
    name="phases",
    keys=(
        Key(
            name="warmup",
            shape=duration("0 s", "1 h"),
            default="3 s",
            meaning="time at the first rate that no figure counts",
        ),
        Key(
            name="steady",
            shape=duration("1 s", "24 h"),
            default="20 s",
            meaning="time that is measured; with a profile, its pieces say it",
        ),
        Key(
            name="drain",
            shape=duration("3 s", "24 h"),
            default="60 s",
            meaning="limit on working off what is left after the load",
        ),
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentsShape:
    """A number of agents on this machine, or how many are here and how many come from other machines."""

    whole: Whole
    table: Table

    @property
    def expected(self) -> str:
        """Returns both."""
        return f"{self.whole.expected}, or {self.table.expected}"

    def read(self, node: Node, report: Report) -> Any:
        """Returns :class:`Agents`."""
        if node.kind != "map":
            number = self.whole.read(node, report)
            return number if number is BAD else Agents(local=number)
        counts = self.table.read(node, report)
        if BAD in counts.values():
            return BAD
        agents = Agents(**counts)
        if not agents.total:
            return refuse(
                node, report, self, "not one agent is asked for", "write local: 1 or more, or remote: 1 or more"
            )
        return agents

    def schema(self) -> Schema:
        """Returns either."""
        return {"anyOf": [self.whole.schema(), self.table.schema()]}


_MOST_AGENTS = 256

AGENTS = AgentsShape(
    whole=Whole(least=1, most=_MOST_AGENTS),
    table=Table(
        name="agents",
        keys=(
            Key(name="local", shape=Whole(least=0, most=_MOST_AGENTS), default="1", meaning="agents on this machine"),
            Key(
                name="remote",
                shape=Whole(least=0, most=_MOST_AGENTS),
                default="0",
                meaning="agents that come from other machines (`brokerbench agent`); the run waits for them",
            ),
        ),
    ),
)


def scenario_table(catalogue: Catalogue) -> Table:
    """Returns all keys of a scenario for what ``catalogue`` serves."""
    words = Text()
    return Table(
        name="scenario",
        keys=(
            Key(name="question", shape=words, required=True, meaning="what this scenario asks, in one sentence"),
            Key(name="expect", shape=words, meaning="what should be seen; printed beside what was seen"),
            Key(
                name="setups",
                shape=ListOf(item=SetupEntry(catalogue=catalogue)),
                required=True,
                meaning="what is compared; lists of parameter values expand to cases",
            ),
            Key(
                name="deployment",
                shape=Words(words=tuple(catalogue.deployments)),
                meaning="where the brokers run; not written: `docker` where an engine answers and has the images of all setups,"
                " else `embedded`; the first line of a run says it",
            ),
            Key(
                name="address",
                shape=AddressShape(setups=catalogue.setups),
                meaning="of `external`: where brokers run already; never printed or stored with its password",
            ),
            Key(
                name="network",
                shape=NetworkShape(),
                default=NETWORKS[0],
                meaning="of `docker`: the network of broker and load; a list expands to cases",
            ),
            Key(
                name="client",
                shape=Words(words=CLIENTS),
                default=CLIENTS[0],
                meaning="of `docker`: where the load runs, in a container on the broker's network or on this machine",
            ),
            Key(name="load", shape=LOAD, required=True, meaning="how messages are offered"),
            Key(name="workers", shape=WORKERS, filled=True, meaning="how messages are worked off"),
            Key(name="phases", shape=PHASES, filled=True, meaning="lengths of the phases of a trial"),
            Key(
                name="faults",
                shape=ListOf(item=FaultShape(catalogue=catalogue), least=0, most=100),
                meaning="what breaks, and when, counted from the start of *steady*",
            ),
            Key(
                name="trials",
                shape=Whole(least=1, most=1000),
                default="1",
                meaning="repetitions per case, each on a fresh deployment",
            ),
            Key(
                name="agents",
                shape=AGENTS,
                default="1",
                meaning="Locust workers that run the shards; a number alone: on this machine",
            ),
            Key(name="seed", shape=Whole(least=0, most=(1 << 32) - 1), default="1", meaning="of everything random"),
            Key(name="slo", shape=Slo(), meaning="bounds on figures; a missed one ends the run with exit code 10"),
        ),
    )
