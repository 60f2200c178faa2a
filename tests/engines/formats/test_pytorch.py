from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from model_management.formats import (
    ArtifactDamaged,
    OnnxExportFailed,
    SampleInputInvalid,
    UnknownModelType,
    UntrustedTypes,
    load_artifact,
    save_artifact,
)
from model_management.signature import TensorSpec

TRUSTED = ["torch.export.ExportedProgram"]


class Classifier(torch.nn.Module):
    """Two layers, with what behaves differently in training."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layers(features), dim=-1)


class TwoInTwoOut(torch.nn.Module):
    """Several inputs of several datatypes, several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 4)

    def forward(self, words: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedded = self.embedding(words) * weights.unsqueeze(-1)
        return embedded.sum(dim=1), weights.sum(dim=1)


class Branching(torch.nn.Module):
    """What it computes depends on a value, which a trace cannot keep."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if features.sum().item() > 0:
            return features
        return -features


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_module_comes_back_and_takes_any_batch(tmp_path: Path, rows: int) -> None:
    torch.manual_seed(0)
    model = Classifier().eval()
    saved = save_artifact(model, tmp_path / "x", sample_input=torch.randn(rows, 4))
    loaded = load_artifact(tmp_path / "x", saved.format, trusted_types=saved.metadata["untrusted_types"])
    for size in (1, 3, 64):
        features = torch.randn(size, 4)
        torch.testing.assert_close(loaded(features), model(features))


def test_the_onnx_predicts_what_the_module_predicts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Classifier().eval()
    saved = save_artifact(model, tmp_path / "x", sample_input=torch.randn(8, 4), onnx="require")
    assert saved.signature is not None
    assert saved.signature.inputs == (TensorSpec("features", "FP32", (-1, 4)),)
    assert saved.signature.outputs == (TensorSpec("output", "FP32", (-1, 3)),)
    session = onnxruntime.InferenceSession(tmp_path / "x" / "model.onnx")
    features = torch.randn(33, 4)
    np.testing.assert_allclose(session.run(None, {"features": features.numpy()})[0], model(features).detach().numpy(), atol=1e-6)
    assert {path.name for path in (tmp_path / "x").iterdir()} == {"artifact.json", "model.onnx", "model.pt2"}


def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = TwoInTwoOut().eval()
    sample = (torch.randint(0, 10, (4, 5)), torch.rand(4, 5))
    saved = save_artifact(model, tmp_path / "x", sample_input=sample, onnx="require")
    assert saved.signature is not None
    assert [(spec.name, spec.datatype, spec.shape) for spec in saved.signature.inputs] == [
        ("words", "INT64", (-1, 5)),
        ("weights", "FP32", (-1, 5)),
    ]
    assert [(spec.name, spec.shape) for spec in saved.signature.outputs] == [("output_0", (-1, 4)), ("output_1", (-1,))]
    session = onnxruntime.InferenceSession(tmp_path / "x" / "model.onnx")
    actual = session.run(["output_0", "output_1"], {"words": sample[0].numpy(), "weights": sample[1].numpy()})
    for values, expected in zip(actual, model(*sample), strict=True):
        np.testing.assert_allclose(values, expected.detach().numpy(), atol=1e-6)


def test_a_module_in_training_is_saved_as_for_evaluation_and_goes_on_training(tmp_path: Path) -> None:
    model = Classifier().train()
    save_artifact(model, tmp_path / "x", sample_input=torch.randn(8, 4))
    assert model.training
    loaded = load_artifact(tmp_path / "x", "pytorch", trusted_types=TRUSTED)
    features = torch.randn(5, 4)
    torch.testing.assert_close(loaded(features), model.eval()(features))


def test_tensors_by_name_are_safetensors_and_need_no_trust(tmp_path: Path) -> None:
    state = Classifier().state_dict()
    saved = save_artifact(state, tmp_path / "x")
    assert {path.name for path in (tmp_path / "x").iterdir()} == {"artifact.json", "model.safetensors"}
    assert "no computation" in saved.metadata["onnx"]["reason"]
    loaded = load_artifact(tmp_path / "x", saved.format)
    assert loaded.keys() == state.keys()
    for name, tensor in state.items():
        assert loaded[name].dtype == tensor.dtype
        torch.testing.assert_close(loaded[name], tensor)


def test_tied_and_strided_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    tied = torch.randn(6, 4)
    state = {"a": tied, "b": tied, "c": tied[:3], "transposed": torch.randn(2, 5).T, "half": torch.randn(3).to(torch.bfloat16)}
    save_artifact(state, tmp_path / "x")
    loaded = load_artifact(tmp_path / "x", "pytorch")
    for name, tensor in state.items():
        assert torch.equal(loaded[name], tensor)


def test_a_module_without_a_sample_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SampleInputInvalid, match=r"state_dict\(\)"):
        save_artifact(Classifier(), tmp_path / "x")


def test_a_module_that_cannot_be_traced_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SampleInputInvalid, match=r"state_dict\(\)"):
        save_artifact(Branching(), tmp_path / "x", sample_input=torch.randn(4, 4))
    with pytest.raises(SampleInputInvalid):
        save_artifact(Classifier(), tmp_path / "y", sample_input=torch.randn(4, 5))


def test_an_onnx_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = torch.onnx.export
    torch.manual_seed(0)
    model, other = Classifier().eval(), Classifier().eval()
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(other, (torch.randn(4, 4),), dynamic_shapes=batch)
    monkeypatch.setattr(torch.onnx, "export", lambda _, *args, **options: export(program, *args, **options))
    saved = save_artifact(model, tmp_path / "x", sample_input=torch.randn(4, 4))
    assert saved.onnx_file is None
    assert "differs from the model's own" in saved.metadata["onnx"]["reason"]
    with pytest.raises(OnnxExportFailed):
        save_artifact(model, tmp_path / "y", sample_input=torch.randn(4, 4), onnx="require")


def test_a_program_is_loaded_only_by_who_trusts_it(tmp_path: Path) -> None:
    save_artifact(Classifier(), tmp_path / "x", sample_input=torch.randn(4, 4), onnx="off")
    with pytest.raises(UntrustedTypes, match=r"trusted_types=\['torch\.export\.ExportedProgram'\]"):
        load_artifact(tmp_path / "x", "pytorch")


class Harmful:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch harmed",)


def test_a_pickle_under_any_name_is_not_opened_without_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model.pt2", "model.safetensors"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(pickle.dumps(Harmful()))
        with pytest.raises((ArtifactDamaged, UntrustedTypes)):
            load_artifact(folder, "pytorch")
    assert not (tmp_path / "harmed").exists()


def test_a_damaged_program_is_an_error_of_ours(tmp_path: Path) -> None:
    save_artifact(Classifier(), tmp_path / "x", sample_input=torch.randn(4, 4), onnx="off")
    path = tmp_path / "x" / "model.pt2"
    whole = path.read_bytes()
    for content in (b"", b"nothing", whole[:200]):
        path.write_bytes(content)
        with pytest.raises(ArtifactDamaged, match=r"model\.pt2"):
            load_artifact(tmp_path / "x", "pytorch", trusted_types=TRUSTED)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/archive_format", "pt2")
    with pytest.raises(ArtifactDamaged, match=r"model\.pt2"):
        load_artifact(tmp_path / "x", "pytorch", trusted_types=TRUSTED)


def test_what_is_neither_a_module_nor_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelType, match="neither"):
        save_artifact(torch.optim.SGD(Classifier().parameters(), lr=0.1), tmp_path / "x")
    with pytest.raises(UnknownModelType, match="'b'"):
        save_artifact({"a": torch.zeros(1), "b": 1}, tmp_path / "y", format="pytorch")
