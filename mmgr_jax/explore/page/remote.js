// A server's answers: it stands behind a page that is too large to hold its city.

const BINARY = "application/octet-stream";

/** What errors begin with where nobody answers. */
export const NO_ANSWER = "no answer";

/** Asks the server at an address that ends in a slash. */
export function remoteOf(address) {
  const answered = async (path, given) => {
    const asked = fetch(address + path, { ...given, credentials: "omit" });
    const response = await asked.catch((error) => {
      throw new Error(`${NO_ANSWER}: ${error.message}`);
    });
    if (!response.ok) throw new Error(`${path}: ${(await response.text()).trim()}`);
    return response;
  };
  return {
    address,
    json: async (path) => (await answered(path)).json(),
    blob: async (path) => (await answered(path)).blob(),
    bytes: async (path) => (await answered(path)).arrayBuffer(),
    /** Sends numbers, a typed array, and gives the bytes that come back. */
    post: async (path, body) => {
      const given = { method: "POST", headers: { "Content-Type": BINARY }, body };
      return (await answered(path, given)).arrayBuffer();
    },
  };
}
