// Requests to the pool's HTTP API: the token in the header, JSON in and out. Owns nothing. An
// answer is {ok: true, status, body} or {ok: false, status, refused | error}; a pool that cannot be
// reached is an error with status 0, so that no caller has to catch.

const unreachable = {
  code: "not_connected",
  sentence: "the pool does not answer",
  detail: null,
};

const unreadable = (status) => ({
  code: "malformed_answer",
  sentence: `the answer cannot be read (HTTP status ${status})`,
  detail: null,
});

// Beside the page, wherever a proxy has put it.
const address = (path) => new URL(path, document.baseURI);

export function createApi(token) {
  const headers = (more = {}) => {
    const value = token();
    return value === null ? more : { ...more, Authorization: `Bearer ${value}` };
  };

  async function send(path, options = {}) {
    try {
      const answer = await fetch(address(path), {
        cache: "no-store", credentials: "same-origin", redirect: "error", ...options,
        headers: headers(options.headers),
      });
      return answer;
    } catch (trouble) {
      if (trouble.name === "AbortError") throw trouble;
      return null;
    }
  }

  async function failure(answer) {
    if (answer === null) return { ok: false, status: 0, error: unreachable };
    let body = null;
    try {
      body = await answer.json();
    } catch {
      body = null;
    }
    if (body?.refused) return { ok: false, status: answer.status, refused: body.refused };
    const error = body?.error ?? unreadable(answer.status);
    return { ok: false, status: answer.status, error };
  }

  async function json(path, options) {
    const answer = await send(path, options);
    if (answer === null || !answer.ok) return failure(answer);
    try {
      const body = await answer.json();
      // A quote that says no is no error of HTTP's.
      if (body?.refused) return { ok: false, status: answer.status, refused: body.refused };
      return { ok: true, status: answer.status, body };
    } catch (trouble) {
      if (trouble.name === "AbortError") throw trouble;
      return { ok: false, status: answer.status, error: unreadable(answer.status) };
    }
  }

  async function raw(path, read) {
    const answer = await send(path);
    if (answer === null || !answer.ok) return failure(answer);
    try {
      return { ok: true, status: answer.status, body: await read(answer) };
    } catch {
      return { ok: false, status: 0, error: unreachable };
    }
  }

  return {
    get: (path, signal) => json(path, { signal }),
    post: (path, body) => json(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    }),
    remove: (path) => json(path, { method: "DELETE" }),
    blob: (path) => raw(path, (answer) => answer.blob()),
    text: (path) => raw(path, (answer) => answer.text()),
    // The open answer itself, for who reads it piece by piece; null: the pool does not answer.
    open: (path, signal) => send(path, { signal, headers: { Accept: "text/event-stream" } }),
    failure,
  };
}

// One sentence for people, of an answer that is not ok.
export function sentenceOf(answer) {
  const said = answer.refused ?? answer.error;
  return said.sentence || said.code.replaceAll("_", " ");
}
