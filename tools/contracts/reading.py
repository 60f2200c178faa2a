"""The compiled contracts, ready to be asked: services, messages, comments and options.

Everything that is made from the contracts, and every test over them, reads them here and nowhere else. Options are read through the
descriptors themselves, so that no generated code is needed to generate code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.api import field_behavior_pb2, http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    OneofDescriptor,
    ServiceDescriptor,
)
from google.protobuf.message import Message

OUR_PACKAGES = "mlops."

# Field numbers of the descriptor messages that a source location's path goes through.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM, _MESSAGE_ONEOF = 2, 3, 4, 8
_ENUM_VALUE, _SERVICE_METHOD = 2, 2

_POLICY = "mlops.common.v1.policy"
_HTTP = "google.api.http"
_BEHAVIOR = "google.api.field_behavior"
_FIELD_RULES, _MESSAGE_RULES, _ONEOF_RULES = "buf.validate.field", "buf.validate.message", "buf.validate.oneof"


@dataclass(frozen=True)
class Policy:
    """What `mlops.common.v1.policy` says of a method, by the names of the enum values."""

    access: str
    permission: str
    idempotency: str
    is_audited: bool
    rate_class: str
    conditional_permissions: tuple[str, ...] = ()


@dataclass(frozen=True)
class HttpBinding:
    """One way to call a method over REST.

    Attributes:
        verb: HTTP method in upper case.
        template: Path template as the contract has it, for example `/api/v1/models/{model.name}`.
        body: Field that takes the request body, `*` for the whole request, empty for none.
    """

    verb: str
    template: str
    body: str


class Contracts:
    """A closed set of compiled files.

    Args:
        compiled: The files with their imports, in dependency order; with source info where comments are wanted.
    """

    def __init__(self, compiled: descriptor_pb2.FileDescriptorSet) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        self._files: list[FileDescriptor] = []
        self._comments: dict[str, str] = {}
        for file in compiled.file:
            self._pool.Add(file)
            self._comments.update(_comments_of(file))
        for file in compiled.file:
            self._files.append(self._pool.FindFileByName(file.name))

    @classmethod
    def of_image(cls, image: bytes) -> Contracts:
        """Returns the contracts of a serialized FileDescriptorSet."""
        return cls(descriptor_pb2.FileDescriptorSet.FromString(image))

    @property
    def files(self) -> list[FileDescriptor]:
        """Every file, imported ones included."""
        return list(self._files)

    def our_files(self) -> list[FileDescriptor]:
        """Returns the files of this project's packages, by name."""
        return sorted((file for file in self._files if file.package.startswith(OUR_PACKAGES)), key=lambda file: file.name)

    def services(self) -> Iterator[ServiceDescriptor]:
        """Yields our services by full name."""
        found = [service for file in self.our_files() for service in file.services_by_name.values()]
        yield from sorted(found, key=lambda service: service.full_name)

    def methods(self) -> Iterator[MethodDescriptor]:
        """Yields the methods of our services, in the order of the contracts."""
        for service in self.services():
            yield from service.methods

    def messages(self) -> Iterator[Descriptor]:
        """Yields our messages, nested ones included, without the entries of maps."""
        for file in self.our_files():
            for top in file.message_types_by_name.values():
                yield from _with_nested(top)

    def enums(self) -> Iterator[EnumDescriptor]:
        """Yields our enums, nested ones included."""
        for file in self.our_files():
            yield from file.enum_types_by_name.values()
        for each in self.messages():
            yield from each.enum_types

    def message_type(self, full_name: str) -> Descriptor:
        """Returns the message of that name.

        Raises:
            KeyError: The contracts have none.
        """
        return self._pool.FindMessageTypeByName(full_name)

    def comment(self, full_name: str) -> str:
        """Returns the leading comment of what has that full name, its lines joined to paragraphs; empty where it has none."""
        return self._comments.get(full_name, "")

    def file_comment(self, file: FileDescriptor) -> str:
        """Returns the comment that opens the file."""
        return self._comments.get(file.name, "")

    def policy(self, method: MethodDescriptor) -> Policy | None:
        """Returns the policy of a method, None where it states none."""
        stated = self._option(method.GetOptions(), _POLICY)
        if stated is None:
            return None

        def name(field: str) -> str:
            described = stated.DESCRIPTOR.fields_by_name[field].enum_type
            return str(described.values_by_number[getattr(stated, field)].name)

        return Policy(
            access=name("access"),
            permission=stated.permission,
            idempotency=name("idempotency"),
            is_audited=stated.audited,
            rate_class=name("rate_class"),
            conditional_permissions=tuple(stated.conditional_permissions),
        )

    def bindings(self, method: MethodDescriptor) -> list[HttpBinding]:
        """Returns the REST bindings of a method, the main one first; empty where it is gRPC only."""
        stated = self._option(method.GetOptions(), _HTTP)
        if stated is None:
            return []
        rule = http_pb2.HttpRule.FromString(stated.SerializeToString())
        return [_binding(each) for each in (rule, *rule.additional_bindings)]

    def behaviors(self, field: FieldDescriptor) -> list[str]:
        """Returns what `google.api.field_behavior` says of a field, for example `["REQUIRED", "IMMUTABLE"]`."""
        stated = self._option(field.GetOptions(), _BEHAVIOR)
        return [field_behavior_pb2.FieldBehavior.Name(each) for each in stated or []]

    def field_rules(self, field: FieldDescriptor) -> Mapping[str, Any]:
        """Returns the `buf.validate` rules of a field as plain data, for example `{"string": {"max_len": 255}}`."""
        return _rules(self._option(field.GetOptions(), _FIELD_RULES))

    def message_rules(self, described: Descriptor) -> Mapping[str, Any]:
        """Returns the `buf.validate` rules of a message as plain data."""
        return _rules(self._option(described.GetOptions(), _MESSAGE_RULES))

    def is_oneof_required(self, oneof: OneofDescriptor) -> bool:
        """Says whether one member of a oneof must be set."""
        return bool(_rules(self._option(oneof.GetOptions(), _ONEOF_RULES)).get("required", False))

    def _option(self, options: Message, extension: str) -> Any:
        """Returns the value of an extension; None where it is not set, or not known to these contracts."""
        try:
            described = self._pool.FindExtensionByName(extension)
        except KeyError:
            return None
        # The options came from descriptors of another pool, which does not know our extensions: read them again with this one.
        known = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(options.DESCRIPTOR.full_name))
        parsed: Any = known.FromString(options.SerializeToString())
        if described.is_repeated:
            return list(parsed.Extensions[described])
        return parsed.Extensions[described] if parsed.HasExtension(described) else None


