// A real provider for the tests: node provider.mjs '{"port":…,"redirect":…,"people":{"ann":{"groups":[…]}},"key":{…JWK}}'
// Its own sign-in and consent forms take any password; it demands PKCE and redeems a code once.
import Provider from "oidc-provider";

const { port, redirect, people, key } = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "console",
      client_secret: "a secret: with + and %",
      redirect_uris: [redirect],
      post_logout_redirect_uris: [new URL("/login", redirect).href],
      grant_types: ["authorization_code"],
      response_types: ["code"],
      id_token_signed_response_alg: key.alg,
    },
  ],
  jwks: { keys: [key] },
  cookies: { keys: ["only for the tests"] },
  pkce: { required: () => true },
  claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
  enabledJWA: { idTokenSigningAlgValues: ["RS256", "ES256", "PS256"] },
  async findAccount(_, id) {
    return { accountId: id, claims: async () => ({ sub: id, preferred_username: id, ...people[id] }) };
  },
});
provider.listen(port, "127.0.0.1", () => console.log("ready"));
