// What this page keeps in the browser: the token (of this tab, or of this device where its owner
// ticked that), and the bodies of this tab's requests by their ids, for captions and for asking
// again. Owns the keys of both storages. A browser without storage keeps it until a reload.

const tokenKey = "gpupool.token";
const requestsKey = "gpupool.requests";
const requestsMax = 60;

function storage(name) {
  try {
    return window[name];
  } catch {
    return null; // blocked by the browser
  }
}

function read(name, key) {
  try {
    return storage(name)?.getItem(key) ?? null;
  } catch {
    return null;
  }
}

function write(name, key, text) {
  try {
    if (text === null) storage(name)?.removeItem(key);
    else storage(name)?.setItem(key, text);
  } catch {
    // Full or blocked: what is kept lasts as long as the page.
  }
}

export function createTokenKeeper() {
  const ofTab = read("sessionStorage", tokenKey);
  let token = ofTab ?? read("localStorage", tokenKey);
  let where = token === null ? null : ofTab !== null ? "tab" : "device";
  return {
    get: () => token,
    where: () => where,
    set(text, onDevice) {
      token = text;
      where = onDevice ? "device" : "tab";
      write("sessionStorage", tokenKey, onDevice ? null : text);
      write("localStorage", tokenKey, onDevice ? text : null);
    },
    forget() {
      token = null;
      where = null;
      write("sessionStorage", tokenKey, null);
      write("localStorage", tokenKey, null);
    },
  };
}

// request id -> {body, account}; the oldest go first.
export function createRequestKeeper() {
  let kept = new Map();
  try {
    const entries = JSON.parse(read("sessionStorage", requestsKey) ?? "[]");
    kept = new Map(entries.slice(-requestsMax));
  } catch {
    kept = new Map();
  }
  return {
    get: (request) => kept.get(request) ?? null,
    add(request, entry) {
      kept.set(request, entry);
      kept = new Map([...kept].slice(-requestsMax));
      write("sessionStorage", requestsKey, JSON.stringify([...kept]));
    },
    clear() {
      kept = new Map();
      write("sessionStorage", requestsKey, null);
    },
  };
}

// A token is one word of printable ASCII; anything else cannot stand in a header.
export const isToken = (text) => /^[\x21-\x7e]+$/.test(text);
