"""Relations as the plan that travels: every step once, each with a name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.message import Message
from mlops.processing.v1 import plan_pb2

from mlmesh.errors import InvalidArgument
from mlmesh.plan import Relation

_MOST_CHARACTERS = 63
_NO_LETTER = re.compile(r"[^A-Za-z0-9_]+", re.ASCII)


def plan_message(outputs: Sequence[Relation]) -> tuple[plan_pb2.Plan, tuple[str, ...]]:
    """Returns the plan that makes some relations, and the name of the step of each.

    The same relations give the same bytes in every process. Relations that are built alike are one step.

    Args:
        outputs: The relations.

    Raises:
        mlmesh.errors.InvalidArgument: Two steps have the same name.
    """
    relations = list(_in_order(outputs))
    taken = _Names(relation.name for relation in relations)
    names: dict[int, str] = {}
    known: dict[tuple[str, str, bytes], str] = {}
    steps: dict[str, plan_pb2.Step] = {}
    for relation in relations:
        message = _with_inputs(relation, [names[id(one)] for one in relation.inputs])
        content = (relation.kind, relation.name, message.SerializeToString(deterministic=True))
        if content not in known:
            known[content] = relation.name or taken.free(relation)
            step = plan_pb2.Step(name=known[content], **{relation.kind: message})  # type: ignore[arg-type]
            if steps.setdefault(step.name.lower(), step) is not step:
                raise InvalidArgument(f"two different steps have the name {step.name!r}", reason="DUPLICATE_STEP")
        names[id(relation)] = known[content]
    wanted = tuple(names[id(relation)] for relation in outputs)
    return plan_pb2.Plan(steps=steps.values(), outputs=dict.fromkeys(wanted)), wanted


def sources_of(plan: plan_pb2.Plan) -> list[str]:
    """Returns the inputs that a plan reads, each once."""
    return list(dict.fromkeys(step.scan.source for step in plan.steps if step.WhichOneof("kind") == "scan"))


def _in_order(outputs: Iterable[Relation]) -> Iterator[Relation]:
    """Yields every relation once, each after those that it reads. Chains are longer than Python likes to recur."""
    seen: set[int] = set()
    waiting = [(relation, False) for relation in reversed(list(outputs))]
    while waiting:
        relation, is_ready = waiting.pop()
        if is_ready:
            yield relation
        elif id(relation) not in seen:
            seen.add(id(relation))
            waiting.append((relation, True))
            waiting += [(one, False) for one in reversed(relation.inputs)]


def _with_inputs(relation: Relation, names: list[str]) -> Message:
    message = type(relation.message)()
    message.CopyFrom(relation.message)
    match message:
        case plan_pb2.Union():
            message.inputs.extend(names)
        case plan_pb2.Join() | plan_pb2.CrossJoin() | plan_pb2.AsOfJoin():
            message.left, message.right = names
        case plan_pb2.Scan():
            pass
        case _:
            (message.input,) = names  # type: ignore[attr-defined]
    return message


class _Names:
    """Names of steps, which case does not tell apart.

    Args:
        given: Those that people gave.
    """

    def __init__(self, given: Iterable[str]) -> None:
        self._taken = {name.lower() for name in given}
        self._next_numbers: Counter[str] = Counter()

    def free(self, relation: Relation) -> str:
        """Returns a name that says what a step does: `filter`, `filter_2`; of a scan that of the input."""
        wanted = _NO_LETTER.sub("_", relation.message.source) if isinstance(relation.message, plan_pb2.Scan) else relation.kind
        base = wanted if wanted[:1].isalpha() else f"scan_{wanted}"
        while True:
            self._next_numbers[base] += 1
            number = self._next_numbers[base]
            suffix = "" if number == 1 else f"_{number}"
            name = base[: _MOST_CHARACTERS - len(suffix)] + suffix
            if name.lower() not in self._taken:
                self._taken.add(name.lower())
                return name
