"""Reference documents out of the compiled contracts: one Markdown page a component."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor, MethodDescriptor, ServiceDescriptor

from tools.contracts.openapi.schemas import map_entry
from tools.contracts.reading import OUR_PACKAGES, Contracts

_NOTICE = "<!-- Made by `make generate` from proto/; edit the contracts instead. -->"


def pages(contracts: Contracts) -> dict[str, str]:
    """Returns the pages by file name, `README.md` the index of the others."""
    by_page: dict[str, list[FileDescriptor]] = {}
    for file in contracts.our_files():
        by_page.setdefault(_page(file.package), []).append(file)
    written = {name: _component_page(contracts, files) for name, files in sorted(by_page.items())}
    return {"README.md": _index(contracts, by_page), **written}


def _page(package: str) -> str:
    """Returns the page of a package: `mlops.registry.v1` has `registry.md`, a later version `registry_v2.md`."""
    component, _, version = package.removeprefix(OUR_PACKAGES).rpartition(".")
    return f"{component}.md" if version == "v1" else f"{component}_{version}.md"


def _index(contracts: Contracts, by_page: Mapping[str, list[FileDescriptor]]) -> str:
    rows = []
    for page, files in sorted(by_page.items()):
        services = [service for file in files for service in file.services_by_name.values()]
        names = ", ".join(f"`{service.full_name}`" for service in services) or "types only"
        said = " ".join(contracts.comment(service.full_name) for service in services)
        rows.append([f"[{page.removesuffix('.md')}]({page})", names, said])
    return "\n".join([_NOTICE, "# Contracts", "", *_table(["component", "services", "what for"], rows), ""])


def _component_page(contracts: Contracts, files: list[FileDescriptor]) -> str:
    lines = [_NOTICE, f"# {files[0].package}", ""]
    for file in files:
        if comment := contracts.file_comment(file):
            lines += [f"`{file.name}`: {comment}", ""]
    for file in files:
        for service in file.services_by_name.values():
            lines += _service(contracts, service)
    messages = [each for each in contracts.messages() if each.file in files]
    if messages:
        lines += ["## Messages", ""]
        for described in messages:
            lines += _message(contracts, described)
    enums = [each for each in contracts.enums() if each.file in files]
    if enums:
        lines += ["## Enums", ""]
        for enum in enums:
            lines += _enum(contracts, enum)
    return "\n".join(lines)


def _service(contracts: Contracts, service: ServiceDescriptor) -> list[str]:
    lines = [f"## {service.name}", "", contracts.comment(service.full_name), ""]
    for method in service.methods:
        lines += [f"### {method.name}", "", contracts.comment(method.full_name), ""]
        lines += [*_table(["", ""], _method_facts(contracts, method)), ""]
    return lines


def _method_facts(contracts: Contracts, method: MethodDescriptor) -> list[list[str]]:
    stream_in, stream_out = ("stream of " if flag else "" for flag in (method.client_streaming, method.server_streaming))
    page = _page(method.containing_service.file.package)
    facts = [
        ["gRPC", f"`/{method.containing_service.full_name}/{method.name}`"],
        ["takes", stream_in + _type_link(method.input_type, page)],
        ["answers", stream_out + _type_link(method.output_type, page)],
    ]
    for binding in contracts.bindings(method):
        body = f", body `{binding.body}`" if binding.body else ""
        facts.append(["REST", f"`{binding.verb} {binding.template}`{body}"])
    if policy := contracts.policy(method):
        facts += [
            ["access", f"`{policy.access}`" + (f", permission `{policy.permission}`" if policy.permission else "")],
            ["idempotency", f"`{policy.idempotency}`" + (", audited" if policy.is_audited else "")],
            ["rate class", f"`{policy.rate_class}`"],
        ]
        if policy.conditional_permissions:
            besides = ", ".join(f"`{each}`" for each in policy.conditional_permissions)
            facts.append(["permissions besides, as the request needs them", besides])
    return facts


def _message(contracts: Contracts, described: Descriptor) -> list[str]:
    lines = [f"### {_local_name(described)}", "", contracts.comment(described.full_name), ""]
    if rules := _rules(contracts.message_rules(described)):
        lines += [f"Rules: {rules}.", ""]
    if described.fields:
        page = _page(described.file.package)
        rows = [
            [
                f"`{field.name}`{_choice(field)}",
                _field_type(field, page),
                contracts.comment(field.full_name),
                _rules(contracts.field_rules(field)),
            ]
            for field in described.fields
        ]
        lines += [*_table(["field", "type", "meaning", "rules"], rows), ""]
    return lines


def _enum(contracts: Contracts, described: EnumDescriptor) -> list[str]:
    rows = [[str(value.number), f"`{value.name}`", contracts.comment(f"{described.full_name}.{value.name}")] for value in described.values]
    return [
        f"### {_local_name(described)}",
        "",
        contracts.comment(described.full_name),
        "",
        *_table(["number", "name", "meaning"], rows),
        "",
    ]


def _choice(field: FieldDescriptor) -> str:
    oneof = field.containing_oneof
    is_choice = oneof is not None and not (len(oneof.fields) == 1 and oneof.name == f"_{field.name}")
    return f" (one of `{oneof.name}`)" if oneof is not None and is_choice else ""


def _field_type(field: FieldDescriptor, page: str) -> str:
    if entry := map_entry(field):
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        return f"map of {_single_type(key, page)} to {_single_type(value, page)}"
    return ("list of " if field.is_repeated else "") + _single_type(field, page)


def _single_type(field: FieldDescriptor, page: str) -> str:
    if field.message_type is not None:
        return _type_link(field.message_type, page)
    if field.enum_type is not None:
        return _type_link(field.enum_type, page)
    return descriptor_pb2.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()  # type: ignore[arg-type]


def _type_link(described: Descriptor | EnumDescriptor, page: str) -> str:
    if not described.file.package.startswith(OUR_PACKAGES):
        return f"`{described.full_name}`"
    name, its_page = _local_name(described), _page(described.file.package)
    anchor = name.lower().replace(".", "")
    return f"[{name}]({'' if its_page == page else its_page}#{anchor})"


def _local_name(described: Descriptor | EnumDescriptor) -> str:
    return described.full_name.removeprefix(f"{described.file.package}.")


def _rules(rules: Mapping[str, Any]) -> str:
    """Returns rules in one line, for example `string.max_len: 255`."""
    said = []
    for name, value in rules.items():
        if isinstance(value, dict):
            said += [f"{name}.{each}" for each in _rules(value).split("; ") if each]
        elif name == "cel":
            said += [str(each.get("message", each.get("expression"))) for each in value]
        else:
            said.append(f"{name}: {value}")
    return "; ".join(said)


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), line(["---"] * len(head)), *(line(row) for row in rows)]
