from __future__ import annotations

from collections import Counter

from tools.contracts import exemptions
from tools.contracts.openapi import paths
from tools.contracts.reading import Contracts, Policy, type_of


def _policies(contracts: Contracts) -> dict[str, Policy]:
    return {method.full_name: policy for method in contracts.methods() if (policy := contracts.policy(method))}


def test_there_are_contracts_to_check(contracts: Contracts) -> None:
    components = {service.full_name for service in contracts.services()}

    assert {
        "mlops.common.v1.ComponentService",
        "mlops.ingestion.v1.DataIngestionService",
        "mlops.processing.v1.DataProcessingService",
        "mlops.features.v1.FeatureStoreService",
        "mlops.features.v1.FeatureServingService",
        "mlops.features.v1.FeatureJobService",
        "mlops.registry.v1.ModelRegistryService",
        "mlops.serving.v1.ModelServingService",
        "mlops.system.v1.SystemMonitorService",
        "mlops.users.v1.UserService",
    } <= components


def test_every_method_states_who_may_call_whether_a_repeat_is_safe_and_its_rate_class(contracts: Contracts) -> None:
    policies = _policies(contracts)

    assert {method.full_name for method in contracts.methods()} - policies.keys() == set()
    unstated = {
        name: policy
        for name, policy in policies.items()
        if any(value.endswith("_UNSPECIFIED") for value in (policy.access, policy.idempotency, policy.rate_class))
    }
    assert unstated == {}


def test_a_permission_is_named_exactly_where_access_asks_for_one(contracts: Contracts) -> None:
    wrong = {
        name: policy for name, policy in _policies(contracts).items() if (policy.access == "ACCESS_PERMISSION") != bool(policy.permission)
    }

    assert wrong == {}


def test_permissions_begin_with_the_component_that_asks_for_them(contracts: Contracts) -> None:
    wrong = {}
    for method in contracts.methods():
        policy, component = contracts.policy(method), method.full_name.split(".")[1]
        # What every component says of itself is the system monitor's to read.
        owner = "system" if component == "common" else component
        if policy and policy.permission and (not policy.permission.startswith(f"{owner}.") or policy.permission.count(".") != 2):
            wrong[method.full_name] = policy.permission

    assert wrong == {}


def test_every_method_that_changes_something_is_audited(contracts: Contracts) -> None:
    unaudited = {
        name for name, policy in _policies(contracts).items() if policy.idempotency != "IDEMPOTENCY_READ_ONLY" and not policy.is_audited
    }

    assert unaudited == set(exemptions.UNAUDITED_CHANGES)


def test_no_read_is_audited(contracts: Contracts) -> None:
    assert [
        name for name, policy in _policies(contracts).items() if policy.idempotency == "IDEMPOTENCY_READ_ONLY" and policy.is_audited
    ] == []


def test_a_get_only_reads(contracts: Contracts) -> None:
    changing = [
        method.full_name
        for method in contracts.methods()
        if any(binding.verb == "GET" for binding in contracts.bindings(method))
        and (policy := contracts.policy(method))
        and policy.idempotency != "IDEMPOTENCY_READ_ONLY"
    ]

    assert changing == []


def test_a_put_patch_or_delete_may_be_repeated(contracts: Contracts) -> None:
    unsafe = [
        method.full_name
        for method in contracts.methods()
        if any(binding.verb in ("PUT", "PATCH", "DELETE") for binding in contracts.bindings(method))
        and (policy := contracts.policy(method))
        and policy.idempotency != "IDEMPOTENCY_IDEMPOTENT"
    ]

    assert unsafe == []


def test_a_method_with_a_request_id_says_so_and_one_that_says_so_has_it(contracts: Contracts) -> None:
    wrong = [
        method.full_name
        for method in contracts.methods()
        if (policy := contracts.policy(method))
        and (policy.idempotency == "IDEMPOTENCY_REQUEST_ID") != ("request_id" in method.input_type.fields_by_name)
    ]

    assert wrong == []


def test_every_method_has_a_request_type_of_its_own(contracts: Contracts) -> None:
    counted = Counter(method.input_type.full_name for method in contracts.methods())

    assert [name for name, count in counted.items() if count > 1] == []
    assert [method.full_name for method in contracts.methods() if method.input_type.name != f"{method.name}Request"] == []


def test_every_rest_path_is_below_api_v1(contracts: Contracts) -> None:
    elsewhere = {
        binding.template
        for method in contracts.methods()
        for binding in contracts.bindings(method)
        if not binding.template.startswith("/api/v1/")
    }

    assert elsewhere == set(exemptions.PATHS_OUTSIDE_API)


def test_no_two_methods_answer_the_same_verb_and_path(contracts: Contracts) -> None:
    # Names of variables do not tell paths apart: /models/{name} and /models/{model} are one.
    shapes = Counter(
        (binding.verb, paths.shape(binding.template)) for method in contracts.methods() for binding in contracts.bindings(method)
    )

    assert [shape for shape, count in shapes.items() if count > 1] == []


def test_every_path_variable_and_body_is_a_field_of_the_request(contracts: Contracts) -> None:
    for method in contracts.methods():
        for binding in contracts.bindings(method):
            for variable in paths.parse(binding.template).variables:
                paths.resolve(method.input_type, variable.path)  # raises where it is not
            assert binding.body in ("", "*") or binding.body in method.input_type.fields_by_name, method.full_name
            assert not binding.body or binding.verb in ("POST", "PUT", "PATCH"), method.full_name


def test_a_client_stream_over_rest_carries_raw_bytes(contracts: Contracts) -> None:
    for method in contracts.methods():
        for binding in contracts.bindings(method):
            if method.client_streaming:
                assert type_of(method.input_type.fields_by_name[binding.body]) == "google.api.HttpBody", method.full_name


def test_every_streamed_message_is_an_item_or_the_end(contracts: Contracts) -> None:
    wrong = []
    for method in contracts.methods():
        streamed = method.output_type
        if not method.server_streaming or streamed.full_name in exemptions.MESSAGES_OF_STREAMS_WITHOUT_END:
            continue
        end = streamed.fields_by_name.get("end")
        members = {field.name for oneof in streamed.oneofs for field in oneof.fields}
        if end is None or type_of(end) != "mlops.common.v1.StreamEnd" or len(streamed.oneofs) != 1 or len(members) < 2:
            wrong.append(method.full_name)

    assert wrong == []


def test_every_list_has_pages_a_filter_and_an_order(contracts: Contracts) -> None:
    wrong = {}
    for method in contracts.methods():
        is_list = method.name.startswith(("List", "Search"))
        if not is_list or method.full_name in exemptions.LISTS_WITHOUT_PAGES:
            continue
        wanted = {"page_size", "page_token"} | (set() if method.full_name in exemptions.LISTS_IN_ONE_ORDER else {"filter", "order_by"})
        missing = wanted - set(method.input_type.fields_by_name.keys())
        missing |= {"next_page_token"} - set(method.output_type.fields_by_name.keys())
        if missing or not any(field.is_repeated for field in method.output_type.fields):
            wrong[method.full_name] = missing

    assert wrong == {}


def test_every_update_has_a_mask_and_a_patch_binding(contracts: Contracts) -> None:
    wrong = []
    for method in contracts.methods():
        if not method.name.startswith("Update"):
            continue
        mask = method.input_type.fields_by_name.get("update_mask")
        verbs = {binding.verb for binding in contracts.bindings(method)}
        if mask is None or type_of(mask) != "google.protobuf.FieldMask" or verbs != {"PATCH"}:
            wrong.append(method.full_name)

    assert wrong == []
