"""Asks the mesh through Feast's own client, and prints what it got as JSON: `asking.py REPOSITORY GRPC_TARGET`."""

import json
import os
import sys
import warnings
from datetime import UTC, datetime, timedelta

import grpc
import pandas as pd
from feast import FeatureStore
from feast.data_source import PushMode
from feast.protos.feast.serving import GrpcServer_pb2, GrpcServer_pb2_grpc, ServingService_pb2, ServingService_pb2_grpc
from feast.protos.feast.types import Value_pb2

warnings.simplefilter("ignore")
NOW = datetime.now(UTC).replace(microsecond=0)
TOKEN = (("authorization", "Bearer " + os.environ["MLMESH_TOKEN"]),)


def failure(call):
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return None


def of_store(repository):
    store = FeatureStore(repository)
    names = ["amount", "orders", "vip", "word", "last", "tags"]
    row = {"customer_id": [1, 2], "amount": [12.5, None], "orders": [2**60, 3], "vip": [True, False], "word": ["é", None]}
    row |= {"last": [NOW, NOW], "tags": [["a", "b"], ["c"]], "happened": [NOW - timedelta(hours=1)] * 2, "written": [NOW] * 2}
    store.push("spending_push", pd.DataFrame(row), to=PushMode.ONLINE)
    old = {"customer_id": [3], "amount": [1.0], "orders": [1], "vip": [True], "word": ["x"], "last": [NOW], "tags": [["c"]]}
    old |= {"happened": [NOW - timedelta(days=3)], "written": [NOW]}
    store.write_to_online_store("spending", pd.DataFrame(old))
    visit = {"customer_id": [1], "shop_code": ["a"], "count": [7], "at": [NOW]}
    store.write_to_online_store("visits", pd.DataFrame(visit))
    customers = [{"customer_id": number} for number in (1, 2, 3, 4)]
    references = [f"spending:{name}" for name in names]
    answer = store.get_online_features(references, customers)
    both = [{"customer_id": 1, "shop_code": "a"}, {"customer_id": 2, "shop_code": "a"}]
    friends = {"customer_id": [1], "friend_id": [2]}
    return {
        "values": answer.to_dict(),
        "statuses": {
            name: list(vector.statuses) for name, vector in zip(answer.proto.metadata.feature_names.val, answer.proto.results, strict=True)
        },
        "service": store.get_online_features(store.get_feature_service("checkout"), both).to_dict(),
        "full": store.get_online_features(["spending:amount", "visits:count"], both, full_feature_names=True).to_dict(),
        "friends": store.get_online_features(store.get_feature_service("friends"), friends, full_feature_names=True).to_dict(),
        "collision": failure(lambda: store.get_online_features(store.get_feature_service("friends"), friends)),
        "nowhere": failure(lambda: store.get_online_features(["nowhere:amount"], customers)),
        "no_entity": failure(lambda: store.get_online_features(["spending:amount"], {"shop_code": ["a"]})),
        "last": int(NOW.timestamp()),
    }


def asking(features, user_ids):
    request = ServingService_pb2.GetOnlineFeaturesRequest(features=ServingService_pb2.FeatureList(val=features))
    request.entities["customer_id"].val.extend([Value_pb2.Value(int64_val=each) for each in user_ids])
    return request


def of_stubs(target):
    with grpc.insecure_channel(target) as channel:
        serving = ServingService_pb2_grpc.ServingServiceStub(channel)
        server = GrpcServer_pb2_grpc.GrpcFeatureServerStub(channel)
        push = GrpcServer_pb2.PushRequest(stream_feature_view="spending_push", to="online")
        push.typed_features["customer_id"].int64_val = 9
        push.typed_features["amount"].double_val = 0.25
        push.typed_features["happened"].unix_timestamp_val = int(NOW.timestamp())
        pushed = server.Push(push, metadata=TOKEN, timeout=30).status
        answers = [
            stub.GetOnlineFeatures(asking(["spending:amount", "spending:word"], [9, 8]), metadata=TOKEN, timeout=30)
            for stub in (serving, server)
        ]
        refused = []
        for metadata in ((), (("authorization", "Bearer x"),)):
            try:
                serving.GetOnlineFeatures(asking(["spending:amount"], [9]), metadata=metadata, timeout=30)
            except grpc.RpcError as error:
                refused.append(error.code().name)
        return {
            "pushed": pushed,
            "version": serving.GetFeastServingInfo(ServingService_pb2.GetFeastServingInfoRequest(), metadata=TOKEN, timeout=30).version,
            "answers": [
                {
                    "names": list(answer.metadata.feature_names.val),
                    "amounts": [value.WhichOneof("val") and value.double_val for value in answer.results[1].values],
                    "statuses": [list(vector.statuses) for vector in answer.results],
                    "time": answer.results[1].event_timestamps[0].seconds,
                }
                for answer in answers
            ],
            "refused": refused,
            "now": int(NOW.timestamp()),
        }


if __name__ == "__main__":
    print(json.dumps({"store": of_store(sys.argv[1]), "stubs": of_stubs(sys.argv[2])}))
