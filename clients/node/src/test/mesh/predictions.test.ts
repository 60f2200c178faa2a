/** The client against a whole mesh, through its gateway. tests/compat/node starts one and says where it is. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { Code, connect, type MeshError } from "../../index.js";

interface Expected {
  readonly model: string;
  readonly version: number;
  readonly digest: string;
  readonly rows: number[][];
  readonly probabilities: number[][];
}

const expected = JSON.parse(readFileSync(process.env["EXPECTED"] ?? "", "utf8")) as Expected;
const mesh = connect();
const stranger = connect({ token: "forged" });

after(() => {
  mesh.close();
  stranger.close();
});

test("predictions are those of ONNX Runtime in process, bit for bit", async () => {
  const prediction = await mesh.predict(expected.model, { input: expected.rows }, { version: expected.version });
  assert.deepEqual(prediction.outputs["probabilities"]?.data, Float32Array.from(expected.probabilities.flat()));
  assert.deepEqual(prediction.outputs["probabilities"]?.shape, [expected.rows.length, expected.probabilities[0]?.length]);
  assert.deepEqual(prediction.model, { name: expected.model, version: expected.version, digest: expected.digest });
  assert.match(prediction.predictionId, /^[0-9a-f-]{36}$/);
});

test("an alias chooses the version", async () => {
  const prediction = await mesh.predict(expected.model, { input: expected.rows }, { alias: "champion" });
  assert.equal(prediction.model.version, expected.version);
});

test("a wrong tensor is refused and named", async () => {
  await assert.rejects(mesh.predict(expected.model, { input: [[1, 2]] }), (error: MeshError) => {
    assert.equal(error.code, Code.InvalidArgument);
    assert.match(error.fieldViolations[0]?.field ?? "", /^inputs\[0\]/);
    assert.notEqual(error.requestId, "");
    return true;
  });
});

test("an unknown model is not found, with a reason", async () => {
  await assert.rejects(mesh.registry.getModel({ name: "no-such-model" }), { code: Code.NotFound, reason: "MODEL_NOT_FOUND" });
});

test("a forged token is refused", async () => {
  await assert.rejects(stranger.users.getMe({}), { code: Code.Unauthenticated });
});

test("a list and the health of the mesh are typed", async () => {
  const { models } = await mesh.registry.listModels({ filter: `name = "${expected.model}"` });
  assert.deepEqual(models.map((model) => [model.name, model.latestVersion]), [[expected.model, expected.version]]);
  const health = await mesh.system.getHealth({});
  assert.ok(health.components.some((component) => component.component === "registry"));
});
