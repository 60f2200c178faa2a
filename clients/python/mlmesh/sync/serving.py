"""Model serving: predictions, and what is loaded to make them."""
# Made by clients/python/make_sync.py. Change mlmesh/aio instead.

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.api import httpbody_pb2
from mlops.common.v1 import tensor_pb2
from mlops.serving.v1 import served_model_pb2, serving_service_pb2, serving_service_pb2_grpc

from mlmesh.errors import InvalidArgument, NotFound, PermissionDenied
from mlmesh.predictions import AnsweringModel, Prediction, prediction_of_json
from mlmesh.signatures import Selection, Signatures
from mlmesh.sync.calls import Caller
from mlmesh.sync.pages import Pager
from mlmesh.sync.registry import RegistryClient
from mlmesh.tensors import from_tensor, to_inputs, to_nested_lists

_MODEL_HEADER = "x-mlmesh-model"


class ServingClient:
    """Predicts.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def __init__(self, channel: grpc.Channel, caller: Caller) -> None:
        self._stub = serving_service_pb2_grpc.ModelServingServiceStub(channel)
        self._caller = caller
        self._registry = RegistryClient(channel, caller)
        self._signatures = Signatures()

    def predict(
        self,
        model: str,
        inputs: Any,
        *,
        version: int = 0,
        alias: str = "",
        stage: str = "",
        output_names: Sequence[str] = (),
        project: str = "",
        timeout_s: float | None = None,
    ) -> Prediction:
        """Predicts with a model.

        The inputs are made into what the signature of the model says; it is asked for once, and again when it turns out to have changed.

        Args:
            model: Name of the model.
            inputs: A mapping of input names to arrays; a DataFrame; or an array, Series or nested list for a model with one input.
            version: Version number; 0 leaves the choice to alias, stage or the default.
            alias: Alias, for example `champion`.
            stage: Stage, for example `production`.
            output_names: Outputs wanted; empty = all.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            The outputs as numpy arrays, the version that answered, and the id of the prediction.

        Raises:
            mlmesh.errors.InvalidArgument: The inputs do not fit the model; the message names the tensor.
            mlmesh.errors.NotFound: There is no such model or version.
        """
        selection = Selection(project, model, version, alias, stage)
        known = self._signatures.known(selection)
        signature = known or self._signature(selection, timeout_s)
        try:
            return self._predict(selection, inputs, signature, output_names, timeout_s)
        except InvalidArgument:
            # The choice may stand for another version by now, with other inputs.
            fresh = self._signature(selection, timeout_s) if known is not None else signature
            if fresh == signature:
                raise
            return self._predict(selection, inputs, fresh, output_names, timeout_s)

    def predict_tensors(
        self,
        model: str,
        inputs: Sequence[tensor_pb2.Tensor],
        *,
        version: int = 0,
        alias: str = "",
        stage: str = "",
        output_names: Sequence[str] = (),
        project: str = "",
        timeout_s: float | None = None,
    ) -> serving_service_pb2.PredictResponse:
        """Predicts on tensors as they travel, in one call, without a look at the signature.

        Args:
            model: Name of the model.
            inputs: One tensor an input (`mlmesh.tensors.to_tensor` makes them).
            version: Version number; 0 leaves the choice to alias, stage or the default.
            alias: Alias, for example `champion`.
            stage: Stage, for example `production`.
            output_names: Outputs wanted; empty = all.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        selection = Selection(project, model, version, alias, stage)
        request = serving_service_pb2.PredictRequest(model=selection.message(), inputs=inputs, output_names=output_names, project=project)
        return self._caller.unary(self._stub.Predict, request, timeout_s=timeout_s, metadata=((_MODEL_HEADER, model),))

    def predict_json(
        self,
        model: str,
        body: Mapping[str, Any],
        *,
        version: int = 0,
        alias: str = "",
        stage: str = "",
        project: str = "",
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Predicts on JSON, as over REST.

        Args:
            model: Name of the model; empty where the body names it.
            body: `{"instances": [[...], ...]}`, `{"inputs": {"name": [[...]]}}` or `{"tensors": [...]}`.
            version: Version number; 0 leaves the choice to alias, stage or the default.
            alias: Alias, for example `champion`.
            stage: Stage, for example `production`.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            `{"predictions": [...], "model": {"name", "version", "digest"}, "prediction_id"}`.

        Raises:
            mlmesh.errors.InvalidArgument: The body does not fit the model; `field_violations` says where.
        """
        document = httpbody_pb2.HttpBody(content_type="application/json", data=json.dumps(body).encode())
        request = serving_service_pb2.PredictJsonRequest(
            model=model, version=version, alias=alias, stage=stage, project=project, body=document
        )
        metadata = ((_MODEL_HEADER, model),) if model else ()
        answer = self._caller.unary(self._stub.PredictJson, request, timeout_s=timeout_s, metadata=metadata)
        decoded: dict[str, Any] = json.loads(answer.data)
        return decoded

    def list_served_models(
        self, *, filter: str = "", order_by: str = "", project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[served_model_pb2.ServedModel]:
        """Lists what is loaded, with statistics.

        Args:
            filter: AIP-160 filter over `name`, `version` and `state`.
            order_by: Of `name`, `version` or `load_time`, each with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = serving_service_pb2.ListServedModelsRequest(project=project, filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.ListServedModels, request, "models", timeout_s)

    def load_model(
        self,
        model: str,
        *,
        version: int = 0,
        alias: str = "",
        stage: str = "",
        project: str = "",
        timeout_s: float | None = None,
    ) -> served_model_pb2.ServedModel:
        """Loads and warms a version while others serve, and returns once it is ready.

        Args:
            model: Name of the model.
            version: Version number; 0 leaves the choice to alias, stage or the default.
            alias: Alias, for example `champion`.
            stage: Stage, for example `production`.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.FailedPrecondition: It has no ONNX form, or cannot be loaded.
        """
        request = serving_service_pb2.LoadModelRequest(model=model, version=version, alias=alias, stage=stage, project=project)
        return self._caller.unary(self._stub.LoadModel, request, timeout_s=timeout_s)

    def unload_model(self, model: str, *, version: int = 0, project: str = "", timeout_s: float | None = None) -> list[int]:
        """Unloads a version once its running predictions are done.

        Args:
            model: Name of the model.
            version: Version number; 0 = every loaded version.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            Version numbers that were unloaded.

        Raises:
            mlmesh.errors.NotFound: It is not loaded.
        """
        request = serving_service_pb2.UnloadModelRequest(model=model, version=version, project=project)
        answer = self._caller.unary(self._stub.UnloadModel, request, timeout_s=timeout_s)
        return list(answer.unloaded_versions)

    def _predict(
        self,
        selection: Selection,
        inputs: Any,
        signature: tensor_pb2.Signature | None,
        output_names: Sequence[str],
        timeout_s: float | None,
    ) -> Prediction:
        if signature is None and not isinstance(inputs, Mapping):
            # Whoever may predict but not read the registry does not know what the input is called; serving does.
            return self._predict_unnamed(selection, inputs, output_names, timeout_s)
        answer = self.predict_tensors(
            selection.model,
            to_inputs(inputs, signature),
            version=selection.version,
            alias=selection.alias,
            stage=selection.stage,
            output_names=output_names,
            project=selection.project,
            timeout_s=timeout_s,
        )
        return Prediction(
            outputs={tensor.name: from_tensor(tensor) for tensor in answer.outputs},
            model=AnsweringModel(answer.model.name, answer.model.version, answer.model.digest),
            prediction_id=answer.prediction_id,
        )

    def _predict_unnamed(self, selection: Selection, inputs: Any, output_names: Sequence[str], timeout_s: float | None) -> Prediction:
        answer = self.predict_json(
            selection.model,
            {"instances": to_nested_lists(inputs)},
            version=selection.version,
            alias=selection.alias,
            stage=selection.stage,
            project=selection.project,
            timeout_s=timeout_s,
        )
        return prediction_of_json(answer, output_names)

    def _signature(self, selection: Selection, timeout_s: float | None) -> tensor_pb2.Signature | None:
        """The signature as the registry has it; None where the caller may predict but not look, or it has none."""
        try:
            found = self._registry.resolve_model_version(
                selection.model,
                version=selection.version,
                alias=selection.alias,
                stage=selection.stage,
                project=selection.project,
                timeout_s=timeout_s,
            )
        except (PermissionDenied, NotFound):
            return None  # serving says it better, or knows the model all the same
        self._signatures.remember(selection, found.signature)
        return found.signature if found.signature.inputs else None
