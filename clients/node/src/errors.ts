/** Errors of the mesh: a gRPC status with its reason and the fields that are wrong. */
import { ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RequestInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/** One field of a request that is wrong. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

/** What a call to the mesh failed with; `code` is the gRPC status code, `rawMessage` what the server said. */
export class MeshError extends ConnectError {
  // ConnectError takes every error of its shape for its own; what has no reason is no MeshError.
  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === "object" && value !== null && Object.prototype.isPrototypeOf.call(MeshError.prototype, value);
  }

  /** Stable reason in UPPER_SNAKE_CASE, for example `MODEL_NOT_FOUND`; empty where the server gave none. */
  readonly reason: string;
  /** Facts for programs. */
  readonly facts: Readonly<Record<string, string>>;
  /** Fields of the request that are wrong. */
  readonly fieldViolations: readonly FieldViolation[];
  /** Identifies the request in the server's log. */
  readonly requestId: string;

  constructor(error: ConnectError) {
    super(error.rawMessage, error.code, error.metadata, undefined, error.cause);
    this.details = error.details;
    const [info] = error.findDetails(ErrorInfoSchema);
    const [request] = error.findDetails(RequestInfoSchema);
    const violations = error.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations);
    this.reason = info?.reason ?? "";
    this.facts = info?.metadata ?? {};
    this.fieldViolations = violations.map(({ field, description }) => ({ field, description }));
    this.requestId = request?.requestId ?? error.metadata.get("x-request-id") ?? "";
  }
}

/** Returns what was thrown as a `MeshError`. */
export function meshError(thrown: unknown): MeshError {
  return thrown instanceof MeshError ? thrown : new MeshError(ConnectError.from(thrown));
}
