/** What every call gets: a token, a request id, repeats where the contract allows them, and errors as `MeshError`. */
import { getOption } from "@bufbuild/protobuf";
import { Code, type Interceptor, type UnaryRequest } from "@connectrpc/connect";
import { meshError } from "./errors.js";
import { Access, Idempotency, policy } from "./gen/mlops/common/v1/options_pb.js";

/** Gives tokens, and forgets one that was refused. */
export interface TokenSource {
  /** Returns a token that is valid now. */
  current(): Promise<string>;
  /** Forgets a token; returns whether another one can be had. */
  discard(token: string): boolean;
}

const ATTEMPTS = 5;
// 0.2 + 0.5 + 1.25 + 3 s: longer than a killed server takes to come back.
const FIRST_PAUSE_MS = 200;
const PAUSE_FACTOR = 2.5;
const LONGEST_PAUSE_MS = 3000;

const SAFE: ReadonlySet<Idempotency> = new Set([Idempotency.READ_ONLY, Idempotency.IDEMPOTENT, Idempotency.REQUEST_ID]);

/** Turns whatever a call throws into a `MeshError`. */
export const typedErrors: Interceptor = (next) => async (request) => {
  try {
    return await next(request);
  } catch (thrown) {
    throw meshError(thrown);
  }
};

/** Sends a token with every method that needs one, and another one where it is refused: nothing was done then. */
export function authorization(tokens: TokenSource): Interceptor {
  return (next) => async (request) => {
    if (getOption(request.method, policy).access === Access.PUBLIC) return next(request);
    const token = await tokens.current();
    request.header.set("authorization", `Bearer ${token}`);
    try {
      return await next(request);
    } catch (thrown) {
      if (request.stream || meshError(thrown).code !== Code.Unauthenticated || !tokens.discard(token)) throw thrown;
      request.header.set("authorization", `Bearer ${await tokens.current()}`);
      return next(request);
    }
  };
}

/** Names a creation, so that its repeats are known as repeats. */
export const requestIds: Interceptor = (next) => (request) => {
  if (!request.stream && getOption(request.method, policy).idempotency === Idempotency.REQUEST_ID) {
    const message = request.message as { requestId?: string };
    message.requestId ||= crypto.randomUUID();
  }
  return next(request);
};

/** Repeats a call that found nobody, where the contract says that a repeat is safe. */
export const retries: Interceptor = (next) => async (request) => {
  if (request.stream || !SAFE.has(getOption(request.method, policy).idempotency)) return next(request);
  for (let attempt = 1; ; attempt++) {
    try {
      return await next(request);
    } catch (thrown) {
      if (attempt === ATTEMPTS || meshError(thrown).code !== Code.Unavailable) throw thrown;
      await pause(attempt, request);
    }
  }
};

async function pause(attempt: number, request: UnaryRequest): Promise<void> {
  const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * PAUSE_FACTOR ** (attempt - 1));
  request.signal.throwIfAborted();
  await new Promise((resolve) => setTimeout(resolve, longest * (0.8 + 0.4 * Math.random())));
}
