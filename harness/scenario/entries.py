"""The shapes whose words come from the catalogue: an entry of ``setups``, an entry of ``faults``, ``slo``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.metrics import METRICS, Metric
from harness.model import Parameter, Setup
from harness.scenario.catalogue import LATER_SETUPS, LATER_TARGETS, LATER_VERBS, Catalogue, FaultKeySpec, FaultSpec
from harness.scenario.mappings import Key, Table
from harness.scenario.model import Bound, FaultEntry
from harness.scenario.problems import Report, did_you_mean, one_of
from harness.scenario.quantities import OrWord, duration, rate, ratio, size
from harness.scenario.shapes import BAD, UNBOUNDED, Bad, Schema, Shape, Whole, Words, as_yaml_reads, not_yet, refuse
from harness.scenario.sites import CONTAINER_PARAMETERS, ContainerParameter
from harness.scenario.source import Node

MAX_KILLED = 65535


@dataclass(frozen=True, kw_only=True, slots=True)
class SetupChoice:
    """One entry of ``setups`` as read: the values asked for of each parameter that was written, and where it stands."""

    setup: Setup
    asked: dict[str, tuple[str, ...]]
    node: Node

    @property
    def contained(self) -> tuple[str, ...]:
        """Returns the parameters that were written and belong to the container of its broker, not to the setup."""
        own = {parameter.name for parameter in self.setup.parameters}
        return tuple(name for name in self.asked if name not in own)


@dataclass(frozen=True, kw_only=True, slots=True)
class SetupEntry:
    """A setup's name, or ``name: {parameter: value or list}``."""

    catalogue: Catalogue

    @property
    def expected(self) -> str:
        """Returns the names of the setups."""
        return f"a setup ({', '.join(self.catalogue.setups)}), or 'name: {{parameter: value or list}}'"

    def read(self, node: Node, report: Report) -> Any:
        """Returns a SetupChoice."""
        if node.kind == "text" or node.text == "null":  # YAML reads the name of the null broker as nothing
            setup = self._setup(node, node.text, report)
            return BAD if isinstance(setup, Bad) else SetupChoice(setup=setup, asked={}, node=node)
        if node.kind != "map" or len(node.entries) != 1:
            text = f"{len(node.entries)} setups stand in one item" if node.kind == "map" else ""
            return refuse(node, report, self, text, "write one '- ' item for each setup" if text else "")
        name, given = next(iter(node.entries.items()))
        setup = self._setup(given, name, report)
        if isinstance(setup, Bad):
            return BAD
        if given.kind == "nothing":
            return SetupChoice(setup=setup, asked={}, node=node)
        if given.kind != "map":
            return refuse(given, report, self, f"{given} is no mapping of parameters")
        asked = {key: self._values(setup, key, entry, report) for key, entry in given.entries.items()}
        return BAD if BAD in asked.values() else SetupChoice(setup=setup, asked=asked, node=node)

    def _setup(self, node: Node, name: str, report: Report) -> Setup | Bad:
        if name in self.catalogue.setups:
            return self.catalogue.setups[name]
        if name in LATER_SETUPS:
            return not_yet(node, report, f"the setup {name!r}", one_of(self.catalogue.setups))
        remedy = did_you_mean(name, self.catalogue.setups)
        return refuse(node, report, self, f"the setup {name!r} does not exist", remedy)

    def _values(self, setup: Setup, key: str, node: Node, report: Report) -> Any:
        parameters = {parameter.name: parameter for parameter in setup.parameters}
        shape: Shape
        if key in parameters:
            shape = ParameterValue(parameter=parameters[key])
        elif key in (of_container := _of_container(setup, self.catalogue)):
            shape = ContainerValue(parameter=of_container[key])
        else:
            known = [*parameters, *of_container]
            expected = one_of(known) if known else "none"
            remedy = did_you_mean(key, known) or "remove it"
            report.add(
                node.place, node.path, f"{setup.name} has no parameter {key!r}", expected=expected, remedy=remedy
            )
            return BAD
        if node.kind == "list":
            if not node.items:
                return refuse(node, report, shape, "an empty list", "write a value, or remove the parameter")
            values = tuple(shape.read(item, report) for item in node.items)
            return BAD if BAD in values else values
        value = shape.read(node, report)
        return BAD if value is BAD else (value,)

    def schema(self) -> Schema:
        """Returns a name, or an object with one name and its parameters."""
        objects = {name: _setup_schema(setup, self.catalogue) for name, setup in self.catalogue.setups.items()}
        entry = {"type": "object", "properties": objects, "additionalProperties": False}
        return {
            "anyOf": [
                {"enum": [typed for name in objects for typed in as_yaml_reads(name)]},
                {**entry, "minProperties": 1, "maxProperties": 1},
            ]
        }


