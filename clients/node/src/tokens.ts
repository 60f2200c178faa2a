/** Tokens for calls: had in exchange for an API key, kept, and renewed before they expire. */
import type { Client } from "@connectrpc/connect";
import type { UserService } from "./gen/mlops/users/v1/users_service_pb.js";
import type { TokenSource } from "./interceptors.js";

const API_KEY_GRANT = "urn:mlmesh:params:oauth:grant-type:api-key";
const RENEW_AT_SHARE = 0.7;

/** A token that is used as it is. */
export class FixedToken implements TokenSource {
  constructor(private readonly token: string) {}

  async current(): Promise<string> {
    return this.token;
  }

  discard(): boolean {
    return false;
  }
}

/** Tokens that an API key is exchanged for. */
export class ExchangedTokens implements TokenSource {
  private issued: Promise<string> | undefined;
  private token = "";
  private renewAt = 0;

  constructor(
    private readonly users: Client<typeof UserService>,
    private readonly apiKey: string,
  ) {}

  current(): Promise<string> {
    if (this.token !== "" && Date.now() < this.renewAt) return Promise.resolve(this.token);
    // Of many calls that need a new token at the same time, one gets it and the others wait.
    this.issued ??= this.exchange().finally(() => (this.issued = undefined));
    return this.issued;
  }

  discard(token: string): boolean {
    if (token === this.token) this.renewAt = 0;
    return true;
  }

  private async exchange(): Promise<string> {
    const answer = await this.users.exchangeToken({ grantType: API_KEY_GRANT, apiKey: this.apiKey });
    this.token = answer.accessToken;
    this.renewAt = Date.now() + answer.expiresIn * 1000 * RENEW_AT_SHARE;
    return this.token;
  }
}
