/** The client against a gRPC server of this process. */
import assert from "node:assert/strict";
import { createServer, type Http2Server } from "node:http2";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, test } from "node:test";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { BadRequestSchema, ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import { ModelRegistryService } from "../gen/mlops/registry/v1/registry_service_pb.js";
import { UserService } from "../gen/mlops/users/v1/users_service_pb.js";
import { connect, type ConnectOptions, type Mesh, MeshError } from "../index.js";

const opened: Mesh[] = [];
let server: Http2Server;
let url: string;
let calls: string[];
let failures: Record<string, Code[]>;
let valid: Set<string>;
let expiresIn: number;
let requestIds: string[];

function enter(method: string, context?: HandlerContext): void {
  calls.push(method);
  const failure = failures[method]?.shift();
  if (failure !== undefined) throw new ConnectError(`${method} fails on request`, failure);
  if (context && !valid.has(context.requestHeader.get("authorization")?.replace("Bearer ", "") ?? "")) {
    throw new ConnectError("who are you?", Code.Unauthenticated);
  }
}

before(async () => {
  const handler = connectNodeAdapter({
    routes: (router) => {
      router.service(UserService, {
        exchangeToken: (request) => {
          enter("exchangeToken");
          if (request.apiKey !== "mlm_test_key") throw new ConnectError("the key is unknown", Code.Unauthenticated);
          valid.add(`token-${valid.size + 1}`);
          return { accessToken: `token-${valid.size}`, expiresIn };
        },
        getMe: (_, context) => {
          enter("getMe", context);
          return { user: { username: "ada" } };
        },
        changePassword: (_, context) => {
          enter("changePassword", context);
          return {};
        },
      });
      router.service(ModelRegistryService, {
        createModel: (request, context) => {
          requestIds.push(request.requestId);
          enter("createModel", context);
          return request.model ?? {};
        },
        getModel: () => {
          throw new ConnectError("no model 'x'", Code.NotFound, { "x-request-id": "r-1" }, [
            { desc: ErrorInfoSchema, value: { reason: "MODEL_NOT_FOUND", domain: "mlmesh", metadata: { model: "x" } } },
            { desc: BadRequestSchema, value: { fieldViolations: [{ field: "name", description: "is unknown" }] } },
          ]);
        },
      });
    },
  });
  server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

beforeEach(() => {
  calls = [];
  failures = {};
  valid = new Set();
  expiresIn = 900;
  requestIds = [];
});

after(() => {
  for (const mesh of opened) mesh.close();
  server.close();
});

function connected(options: ConnectOptions = { apiKey: "mlm_test_key" }): Mesh {
  const mesh = connect({ url, ...options });
  opened.push(mesh);
  return mesh;
}

const count = (method: string) => calls.filter((call) => call === method).length;

test("a key is exchanged once for many calls", async () => {
  const mesh = connected();
  const answers = await Promise.all(Array.from({ length: 8 }, () => mesh.users.getMe({})));
  assert.deepEqual(new Set(answers.map((answer) => answer.user?.username)), new Set(["ada"]));
  assert.equal(count("exchangeToken"), 1);
});

test("a token is renewed before it expires", async () => {
  expiresIn = 0;
  const mesh = connected();
  await mesh.users.getMe({});
  await mesh.users.getMe({});
  assert.equal(count("exchangeToken"), 2);
});

test("a revoked token is replaced and the call repeated", async () => {
  const mesh = connected();
  await mesh.users.getMe({});
  valid = new Set(["nothing-that-was-issued"]);
  await mesh.users.getMe({});
  assert.equal(count("exchangeToken"), 2);
});

test("a read rides out a server that is away for a moment", async () => {
  failures["getMe"] = [Code.Unavailable, Code.Unavailable];
  await connected().users.getMe({});
  assert.equal(count("getMe"), 3);
});

test("what is not idempotent is sent once", async () => {
  failures["changePassword"] = [Code.Unavailable];
  await assert.rejects(connected().users.changePassword({}), { code: Code.Unavailable });
  assert.equal(count("changePassword"), 1);
});

test("a creation is repeated under the same request id", async () => {
  failures["createModel"] = [Code.Unavailable];
  await connected().registry.createModel({ model: { name: "toy" } });
  assert.equal(requestIds.length, 2);
  assert.match(requestIds[0] ?? "", /^[0-9a-f-]{36}$/);
  assert.equal(new Set(requestIds).size, 1);
});

test("an error has its reason, its fields, its facts and its request", async () => {
  const refused = connected().registry.getModel({ name: "x" });
  await assert.rejects(refused, (error) => {
    assert.ok(error instanceof MeshError);
    assert.equal(error.code, Code.NotFound);
    assert.deepEqual([error.reason, error.requestId, error.facts], ["MODEL_NOT_FOUND", "r-1", { model: "x" }]);
    assert.deepEqual(error.fieldViolations, [{ field: "name", description: "is unknown" }]);
    return true;
  });
});

test("a token that is refused for good is an error and not a loop", async () => {
  await assert.rejects(connected({ token: "forged" }).users.getMe({}), { code: Code.Unauthenticated });
  assert.equal(count("getMe"), 1);
});

test("two credentials are refused", () => {
  assert.throws(() => connect({ url, token: "t", apiKey: "k" }), /one credential/);
});

test("a connection without an address says how to give one", () => {
  assert.throws(() => connect(), /MLMESH_URL/);
});