def _of_container(setup: Setup, catalogue: Catalogue) -> Mapping[str, ContainerParameter]:
    """Returns the parameters of the broker's container, none where there is no such container."""
    return CONTAINER_PARAMETERS if catalogue.on_docker(setup) else {}


def _setup_schema(setup: Setup, catalogue: Catalogue) -> Schema:
    properties = {}
    for parameter in setup.parameters:
        value = ParameterValue(parameter=parameter).schema()
        several = {"type": "array", "items": value, "minItems": 1}
        properties[parameter.name] = {
            "description": parameter.meaning,
            "default": parameter.default_value,
            "anyOf": [value, several],
        }
    for name, of_container in _of_container(setup, catalogue).items():
        value = of_container.shape.schema()
        several = {"type": "array", "items": value, "minItems": 1}
        properties.setdefault(name, {"description": of_container.meaning, "anyOf": [value, several]})
    return {
        "type": ["object", "null"],
        "description": setup.summary,
        "properties": properties,
        "additionalProperties": False,
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterValue:
    """One value of a setup's parameter, kept as the word that was written."""

    parameter: Parameter

    @property
    def expected(self) -> str:
        """Returns the words, or what the parameter means."""
        return one_of(self.parameter.values) if self.parameter.values else self.parameter.meaning or "a value"

    def read(self, node: Node, report: Report) -> Any:
        """Returns the word."""
        if self.parameter.values:
            return Words(words=self.parameter.values).read(node, report)
        if node.kind != "text" or not node.text.strip():
            return refuse(node, report, self)
        if self.parameter.check is None:
            return node.text
        try:
            self.parameter.check(node.text)
        except ValueError as error:
            text, _, expected = str(error).partition("; expected ")
            report.add(node.place, node.path, text, expected=expected or self.expected)
            return BAD
        return node.text

    def schema(self) -> Schema:
        """Returns the words as YAML reads them, or any plain value."""
        if not self.parameter.values:
            return {"type": ["string", "number"]}
        return {"enum": [typed for word in self.parameter.values for typed in as_yaml_reads(word)]}


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerValue:
    """One value of a parameter of the broker's container, kept as the word that ids and records hold."""

    parameter: ContainerParameter

    @property
    def expected(self) -> str:
        """Returns what the shape expects."""
        return self.parameter.shape.expected

    def read(self, node: Node, report: Report) -> Any:
        """Returns the word."""
        value = self.parameter.shape.read(node, report)
        return BAD if value is BAD else self.parameter.word(value)

    def schema(self) -> Schema:
        """Returns the schema of the shape."""
        return self.parameter.shape.schema()


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultShape:
    """``{at: 10 s, <verb>: <target>, …}``."""

    catalogue: Catalogue

    @property
    def expected(self) -> str:
        """Returns the faults."""
        faults = ", ".join(f"{verb}: {target}" for verb, target in self.catalogue.faults)
        return f"'at: <duration>' and one of {faults}"

    def read(self, node: Node, report: Report) -> Any:
        """Returns a FaultEntry."""
        if node.kind != "map":
            return refuse(node, report, self, "" if node.kind == "nothing" else f"{node} is no fault")
        written = [name for name in node.entries if name in self.catalogue.verbs() or name in LATER_VERBS]
        if len(written) != 1:
            close = next(filter(None, (did_you_mean(name, self.catalogue.verbs()) for name in node.entries)), "")
            text = f"{' and '.join(written)} stand in one" if written else "no key says which fault it is"
            return refuse(node, report, self, text, close)
        verb = written[0]
        spec = self._spec(verb, node.entries[verb], report)
        if isinstance(spec, Bad):
            return BAD
        values = fault_table(spec).read(node, report)
        if BAD in values.values():
            return BAD
        settings = {key.name: values[key.name] for key in spec.keys}
        return FaultEntry(at_s=values["at"], verb=verb, target=spec.target, settings=settings)

    def _spec(self, verb: str, node: Node, report: Report) -> FaultSpec | Bad:
        if verb not in self.catalogue.verbs():
            return not_yet(node, report, f"the fault {verb!r}", self.expected)
        targets = [target for known, target in self.catalogue.faults if known == verb]
        if (verb, node.text) in self.catalogue.faults:
            return self.catalogue.faults[verb, node.text]
        if (verb, node.text) in LATER_TARGETS:
            return not_yet(node, report, f"the fault '{verb}: {node.text}'", one_of(targets))
        return refuse(
            node,
            report,
            Words(words=tuple(targets)),
            f"{node} cannot be struck by {verb!r}",
            did_you_mean(node.text, targets),
        )

    def schema(self) -> Schema:
        """Returns any of the faults."""
        return {
            "anyOf": [{"description": s.summary, **fault_table(s).schema()} for s in self.catalogue.faults.values()]
        }


def fault_table(spec: FaultSpec) -> Table:
    """Returns the keys of one fault's entry."""
    at = Key(name="at", shape=duration("0 s"), required=True, meaning="time after the start of *steady*")
    verb = Key(name=spec.verb, shape=Words(words=(spec.target,)), required=True, meaning=spec.summary)
    further = (
        Key(
            name=key.name,
            shape=_fault_value(key),
            meaning=key.meaning,
            default=key.default,
            required=key.default is None,
        )
        for key in spec.keys
    )
    return Table(name=f"{spec.verb}: {spec.target}", keys=(at, verb, *further))


def _fault_value(key: FaultKeySpec) -> Shape:
    if key.unit == "count":
        return Whole(least=1, most=MAX_KILLED)
    return OrWord(number=duration("0 s"), word="never") if key.unit == "duration or never" else duration("0 s")


@dataclass(frozen=True, kw_only=True, slots=True)
class Slo:
    """``metric: bound``, any number of them; read as a tuple of Bound."""

    expected: str = "a mapping of metric names to bounds, such as {latency.end_to_end.p99: 50 ms, loss.confirmed: 0}"

    def read(self, node: Node, report: Report) -> Any:
        """Returns the bounds in the order written."""
        if node.kind != "map":
            return refuse(node, report, self, "" if node.kind == "nothing" else f"{node} is no mapping")
        bounds = tuple(self._bound(name, entry, report) for name, entry in node.entries.items())
        return BAD if BAD in bounds else bounds

    def _bound(self, name: str, node: Node, report: Report) -> Any:
        if name not in METRICS:
            remedy = did_you_mean(name, METRICS) or "brokerbench list names the metrics"
            report.add(node.place, node.path, f"there is no metric {name!r}", expected="a metric name", remedy=remedy)
            return BAD
        limit = bound_shape(METRICS[name]).read(node, report)
        if limit is BAD:
            return BAD
        return Bound(metric=name, limit=limit, text=node.text.strip(), at_least=METRICS[name].higher_is_better)

    def schema(self) -> Schema:
        """Returns an object with every metric."""
        properties = {
            name: {"description": metric.meaning, **bound_shape(metric).schema()} for name, metric in METRICS.items()
        }
        return {"type": "object", "properties": properties, "additionalProperties": False}


def bound_shape(metric: Metric) -> Shape:
    """Returns the shape of a bound on a metric."""
    if metric.unit == "ratio":
        return ratio()
    if metric.unit == "count":
        return Whole(least=0, most=UNBOUNDED)
    if metric.unit == "B":
        return size("0 B", "1000000 GB")
    if metric.unit == "/s":
        return rate("0/s", "1e9/s")
    return duration("0 s", "1000 h")
