import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { DataType, TensorSchema } from "../gen/mlops/common/v1/tensor_pb.js";
import { fromTensor, toTensor, type Values } from "../index.js";

const cases: Record<string, Values> = {
  floats: { shape: [2, 2], data: Float32Array.of(1, -0.5, Number.POSITIVE_INFINITY, 1e-38) },
  doubles: { shape: [1], data: Float64Array.of(Math.PI) },
  longs: { shape: [2], data: BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n) },
  bytes: { shape: [3], data: Uint8Array.of(0, 128, 255) },
  texts: { shape: [3], data: ["", "AA", "größe"] },
  nothing: { shape: [0, 4], data: new Float32Array() },
  scalar: { shape: [], data: Int32Array.of(7) },
};

for (const [name, values] of Object.entries(cases)) {
  test(`${name} arrive as they were sent`, () => {
    assert.deepEqual(fromTensor(toTensor("x", values)), values);
  });
}

test("rows of numbers are float32", () => {
  const tensor = toTensor("x", [
    [1, 2],
    [3, 4],
  ]);
  assert.equal(tensor.datatype, DataType.FP32);
  assert.deepEqual(fromTensor(tensor), { shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) });
});

test("rows that are not rectangular are refused", () => {
  assert.throws(() => toTensor("x", [[1], [2, 3]]), /not rectangular/);
});

test("elements that do not fill the shape are refused", () => {
  assert.throws(() => toTensor("x", { shape: [2, 2], data: Float32Array.of(1) }), /has 4 elements, and 1 were given/);
});

test("a part of a larger buffer is sent alone", () => {
  const part = Float32Array.of(1, 2, 3, 4).subarray(1, 3);
  assert.deepEqual(fromTensor(toTensor("x", { shape: [2], data: part })).data, Float32Array.of(2, 3));
});

test("a type without a form in JavaScript is refused by name", () => {
  assert.throws(() => fromTensor(create(TensorSchema, { name: "y", datatype: DataType.FP16, shape: [1n], raw: new Uint8Array(2) })), /FP16/);
});

test("texts that run over the end of their tensor are refused", () => {
  const raw = Uint8Array.of(9, 0, 0, 0, 97);
  assert.throws(() => fromTensor(create(TensorSchema, { name: "y", datatype: DataType.BYTES, shape: [1n], raw })), /longer than its tensor/);
});
