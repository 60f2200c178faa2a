"""What a folder may do to whoever loads it: nothing that was not asked for."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
import skops.io
import xgboost
from onnx import TensorProto, helper
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer

from model_management.formats import (
    FORMATS,
    ArtifactDamaged,
    PickleNotAllowed,
    UnknownModelType,
    UntrustedTypes,
    detect_format,
    load_artifact,
    save_artifact,
)
from tests.unit.model_management_formats.conftest import Data


class Plain:
    """A class that fits no format."""

    def __init__(self, value: int) -> None:
        self.value = value


class Harmful:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch harmed",)


def own_step(rows: Any) -> Any:
    return rows


class TestSkops:
    def test_types_that_are_not_trusted_are_listed_and_loaded_only_when_named(self, tmp_path: Path) -> None:
        saved = save_artifact(FunctionTransformer(own_step), tmp_path / "x", onnx="off")
        own = f"{own_step.__module__}.own_step"
        assert saved.metadata["untrusted_types"] == [own]
        with pytest.raises(UntrustedTypes, match="own_step") as caught:
            load_artifact(tmp_path / "x", "sklearn")
        assert caught.value.types == (own,)
        with pytest.raises(UntrustedTypes):
            load_artifact(tmp_path / "x", "sklearn", trusted_types=["other"])
        assert load_artifact(tmp_path / "x", "sklearn", trusted_types=caught.value.types).func is own_step

    @pytest.mark.parametrize("function", [os.system, eval, np.load, pickle.loads], ids=lambda function: function.__name__)
    def test_a_function_that_does_harm_is_never_made(self, tmp_path: Path, function: Any) -> None:
        (tmp_path / "x").mkdir()
        skops.io.dump(FunctionTransformer(function), tmp_path / "x" / "model.skops")
        with pytest.raises(UntrustedTypes):
            load_artifact(tmp_path / "x", "sklearn")

    def test_functions_of_scikit_learn_are_no_harmless_classes(self, tmp_path: Path) -> None:
        from sklearn.datasets import load_svmlight_file

        (tmp_path / "x").mkdir()
        skops.io.dump(FunctionTransformer(load_svmlight_file), tmp_path / "x" / "model.skops")
        with pytest.raises(UntrustedTypes, match="load_svmlight_file"):
            load_artifact(tmp_path / "x", "sklearn")

    def test_a_file_that_is_damaged_is_an_error_of_ours(self, data: Data, tmp_path: Path) -> None:
        save_artifact(LinearRegression().fit(data.matrix, data.number), tmp_path / "x", onnx="off")
        path = tmp_path / "x" / "model.skops"
        whole = path.read_bytes()
        for content in (b"", b"x" * 100, whole[: len(whole) // 2], whole[:-30]):
            path.write_bytes(content)
            with pytest.raises(ArtifactDamaged):
                load_artifact(tmp_path / "x", "sklearn")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("schema.json", json.dumps({"__class__": "X"}))
        with pytest.raises(ArtifactDamaged):
            load_artifact(tmp_path / "x", "sklearn")


class TestPickle:
    def test_it_is_refused_on_save_and_on_load_unless_allowed(self, tmp_path: Path) -> None:
        with pytest.raises(PickleNotAllowed, match="allow_pickle=True"):
            save_artifact(Plain(1), tmp_path / "x")
        saved = save_artifact(Plain(1), tmp_path / "x", allow_pickle=True)
        assert saved.format == "pickle"
        with pytest.raises(PickleNotAllowed, match="allow_pickle=True"):
            load_artifact(tmp_path / "x", "pickle")
        assert load_artifact(tmp_path / "x", "pickle", allow_pickle=True).value == 1

    def test_naming_the_format_is_no_permission(self, tmp_path: Path) -> None:
        with pytest.raises(PickleNotAllowed):
            save_artifact(Plain(1), tmp_path / "x", format="pickle")

    def test_a_harmful_one_is_not_even_opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "model.pkl").write_bytes(pickle.dumps(Harmful()))
        for name in FORMATS.keys() - {"folder"}:
            with pytest.raises((ArtifactDamaged, PickleNotAllowed, Exception)):
                load_artifact(tmp_path / "x", name)
        assert not (tmp_path / "harmed").exists()

    def test_a_model_that_cannot_be_pickled_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownModelType, match="cannot be pickled"):
            save_artifact(lambda: None, tmp_path / "x", allow_pickle=True)

    def test_allowing_it_does_not_choose_it_where_a_safe_format_fits(self, data: Data, tmp_path: Path) -> None:
        saved = save_artifact(LinearRegression().fit(data.matrix, data.number), tmp_path / "x", allow_pickle=True)
        assert saved.format == "sklearn"


class TestDescription:
    def test_an_artifact_of_another_format_is_not_loaded(self, data: Data, tmp_path: Path) -> None:
        save_artifact(LinearRegression().fit(data.matrix, data.number), tmp_path / "x", onnx="off")
        with pytest.raises(ArtifactDamaged, match="'sklearn', not 'xgboost'"):
            load_artifact(tmp_path / "x", "xgboost")

    @pytest.mark.parametrize("content", ["", "[]", "{", '{"artifact_version": 2}', "null", '{"artifact_version": "1"}'])
    def test_a_description_that_is_none_is_an_error_of_ours(self, data: Data, tmp_path: Path, content: str) -> None:
        save_artifact(LinearRegression().fit(data.matrix, data.number), tmp_path / "x", onnx="off")
        (tmp_path / "x" / "artifact.json").write_text(content)
        with pytest.raises(ArtifactDamaged, match=r"artifact\.json"):
            load_artifact(tmp_path / "x", "sklearn")

    @pytest.mark.parametrize("kind", ["DMatrix", "train", "core", "__dict__", "../x", None, 1])
    def test_it_cannot_choose_what_is_called(self, data: Data, tmp_path: Path, kind: Any) -> None:
        models = {"xgboost": xgboost.XGBRegressor(n_estimators=2), "lightgbm": lightgbm.LGBMRegressor(n_estimators=2, verbose=-1)}
        for name, model in models.items():
            save_artifact(model.fit(data.matrix, data.number), tmp_path / name, onnx="off")
            path = tmp_path / name / "artifact.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": kind}))
            with pytest.raises(ArtifactDamaged, match="not a model of"):
                load_artifact(tmp_path / name, name)

    def test_a_missing_or_damaged_file_is_an_error_of_ours(self, data: Data, tmp_path: Path) -> None:
        for name, file in (("xgboost", "model.ubj"), ("lightgbm", "model.txt"), ("onnx", "model.onnx"), ("sklearn", "model.skops")):
            (tmp_path / name).mkdir()
            with pytest.raises(ArtifactDamaged, match=f"no {file}"):
                load_artifact(tmp_path / name, name)
            (tmp_path / name / file).write_bytes(b"\x00\x01 nothing of the kind")
            with pytest.raises(ArtifactDamaged, match=file):
                load_artifact(tmp_path / name, name)

    def test_a_lightgbm_description_without_its_parameters_is_an_error_of_ours(self, data: Data, tmp_path: Path) -> None:
        save_artifact(lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(data.matrix, data.number), tmp_path / "x", onnx="off")
        path = tmp_path / "x" / "artifact.json"
        description = json.loads(path.read_text())
        del description["parameters"]
        path.write_text(json.dumps(description))
        with pytest.raises(ArtifactDamaged, match="incomplete"):
            load_artifact(tmp_path / "x", "lightgbm")


class TestFolder:
    def test_any_folder_comes_back_as_it_was(self, tmp_path: Path) -> None:
        source = tmp_path / "source"
        (source / "a" / "b").mkdir(parents=True)
        (source / "a" / "b" / "c.txt").write_text("c")
        (source / "empty").mkdir()
        (source / "artifact.json").write_text("theirs")
        saved = save_artifact(source, tmp_path / "x")
        assert (saved.format, saved.signature, saved.onnx_file) == ("folder", None, None)
        loaded = load_artifact(tmp_path / "x", "folder")
        assert {str(path.relative_to(loaded)) for path in loaded.rglob("*")} == {"a", "a/b", "a/b/c.txt", "empty", "artifact.json"}
        assert (loaded / "artifact.json").read_text() == "theirs"

    def test_a_single_file_comes_back_with_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "weights.bin").write_bytes(b"w")
        save_artifact(str(tmp_path / "weights.bin"), tmp_path / "x")
        loaded = load_artifact(tmp_path / "x", "folder")
        assert (loaded.name, loaded.read_bytes()) == ("weights.bin", b"w")

    @pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "."])
    def test_links_are_refused_because_they_lead_out(self, tmp_path: Path, target: str) -> None:
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "file").touch()
        (tmp_path / "source" / "link").symlink_to(target)
        with pytest.raises(UnknownModelType, match="'link' is a link"):
            save_artifact(tmp_path / "source", tmp_path / "x")

    @pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "..", "", None, "a/b"])
    def test_a_description_cannot_name_a_file_outside(self, tmp_path: Path, name: Any) -> None:
        (tmp_path / "weights.bin").write_bytes(b"w")
        save_artifact(tmp_path / "weights.bin", tmp_path / "x")
        path = tmp_path / "x" / "artifact.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"file": name}))
        with pytest.raises(ArtifactDamaged, match="names no file"):
            load_artifact(tmp_path / "x", "folder")

    def test_nothing_and_an_empty_folder_are_no_models(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(UnknownModelType, match="no files"):
            save_artifact(tmp_path / "empty", tmp_path / "x")
        with pytest.raises(UnknownModelType, match="there is no file or folder"):
            save_artifact(tmp_path / "missing", tmp_path / "y")


class TestOnnx:
    @pytest.mark.parametrize("location", ["../outside.bin", "/etc/hostname", "a/../../outside.bin", "link.bin", "missing.bin", ""])
    def test_tensors_outside_of_the_folder_are_never_read(self, tmp_path: Path, location: str) -> None:
        (tmp_path / "outside.bin").write_bytes(b"\x00" * 16)
        folder = tmp_path / "source"
        folder.mkdir()
        (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
        tensor = helper.make_tensor("w", TensorProto.FLOAT, [4], np.zeros(4, np.float32).tobytes(), raw=True)
        onnx.external_data_helper.set_external_data(tensor, location)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])]
        graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", inputs, outputs, [tensor])
        (folder / "model.onnx").write_bytes(helper.make_model(graph).SerializeToString())
        with pytest.raises(ArtifactDamaged):
            save_artifact(folder / "model.onnx", tmp_path / "x")
        with pytest.raises(ArtifactDamaged):
            load_artifact(folder, "onnx")

    def test_what_is_no_onnx_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").write_bytes(b"nothing of the kind")
        with pytest.raises(ArtifactDamaged, match="not a valid ONNX"):
            save_artifact(tmp_path / "model.onnx", tmp_path / "x")
        with pytest.raises(UnknownModelType, match="not a valid ONNX"):
            save_artifact(onnx.ModelProto(), tmp_path / "y")

    def test_maps_have_no_signature_and_are_kept(self, data: Data, tmp_path: Path) -> None:
        from skl2onnx import to_onnx
        from sklearn.linear_model import LogisticRegression

        model = to_onnx(LogisticRegression().fit(data.matrix, data.two), data.matrix[:1].astype(np.float32))
        saved = save_artifact(model, tmp_path / "x")
        assert (saved.format, saved.signature, saved.onnx_file) == ("onnx", None, "model.onnx")
        assert "ZipMap" in saved.metadata["onnx"]["signature"]


class TestDetection:
    def test_the_nearest_class_decides(self, data: Data) -> None:
        class Own(LinearRegression):
            """An estimator of the user's own."""

        assert detect_format(xgboost.XGBClassifier()) == "xgboost"
        assert detect_format(lightgbm.LGBMRegressor()) == "lightgbm"
        assert detect_format(Own()) == "sklearn"

    def test_a_format_that_does_not_exist_is_refused_with_those_that_do(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownModelType, match="formats are sklearn, xgboost"):
            save_artifact(LinearRegression(), tmp_path / "x", format="joblib")
        with pytest.raises(UnknownModelType, match="formats are sklearn, xgboost"):
            load_artifact(tmp_path, "joblib")

    def test_a_folder_with_something_in_it_is_not_written_to(self, tmp_path: Path) -> None:
        (tmp_path / "other").touch()
        with pytest.raises(ValueError, match="not empty"):
            save_artifact(LinearRegression(), tmp_path)

    def test_no_engine_is_imported_to_find_out(self) -> None:
        code = """
            import sys
            from model_management.formats import FORMATS, detect_format
            class Plain: pass
            try: detect_format(Plain())
            except Exception as error: assert "allow_pickle" in str(error)
            heavy = {"sklearn", "xgboost", "lightgbm", "torch", "tensorflow", "onnx", "onnxruntime", "skops", "pandas", "model_signing"}
            print(sorted(heavy & sys.modules.keys()))
        """
        import textwrap

        result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
        assert (result.stdout, result.stderr) == ("[]\n", "")


def test_a_model_of_nothing_known_of_an_engine_is_refused(data: Data, tmp_path: Path) -> None:
    for model in (xgboost.DMatrix(data.matrix), lightgbm.Dataset(data.matrix)):
        with pytest.raises(UnknownModelType, match="is not a model of"):
            save_artifact(model, tmp_path / type(model).__name__)
