"""What a feature view is made of, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable

from mlops.features.v1 import feature_store_service_pb2 as pb

from servers.features.definitions.records import ViewVersion
from servers.features.peers.ingestion_peer import IngestionPeer
from servers.features.peers.registry_peer import RegistryPeer
from servers.features.store.definitions import Definitions
from servers.features.store.training_sets import TrainingSets, TrainingSetUse
from servers.runtime.auth import Principal, current_principal

READ_MODELS = "registry.models.read"
"""What a caller needs to be told of models: the registry is asked as the mesh's own account."""

_MOST = 1000


class Lineage:
    """Knows the lineage of views.

    Args:
        definitions: Versions of views and services.
        training_sets: What is known of training sets.
        ingestion: Has the datasets.
        registry: Has the models.
        caller: Who asks.
    """

    def __init__(
        self,
        definitions: Definitions,
        training_sets: TrainingSets,
        ingestion: IngestionPeer,
        registry: RegistryPeer,
        caller: Callable[[], Principal] = current_principal,
    ) -> None:
        self._definitions = definitions
        self._training_sets = training_sets
        self._ingestion = ingestion
        self._registry = registry
        self._caller = caller

    def __call__(self, project: str, name: str) -> pb.FeatureViewLineage:
        """Returns the lineage of a view.

        Args:
            project: Its project.
            name: Its name.

        Raises:
            ViewNotFound: The project has none of this name.
            IngestionUnavailable: The ingestion server does not answer.
            RegistryUnavailable: The registry does not answer. Where nobody has said where it is, or the caller may not read models there,
                the lineage has none.
        """
        view = self._definitions.view_version(project, name)
        uses = self._training_sets.uses(view.view_id, _MOST)
        return pb.FeatureViewLineage(
            datasets=self._datasets(view),
            services=[
                pb.ServiceLineage(service=each.service, version=each.version, view_version=each.view_version)
                for each in self._definitions.service_uses(view.view_id, _MOST)
            ],
            training_sets=[
                pb.TrainingSetLineage(
                    id=each.training_set_id, dataset=each.dataset, dataset_version=each.dataset_version, view_version=each.view_version
                )
                for each in uses
            ],
            models=self._models(project, uses),
        )

    def _datasets(self, view: ViewVersion) -> list[pb.DatasetLineage]:
        read = list(dict.fromkeys(each.dataset for each in view.spec.computed.inputs))
        own = pb.DatasetLineage(dataset=view.dataset, pipeline=view.pipeline, input_datasets=read)
        found = [own, *(pb.DatasetLineage(dataset=name) for name in read if name != view.dataset)]
        for each in found:
            dataset = self._ingestion.dataset_or_none(view.project, each.dataset)
            if dataset is not None:
                each.version = dataset.version
        return found

    def _models(self, project: str, uses: list[TrainingSetUse]) -> list[pb.ModelLineage]:
        if not uses or not self._registry.is_known or not self._caller().may(READ_MODELS, project):
            return []
        training_sets = {(each.dataset, each.dataset_version): each.training_set_id for each in uses}
        trained = self._registry.models_trained_on_any(project, training_sets.keys())
        return [
            pb.ModelLineage(model=each.model, version=each.version, training_set_id=training_sets[each.dataset, each.dataset_version])
            for each in trained[:_MOST]
        ]