def type_of(field: FieldDescriptor) -> str:
    """Returns the full name of a field's message type, empty where it has none."""
    return field.message_type.full_name if field.message_type is not None else ""


def _with_nested(top: Descriptor) -> Iterator[Descriptor]:
    if not top.GetOptions().map_entry:
        yield top
        for nested in top.nested_types:
            yield from _with_nested(nested)


def _binding(rule: http_pb2.HttpRule) -> HttpBinding:
    pattern = rule.WhichOneof("pattern")
    if pattern is None or pattern == "custom":
        raise ValueError(f"a binding needs one of get, put, post, delete and patch: {rule}")
    return HttpBinding(verb=pattern.upper(), template=getattr(rule, pattern), body=rule.body)


def _rules(stated: Message | None) -> dict[str, Any]:
    return {} if stated is None else {field.name: _plain_field(field, value) for field, value in stated.ListFields()}


def _plain(value: Any) -> Any:
    """Turns a message into nested dicts of what is set in it."""
    if isinstance(value, Message):
        return _rules(value)
    return value


def _plain_field(field: FieldDescriptor, value: Any) -> Any:
    return [_plain(each) for each in value] if field.is_repeated else _plain(value)


def _comments_of(file: descriptor_pb2.FileDescriptorProto) -> dict[str, str]:
    """Returns the leading comments of a file by full name; the one above `syntax` by the name of the file."""
    found: dict[str, str] = {}
    for location in file.source_code_info.location:
        path = list(location.path)
        if path == [descriptor_pb2.FileDescriptorProto.SYNTAX_FIELD_NUMBER]:
            opening = [*location.leading_detached_comments, location.leading_comments]
            found[file.name] = _paragraphs("\n\n".join(opening))
        elif location.leading_comments and (name := _name_at(file, path)):
            found[name] = _paragraphs(location.leading_comments)
    return found


def _name_at(file: descriptor_pb2.FileDescriptorProto, path: list[int]) -> str | None:
    """Returns the full name of what a source location describes; None where it is not a named thing."""
    # Message has nested messages, enums, fields and oneofs; the others have one kind of child each.
    children: dict[str, dict[int, tuple[str, str]]] = {
        "file": {_FILE_MESSAGE: ("message_type", "message"), _FILE_ENUM: ("enum_type", "enum"), _FILE_SERVICE: ("service", "service")},
        "message": {
            _MESSAGE_FIELD: ("field", "leaf"),
            _MESSAGE_NESTED: ("nested_type", "message"),
            _MESSAGE_ENUM: ("enum_type", "enum"),
            _MESSAGE_ONEOF: ("oneof_decl", "leaf"),
        },
        "enum": {_ENUM_VALUE: ("value", "leaf")},
        "service": {_SERVICE_METHOD: ("method", "leaf")},
        "leaf": {},
    }
    node: Any = file
    kind, names = "file", [file.package]
    if len(path) % 2:
        return None
    for number, index in zip(path[::2], path[1::2], strict=True):
        if number not in children[kind]:
            return None
        attribute, kind = children[kind][number]
        node = getattr(node, attribute)[index]
        names.append(node.name)
    return ".".join(names)


def _paragraphs(comment: str) -> str:
    lines = [line.strip() for line in comment.strip().splitlines()]
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in "\n".join(lines).split("\n\n")).strip()
