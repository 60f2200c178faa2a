"""The model registry: the one place for trained models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops.common.v1 import tensor_pb2
from mlops.registry.v1 import model_pb2

from mlmesh.aio.blobs import BlobCalls
from mlmesh.aio.blocking import run_blocking
from mlmesh.errors import InvalidArgument, MeshError, NotFound, PermissionDenied
from mlmesh.files import Report, Source, describe, place_below, read_end, sources_of
from mlmesh.model_files import read_model, scratch_folder, write_model
from mlmesh.progress import reporting

_HASHED_BESIDE_FROM_BYTES = 8 * 1024 * 1024
"""A smaller file is hashed within milliseconds, so it is asked for first."""
_COMPARED_BYTES = 64 * 1024


class RegistryClient(BlobCalls):
    """Saves, finds and loads models.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
        http: Takes uploads by HTTP; None = they go by gRPC.
    """

    async def save_model(
        self,
        model: Any,
        name: str,
        description: str = "",
        *,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        parameters: Mapping[str, str] | None = None,
        lineage: model_pb2.Lineage | None = None,
        model_card: str = "",
        sample_input: Any = None,
        format: str | None = None,
        allow_pickle: bool = False,
        onnx: str = "auto",
        project: str = "",
        progress: bool | Report = False,
    ) -> model_pb2.ModelVersion:
        """Saves a model as the next version of a name, with its ONNX form where one can be made.

        Args:
            model: A model of scikit-learn, XGBoost, LightGBM, PyTorch or TensorFlow, an ONNX, or the path of a file or folder.
            name: Name of the model; created where it does not exist.
            description: What is new in this version, in Markdown.
            tags: Tags of the version, and of the model where it is created.
            metrics: Evaluation results.
            parameters: Hyperparameters.
            lineage: What it was made from.
            model_card: Model card in Markdown.
            sample_input: What the model is given, with rows first: the ONNX form is compared on it, and gives the signature.
            format: Format to save in; None = the one that fits.
            allow_pickle: Whether a model that fits no safe format may be pickled. No server ever loads a pickle.
            onnx: `auto`, `require` or `off`.
            project: Project; empty = `default`.
            progress: True = a bar; or a function to tell.

        Returns:
            The version, READY.

        Raises:
            model_management.formats.FormatError: The model cannot be written.
            mlmesh.errors.MeshError: It cannot be stored.
        """
        with scratch_folder() as scratch:
            folder = Path(scratch)
            written = await run_blocking(write_model, model, folder, format, sample_input, allow_pickle, onnx)
            return await self.push_version(
                name,
                folder,
                description=description,
                tags=tags,
                format=written.format,
                signature=written.signature,
                onnx_path=written.onnx_path,
                metrics=metrics,
                parameters={**written.parameters, **(parameters or {})},
                lineage=lineage,
                model_card=model_card,
                project=project,
                progress=progress,
            )

    async def load_model(
        self,
        name: str,
        *,
        version: int = 0,
        alias: str = "",
        stage: str = "",
        project: str = "",
        allow_pickle: bool = False,
        trusted_types: Sequence[str] = (),
        progress: bool | Report = False,
    ) -> Any:
        """Loads a model as it was saved.

        Args:
            name: Name of the model.
            version: Version number; 0 leaves the choice to alias, stage or the default.
            alias: Alias, for example `champion`.
            stage: Stage, for example `production`.
            project: Project; empty = `default`.
            allow_pickle: Whether a pickle may be loaded, which may run any code of whoever saved it.
            trusted_types: Types that may be made although they are not known to be harmless, by their full names.
            progress: True = a bar; or a function to tell.

        Returns:
            The model, as its library has it.

        Raises:
            mlmesh.errors.NotFound: There is no such version.
            model_management.formats.FormatError: It cannot be read.
            mlmesh.errors.InvalidArgument: It is a folder of files, which `pull_version` fetches.
        """
        found = await self.resolve_model_version(name, version=version, alias=alias, stage=stage, project=project)
        if found.format in ("", "folder"):
            raise InvalidArgument(f"{name} {found.version} is a folder of files: fetch it with pull_version", reason="FORMAT_FOLDER")
        with scratch_folder() as scratch:
            await self._pull(found, Path(scratch), project, progress)
            return await run_blocking(read_model, Path(scratch), found.format, allow_pickle, trusted_types)

    async def push_version(
        self,
        model: str,
        source: Path | str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        format: str = "folder",
        signature: tensor_pb2.Signature | None = None,
        onnx_path: str = "",
        metrics: Mapping[str, float] | None = None,
        parameters: Mapping[str, str] | None = None,
        lineage: model_pb2.Lineage | None = None,
        model_card: str = "",
        create_model: bool = True,
        project: str = "",
        progress: bool | Report = False,
    ) -> model_pb2.ModelVersion:
        """Uploads a file or a folder as the next version. Goes on where it breaks off.

        What is stored already does not travel again, but for large files that the newest version of the model does not seem to have:
        they are hashed beside the sending, since to hash them before would take half as long again.

        Args:
            model: Name of the model.
            source: A file, or a folder with all its files.
            description: What is new in it, in Markdown.
            tags: Tags.
            format: Format of the files.
            signature: Inputs and outputs.
            onnx_path: Which file is the ONNX form that serving runs.
            metrics: Evaluation results.
            parameters: Hyperparameters and whatever else the format keeps.
            lineage: What it was made from.
            model_card: Model card in Markdown.
            create_model: Whether a model that does not exist is created.
            project: Project; empty = `default`.
            progress: True = a bar; or a function to tell.

        Returns:
            The version, READY.
        """
        sources = await run_blocking(sources_of, Path(source))
        with reporting(progress) as report:
            files = await self._push(model, sources, project, report)
        return await self.create_model_version(
            model,
            files=files,
            description=description,
            tags=tags,
            format=format,
            signature=signature,
            onnx_path=onnx_path,
            metrics=metrics,
            parameters=parameters,
            lineage=lineage,
            model_card=model_card,
            create_model=create_model,
            project=project,
        )

    async def pull_version(
        self,
        model: str,
        folder: Path | str,
        *,
        version: int = 0,
        alias: str = "",
        stage: str = "",
        project: str = "",
        progress: bool | Report = False,
    ) -> model_pb2.ModelVersion:
        """Fetches the files of a version into a folder, and verifies them. What is there and right is not fetched again.

        Args:
            model: Name of the model.
            folder: Where to; made where it does not exist.
            version: Version number; 0 leaves the choice to alias, stage or the default.
            alias: Alias, for example `champion`.
            stage: Stage, for example `production`.
            project: Project; empty = `default`.
            progress: True = a bar; or a function to tell.

        Returns:
            The version that was fetched.

        Raises:
            mlmesh.errors.NotFound: There is no such version.
            mlmesh.errors.DataLoss: A file was damaged on its way.
        """
        found = await self.resolve_model_version(model, version=version, alias=alias, stage=stage, project=project)
        await self._pull(found, Path(folder), project, progress)
        return found

    async def _push(self, model: str, sources: Sequence[Source], project: str, report: Report) -> list[model_pb2.ModelFile]:
        """Stores files, and returns them as a version has them."""
        stored = {}
        for one in await self._most_likely_new(model, sources, project):
            stored[one.name] = replace(one, digest=await self._upload(one, project, report))
        described = [stored[one.name] if one.name in stored else await run_blocking(describe, one.path, one.name) for one in sources]
        by_digest = {one.digest: one for one in described if one.name not in stored}
        missing = set(await self.check_blobs(list(by_digest), project=project)) if by_digest else set()
        for digest, one in by_digest.items():
            if digest in missing:
                await self._upload(one, project, report)
            else:
                report(one.name, one.size_bytes, one.size_bytes)
        return [model_pb2.ModelFile(path=one.name, digest=one.digest, size_bytes=one.size_bytes) for one in described]

    async def _most_likely_new(self, model: str, sources: Sequence[Source], project: str) -> list[Source]:
        """Returns the files that are sent before their digest is known. Of those of one size only the first: the others may be the same."""
        large = {one.size_bytes: one for one in reversed(sources) if one.size_bytes >= _HASHED_BESIDE_FROM_BYTES}
        if not large:
            return []
        try:
            newest, _ = await self.list_model_versions(model, project=project, page_size=1).page()
        except NotFound:
            newest = ()
        except PermissionDenied:
            return []  # may write, and not read
        same_size = [(large[file.size_bytes], file) for version in newest for file in version.files if file.size_bytes in large]
        alike = {one.name for one, file in same_size if await self._ends_alike(one, file, project)}
        return [one for one in large.values() if one.name not in alike]

    async def _ends_alike(self, source: Source, stored: model_pb2.ModelFile, project: str) -> bool:
        """Whether a file may be one that is stored. Trained anew, a model has the same size and other weights, up to the last of them."""
        offset = source.size_bytes - _COMPARED_BYTES
        end = b""
        try:
            async for piece in self.download_blob(stored.digest, offset_bytes=offset, verified_by_caller=True, project=project):
                end += piece
        except MeshError:
            return True  # not to be found out, so it is asked for by its digest
        return end == await run_blocking(read_end, source.path, _COMPARED_BYTES)

    async def _pull(self, version: model_pb2.ModelVersion, folder: Path, project: str, progress: bool | Report) -> None:
        with reporting(progress) as report:
            for file in version.files:
                await self._download(file.digest, place_below(folder, file.path), file.size_bytes, project, report)
