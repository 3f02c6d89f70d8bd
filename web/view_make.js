// The form that asks for a job: app, arguments, size, duration, and the live quote beside the
// button. Owns the section "Make a picture"; sending is submit.js's.

import { announce, byId, fillList, h, setText, show, whenChanged } from "./dom.js";
import { counted, durationValue, seconds } from "./format.js";
import { argumentsOf, createField, fillFields, parametersOf } from "./form_fields.js";
import { drawnSeed } from "./request_id.js";
import { quoteLines, quoteSummary } from "./words.js";

const quoteDelayMs = 250;
const quoteAgainMs = 2000; // at most so often for what others do
const quoteKeptMs = 15_000; // what is likely changes with the queue

// What this page can ask for: an external app's process is the caller's own.
export const isAskable = (app) => app.executor !== "external";

export function createMake({ store, api, clock, submit }) {
  const form = byId("make-form");
  const appField = byId("make-app");
  const sizeField = byId("make-size");
  const durationField = byId("make-duration");
  const button = byId("make-submit");
  let fields = [];
  let apps = [];
  let asking = null; // the AbortController of the quote that is asked for
  let timer = null;
  let askedAt = 0;
  let quoted = null; // {quote} or {refused} or {error}, of what the form says now

  const app = () => apps.find((one) => one.name === appField.value) ?? null;

  // ---- The fields ------------------------------------------------------------------------------

  function chooseApp() {
    const chosen = app();
    if (!chosen) return;
    const old = argumentsOf(fields);
    fields = parametersOf(chosen).map((parameter) => createField(parameter, "argument"));
    const first = fields.filter((one) => one.parameter.first);
    const rest = fields.filter((one) => !one.parameter.first);
    byId("make-first").replaceChildren(...first.map((one) => one.element));
    byId("make-rest").replaceChildren(...rest.map((one) => one.element));
    fillFields(fields, old);
    setText(byId("title-make"), chosen.executor === "diffusion" ? "Make a picture" : "Run an app");
    setText(button, chosen.executor === "diffusion" ? "Make the picture" : "Submit");
    durationField.placeholder = chosen.auto ? "auto" : durationValue(chosen.default_ms);
    const without = chosen.auto ? "Without one it holds what such runs took, and more as it runs"
      : `Without one it is ${seconds(chosen.default_ms)}`;
    setText(byId("make-duration-about"),
      `The longest that the job may run, up to ${seconds(chosen.longest_ms)}. ${without}.`);
    const option = sizeField.querySelector("option[value='']");
    if (option) setText(option, `as the app says (${chosen.size})`);
  }

  const showApps = whenChanged((state) => state.pool, (pool) => {
    apps = (pool?.apps ?? []).filter(isAskable);
    const before = appField.value;
    appField.replaceChildren(...apps.map((one) => h("option", { value: one.name }, one.name)));
    if (apps.some((one) => one.name === before)) appField.value = before;
    const size = sizeField.value;
    sizeField.replaceChildren(h("option", { value: "" }, "as the app says"),
      ...(pool?.sizes ?? []).map((one) => h("option", { value: one.name },
        `${one.name}: ${counted(one.slots, "slot")}, factor ${one.factor}`)));
    if ((pool?.sizes ?? []).some((one) => one.name === size)) sizeField.value = size;
    if (appField.value !== before || fields.length === 0) chooseApp();
    else setText(sizeField.options[0], `as the app says (${app()?.size})`);
    show(form, apps.length > 0);
    show(byId("make-none"), pool !== null && apps.length === 0);
    setText(byId("make-none"), "This pool has no app that can be asked for here.");
    askSoon();
  });

  // ---- The quote -------------------------------------------------------------------------------

  function wish() {
    const query = new URLSearchParams({ app: appField.value });
    if (durationField.value !== "") query.set("duration_s", durationField.value);
    if (sizeField.value !== "") query.set("size", sizeField.value);
    return query;
  }

  async function askQuote(isTyped) {
    clearTimeout(timer);
    timer = null;
    if (!app() || store.get().caller === null) return;
    asking?.abort();
    const control = new AbortController();
    asking = control;
    askedAt = Date.now();
    let answer;
    try {
      answer = await api.get(`v1/quote?${wish()}`, control.signal);
    } catch {
      return; // a newer one is asked for
    }
    if (control !== asking) return;
    asking = null;
    quoted = answer.ok ? { quote: answer.body.quote } : answer.refused
      ? { refused: answer.refused } : { error: answer.error };
    showQuote();
    if (isTyped) {
      setText(byId("quote-said"), quoted.quote ? quoteSummary(quoted.quote, clock.now())
        : quoted.refused ? `would be refused: ${quoted.refused.sentence}` : "");
    }
  }

  function askSoon(isTyped = false) {
    const wait = isTyped ? quoteDelayMs : Math.max(quoteDelayMs,
      askedAt + quoteAgainMs - Date.now());
    if (timer !== null && !isTyped) return;
    clearTimeout(timer);
    timer = setTimeout(() => askQuote(isTyped), wait);
  }

  function showQuote() {
    const list = byId("quote");
    const refused = quoted?.refused;
    list.classList.toggle("refused", Boolean(refused));
    if (quoted?.quote) fillList(list, quoteLines(quoted.quote, clock.now()));
    else if (refused) {
      fillList(list, [{ name: "would be refused", text: refused.sentence },
        ...(refused.hint ? [{ name: "hint", text: refused.hint }] : [])]);
    } else if (quoted?.error) fillList(list, [{ name: "no quote", text: quoted.error.sentence }]);
    else fillList(list, []);
  }

  // ---- Sending ---------------------------------------------------------------------------------

  function body() {
    const given = argumentsOf(fields);
    if (app().executor === "diffusion" && !given.seed) given.seed = drawnSeed();
    const request = { app: app().name, arguments: given };
    if (sizeField.value !== "") request.size = sizeField.value;
    if (durationField.value !== "") request.duration_s = Number(durationField.value);
    if (byId("make-stay").checked) request.detached = true;
    if (byId("make-wait").value !== "") request.max_wait_s = Number(byId("make-wait").value);
    return request;
  }

  function openWhatIsWrong() {
    const details = byId("make-more");
    if (details.querySelector(":invalid")) details.open = true;
  }

  form.addEventListener("invalid", openWhatIsWrong, true);
  form.addEventListener("input", (event) => {
    if (event.target === appField) chooseApp();
    if ([appField, sizeField, durationField].includes(event.target)) askSoon(true);
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.getAttribute("aria-disabled") === "true" || !app()) return;
    button.setAttribute("aria-disabled", "true");
    const wrong = await submit(body(), (text) => setText(byId("make-wrong"), text));
    setText(byId("make-wrong"), wrong ?? "");
    button.removeAttribute("aria-disabled");
    askSoon();
  });

  const onBalance = whenChanged((state) => state.balance, () => askSoon());

  return {
    update(state) {
      showApps(state);
      onBalance(state);
      const isReady = state.caller !== null && state.refusedAs === null;
      if (!isReady && quoted) {
        quoted = null;
        showQuote();
      } else if (quoted?.quote) {
        showQuote(); // its times count down
        if (!document.hidden && Date.now() - askedAt > quoteKeptMs) askSoon();
      }
    },
    takeDuration(ms, appName) {
      if (appName && apps.some((one) => one.name === appName) && appField.value !== appName) {
        appField.value = appName;
        chooseApp();
      }
      durationField.value = durationValue(ms);
      askSoon(true);
      durationField.focus();
      announce(`the duration is now ${durationField.value} s`);
    },
    takeRequest(request) {
      if (!apps.some((one) => one.name === request.app)) return;
      appField.value = request.app;
      chooseApp();
      fillFields(fields, request.arguments);
      sizeField.value = request.size ?? "";
      durationField.value = request.duration_s ?? "";
      if (request.arguments.seed) byId("make-more").open = true;
      askSoon(true);
      fields[0]?.input.focus();
    },
  };
}
