// Who the caller is to the pool, and the token: pasted, kept, forgotten. Owns the section "You" and
// the one that tells a caller that the pool does not recognise them.

import { announce, byId, setText, show } from "./dom.js";
import { instant, moment, span } from "./format.js";
import { isToken } from "./keep.js";

const hints = {
  token: "Forget the token to go on without one, where this pool allows that, or use another. " +
    "A bad token is never taken for anonymous.",
  none: "This pool wants a token. Its operator mints one: gpupool token mint --user NAME",
};

export function createYou({ clock, token, useIdentity }) {
  const field = byId("token");
  const wrong = byId("token-wrong");
  const box = byId("token-box");

  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = field.value.trim();
    const isGood = isToken(text);
    setText(wrong, isGood ? "" : "A token is one word, such as the line that a token's file has.");
    field.setAttribute("aria-invalid", String(!isGood));
    if (!isGood) {
      field.focus();
      return;
    }
    token.set(text, byId("token-device").checked);
    field.value = "";
    box.open = false;
    useIdentity();
    byId("token-summary").focus();
  });

  byId("token-forget").addEventListener("click", () => {
    token.forget();
    useIdentity();
    announce("the token is forgotten");
    byId("token-summary").focus();
  });

  function showToken() {
    const where = token.where();
    show(byId("token-forget"), where !== null);
    setText(byId("token-summary"), where === null ? "Use a token" : "Your token");
    setText(byId("token-where"), where === "device"
      ? "A token is kept on this device, until it is forgotten."
      : where === "tab" ? "A token is kept until this tab is closed."
        : "Without the tick it is kept until this tab is closed. It is sent to this pool alone.");
  }

  function how(caller, now) {
    let text = `Tier ${caller.tier}, recognised by ${caller.recognised_by}`;
    if (caller.operator) text += ", operator";
    const expires = instant(caller.token_expires_at);
    if (expires !== null) {
      text += expires > now
        ? `. The token expires ${moment(expires, now)}, in ${span(expires - now)}`
        : ". The token has expired";
    }
    return `${text}.`;
  }

  function showRefused(state) {
    const error = state.refusedAs;
    const section = byId("not-recognised");
    const why = error ? [error.sentence, error.detail].filter(Boolean) : [];
    // The sentence of the pool may have the detail in it already.
    const text = why.length === 2 && why[0].includes(why[1]) ? why[0] : why.join(": ");
    setText(byId("not-recognised-why"), text);
    setText(byId("not-recognised-hint"),
      error ? error.hint || (token.get() === null ? hints.none : hints.token) : "");
    if (error && section.hidden) box.open = true;
    show(section, error !== null);
  }

  return (state) => {
    const now = clock.now();
    const { caller } = state;
    const isNobody = state.refusedAs !== null;
    setText(byId("you-account"),
      isNobody ? "not recognised" : caller ? caller.account : "not known yet");
    setText(byId("you-how"), caller && !isNobody ? how(caller, now) : "");
    showToken();
    showRefused(state);
  };
}

// The state of the connection, in the header: quiet to look at, and said when it changes.
export function createConnection({ stream }) {
  const box = byId("connection");
  const text = byId("connection-text");
  const button = byId("connect-now");
  let said = "connecting";
  let timer = null;

  button.addEventListener("click", () => stream.hurry());
  window.addEventListener("online", () => stream.hurry());

  function words(state) {
    const phase = state.connection;
    if (phase.name === "live") return "live";
    if (phase.name === "refused") return "not connected";
    if (phase.name === "connecting") return state.wasLive ? "reconnecting" : "connecting";
    const left = Math.max(1, Math.ceil((phase.until - Date.now()) / 1000));
    const again = `reconnecting in ${left} s`;
    if (navigator.onLine === false) return `this device is offline, ${again}`;
    if (phase.why === "lost") return again;
    if (phase.reason) return `${phase.reason}, ${again}`;
    const what = state.wasLive ? "the pool is restarting" : "the pool does not answer";
    return `${what}, ${again}`;
  }

  // A moment of reconnecting is not worth a word.
  function say(phase) {
    const word = phase.name === "live" ? "live" : phase.name === "waiting" ? "lost" : said;
    if (word === said) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      const isNews = !(word === "live" && said === "connecting");
      said = word;
      if (isNews) announce(word === "live" ? "connected again" : "the connection is lost");
    }, 1500);
  }

  return (state) => {
    const { name } = state.connection;
    box.dataset.phase = name === "connecting" && state.wasLive ? "waiting" : name;
    setText(text, words(state));
    show(button, name === "waiting");
    say(state.connection);
  };
}
