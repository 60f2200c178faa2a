/**
 * Typed client of the mlmesh platform.
 *
 * ```ts
 * const mesh = connect({ url: "http://127.0.0.1:8080", apiKey: process.env.MLMESH_API_KEY });
 * const { outputs } = await mesh.predict("flight-delay", { features: [[0.1, 2.5]] });
 * mesh.close();
 * ```
 */
import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { FeatureJobService } from "./gen/mlops/features/v1/feature_job_service_pb.js";
import { FeatureServingService } from "./gen/mlops/features/v1/feature_serving_service_pb.js";
import { FeatureStoreService } from "./gen/mlops/features/v1/feature_store_service_pb.js";
import { DataIngestionService } from "./gen/mlops/ingestion/v1/ingestion_service_pb.js";
import { DataProcessingService } from "./gen/mlops/processing/v1/processing_service_pb.js";
import { ModelRegistryService } from "./gen/mlops/registry/v1/registry_service_pb.js";
import { ModelServingService } from "./gen/mlops/serving/v1/serving_service_pb.js";
import { SystemMonitorService } from "./gen/mlops/system/v1/system_service_pb.js";
import { UserService } from "./gen/mlops/users/v1/users_service_pb.js";
import { authorization, requestIds, retries, type TokenSource, typedErrors } from "./interceptors.js";
import { fromTensor, toTensor, type Values } from "./tensors.js";
import { ExchangedTokens, FixedToken } from "./tokens.js";

export { Code } from "@connectrpc/connect";
export { type FieldViolation, MeshError } from "./errors.js";
export { type Elements, fromTensor, toTensor, type Values } from "./tensors.js";

/** Where to connect to and as whom. */
export interface ConnectOptions {
  /** Address, `http://host:port` or `https://host`; default: `MLMESH_URL`. */
  readonly url?: string;
  /** Bearer token; default: `MLMESH_TOKEN`. */
  readonly token?: string;
  /** API key, exchanged for tokens; default: `MLMESH_API_KEY`. */
  readonly apiKey?: string;
  /** Deadline of a call that does not state one, in milliseconds; default: 60,000. */
  readonly timeoutMs?: number;
}

/** Chooses a version of a model: at most one of these. */
export interface Selection {
  readonly version?: number;
  readonly alias?: string;
  readonly stage?: string;
  readonly project?: string;
}

/** The answer of a model. */
export interface Prediction {
  /** Outputs by name. */
  readonly outputs: Readonly<Record<string, Values>>;
  /** The version that answered. */
  readonly model: { readonly name: string; readonly version: number; readonly digest: string };
  /** Identifies the prediction. */
  readonly predictionId: string;
}

/** A connection to a mesh. A program ends once it is closed, or has been quiet for 15 minutes. */
export class Mesh {
  constructor(
    private readonly session: Http2SessionManager,
    readonly users: Client<typeof UserService>,
    readonly registry: Client<typeof ModelRegistryService>,
    readonly ingestion: Client<typeof DataIngestionService>,
    readonly processing: Client<typeof DataProcessingService>,
    readonly features: Client<typeof FeatureStoreService>,
    readonly featureServing: Client<typeof FeatureServingService>,
    readonly featureJobs: Client<typeof FeatureJobService>,
    readonly serving: Client<typeof ModelServingService>,
    readonly system: Client<typeof SystemMonitorService>,
  ) {}

  /** Closes the connection. Calls that run are cancelled. */
  close(): void {
    this.session.abort();
  }

  /**
   * Predicts.
   *
   * @param model Name of the model.
   * @param inputs Rows of numbers (as FP32), or typed arrays with their shapes, by input name.
   * @throws MeshError The inputs do not fit the model, or there is none.
   */
  async predict(
    model: string,
    inputs: Readonly<Record<string, Values | readonly (readonly number[])[]>>,
    { version, alias, stage, project = "" }: Selection = {},
  ): Promise<Prediction> {
    const answer = await this.serving.predict(
      {
        model: { name: model, choice: chosen(version, alias, stage) },
        inputs: Object.entries(inputs).map(([name, values]) => toTensor(name, values)),
        project,
      },
      { headers: { "x-mlmesh-model": model } },
    );
    return {
      outputs: Object.fromEntries(answer.outputs.map((tensor) => [tensor.name, fromTensor(tensor)])),
      model: { name: answer.model?.name ?? "", version: answer.model?.version ?? 0, digest: answer.model?.digest ?? "" },
      predictionId: answer.predictionId,
    };
  }
}

/** Connects to a mesh. Nothing is sent before the first call. */
export function connect(options: ConnectOptions = {}): Mesh {
  const url = options.url ?? process.env["MLMESH_URL"];
  if (!url) throw new TypeError("no address of a mesh is given: connect({ url }) or MLMESH_URL");
  const timeoutMs = options.timeoutMs ?? 60_000;
  const session = new Http2SessionManager(url);
  const common = { baseUrl: url, defaultTimeoutMs: timeoutMs, sessionManager: session };
  const transport = (...more: Interceptor[]) => createGrpcTransport({ ...common, interceptors: [typedErrors, requestIds, retries, ...more] });
  const tokens = tokenSource(options, () => createClient(UserService, transport()));
  const authorized = tokens === undefined ? transport() : transport(authorization(tokens));
  return new Mesh(
    session,
    createClient(UserService, authorized),
    createClient(ModelRegistryService, authorized),
    createClient(DataIngestionService, authorized),
    createClient(DataProcessingService, authorized),
    createClient(FeatureStoreService, authorized),
    createClient(FeatureServingService, authorized),
    createClient(FeatureJobService, authorized),
    createClient(ModelServingService, authorized),
    createClient(SystemMonitorService, authorized),
  );
}

function tokenSource(options: ConnectOptions, users: () => Client<typeof UserService>): TokenSource | undefined {
  if (options.token && options.apiKey) throw new TypeError("give one credential, not token and apiKey");
  const token = options.token ?? (options.apiKey ? undefined : process.env["MLMESH_TOKEN"]);
  if (token) return new FixedToken(token);
  const apiKey = options.apiKey ?? process.env["MLMESH_API_KEY"];
  return apiKey ? new ExchangedTokens(users(), apiKey) : undefined;
}

function chosen(version?: number, alias?: string, stage?: string) {
  const choices = [
    ...(version ? [{ case: "version" as const, value: version }] : []),
    ...(alias ? [{ case: "alias" as const, value: alias }] : []),
    ...(stage ? [{ case: "stage" as const, value: stage }] : []),
  ];
  if (choices.length > 1) throw new TypeError("choose one of version, alias and stage");
  return choices[0] ?? { case: undefined };
}
