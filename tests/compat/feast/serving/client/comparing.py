"""Prints where our descriptors differ from Feast's own, a line each: `comparing.py DESCRIPTORS`. What we leave out does not count."""

import sys
from pathlib import Path

from feast.protos.feast.serving import GrpcServer_pb2, ServingService_pb2
from feast.protos.feast.types import Value_pb2
from google.protobuf import descriptor_pb2, descriptor_pool

THEIRS = {
    "feast/types/Value.proto": Value_pb2,
    "feast/serving/ServingService.proto": ServingService_pb2,
    "feast/serving/GrpcServer.proto": GrpcServer_pb2,
}


def differences(path, ours, pool):
    yield from [f"{path}: another package"] * (ours.package != pool.FindFileByName(path).package)
    prefix = f"{ours.package}." if ours.package else ""
    for message in ours.message_type:
        yield from of_message(message, pool.FindMessageTypeByName(prefix + message.name))
    for enum in ours.enum_type:
        theirs = pool.FindEnumTypeByName(prefix + enum.name)
        for value in enum.value:
            found = theirs.values_by_name.get(value.name)
            if found is None or found.number != value.number:
                yield f"{enum.name}.{value.name}"
    for service in ours.service:
        theirs = pool.FindServiceByName(prefix + service.name)
        if set(theirs.methods_by_name) != {method.name for method in service.method}:
            yield f"{service.name} has other methods"
        for method in service.method:
            found = theirs.methods_by_name[method.name]
            if (method.input_type, method.output_type) != (f".{found.input_type.full_name}", f".{found.output_type.full_name}"):
                yield f"{service.name}.{method.name}"


def of_message(ours, theirs):
    for field in ours.field:
        found = theirs.fields_by_name.get(field.name)
        wanted = descriptor_pb2.FieldDescriptorProto()
        if found is not None:
            whole = descriptor_pb2.DescriptorProto()
            theirs.CopyToProto(whole)
            wanted = next(each for each in whole.field if each.name == field.name)
        facts = [(each.number, each.type, each.label, each.type_name, each.HasField("oneof_index")) for each in (field, wanted)]
        if facts[0] != facts[1]:
            yield f"{theirs.full_name}.{field.name}"
    for nested in ours.nested_type:
        yield from of_message(nested, theirs.nested_types_by_name[nested.name])


if __name__ == "__main__":
    ours = descriptor_pb2.FileDescriptorSet.FromString(Path(sys.argv[1]).read_bytes())
    files = [file for file in ours.file if file.name in THEIRS]
    print(len(files), "files")
    for file in files:
        for line in differences(file.name, file, descriptor_pool.Default()):
            print(line)
