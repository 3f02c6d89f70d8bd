// The pool's events, read with fetch() because EventSource can carry no token. Owns the connection:
// it reads, notices silence, and connects again with backoff and jitter until it is stopped. What
// comes is given to `onEvent(name, data)`, what happens to the connection to `onPhase(phase)`.

import { sentenceOf } from "./api.js";

const silenceMs = 45_000; // the pool says something every 15 s
const firstWaitMs = 500;
const longestWaitMs = 15_000;
const steadyMs = 5_000; // a connection that lasted so long starts the backoff anew
const bufferMax = 8 * 1024 * 1024;

// Text in, whole events out; what is left over is kept for the next piece (WHATWG HTML, 9.2.6).
export function createParser(onEvent) {
  let rest = "";
  let name = "";
  let data = [];
  const line = (text) => {
    if (text === "") {
      if (data.length > 0) onEvent(name || "message", data.join("\n"));
      name = "";
      data = [];
      return;
    }
    const colon = text.indexOf(":");
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + 1).replace(/^ /, "");
    if (field === "event") name = value;
    else if (field === "data") data.push(value);
  };
  return (piece) => {
    rest += piece;
    if (rest.length > bufferMax) throw new Error("an event is too large");
    const lines = rest.split(/\r\n|\n/);
    rest = lines.pop();
    lines.forEach(line);
  };
}

// The wait before attempt `n` (from 0), between half of it and all of it, so that pages which were
// cut off together do not come back together.
export function backoff(n, random = Math.random) {
  const whole = Math.min(longestWaitMs, firstWaitMs * 2 ** n);
  return Math.round(whole * (0.5 + random() / 2));
}

// Phases: {name: "connecting"}, {name: "live"}, {name: "refused", error},
// {name: "waiting", until (this device's ms), why, reason}; why: "lost" (a stream that was there),
// "away" (nothing answers) or "said" (the pool gave a reason).
export function createStream(api, onEvent, onPhase) {
  let attempt = 0;
  let current = null; // the AbortController of the connection that counts
  let timer = null;
  let waits = false; // for the next attempt

  function again(why, reason) {
    const wait = backoff(attempt);
    attempt += 1;
    waits = true;
    onPhase({ name: "waiting", until: Date.now() + wait, why, reason });
    timer = setTimeout(connect, wait);
  }

  async function read(answer, control) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const opened = Date.now();
    const seen = { bye: null, live: false };
    const parse = createParser((name, data) => {
      const value = JSON.parse(data);
      if (name === "bye") seen.bye = value.reason ?? "";
      if (name === "hello") {
        seen.live = true;
        onPhase({ name: "live" });
      }
      onEvent(name, value);
    });
    let quiet = null;
    const heard = () => {
      clearTimeout(quiet);
      quiet = setTimeout(() => control.abort("silent"), silenceMs);
    };
    try {
      heard();
      for (;;) {
        const { done, value } = await reader.read();
        if (control !== current) return;
        if (done) break;
        heard();
        parse(value);
        if (seen.live && Date.now() - opened > steadyMs) attempt = 0;
      }
    } catch (trouble) {
      if (control !== current) return;
      console.debug("the stream broke off", trouble);
    } finally {
      clearTimeout(quiet);
      control.abort();
    }
    if (Date.now() - opened > steadyMs) attempt = 0;
    again(seen.bye ? "said" : "lost", seen.bye);
  }

  async function connect() {
    clearTimeout(timer);
    waits = false;
    const control = new AbortController();
    current = control;
    onPhase({ name: "connecting" });
    let answer = null;
    try {
      answer = await api.open("v1/events", control.signal);
    } catch {
      return; // stopped
    }
    if (control !== current) return;
    if (answer?.ok) {
      await read(answer, control);
      return;
    }
    const failed = await api.failure(answer);
    if (control !== current) return;
    if (failed.status === 401 || failed.status === 403) {
      onPhase({ name: "refused", error: failed.refused ?? failed.error });
    } else {
      // A proxy's own words about a pool that is away are no reason of the pool's.
      const isAway = failed.status === 0 || failed.error?.code === "malformed_answer";
      again(isAway ? "away" : "said", isAway ? null : sentenceOf(failed));
    }
  }

  function stop() {
    clearTimeout(timer);
    waits = false;
    const old = current;
    current = null;
    old?.abort();
  }

  return {
    // Connects, anew if it is connected: with another token, or because a person asked.
    start() {
      stop();
      attempt = 0;
      connect();
    },
    // Connects at once where it waits for the next attempt; a connection that lives stays.
    hurry() {
      if (waits) connect();
    },
    stop,
  };
}
