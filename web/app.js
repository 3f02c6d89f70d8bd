// The page: makes its parts, gives each event to the state and the state to the views, and asks the
// pool for what events do not bring. Owns which view is shown and the tick that moves the times.

import { announce, byId, setText, show } from "./dom.js";
import { createApi } from "./api.js";
import { createClock } from "./clock.js";
import { createCharts } from "./view_charts.js";
import { createGallery } from "./view_gallery.js";
import { createHistory } from "./view_history.js";
import { createJobs } from "./view_jobs.js";
import { createMake } from "./view_make.js";
import { createNodes, createQueue } from "./view_nodes.js";
import { createOperate } from "./operate.js";
import { createOperator } from "./view_operator.js";
import { createPictures } from "./pictures.js";
import { createQuota } from "./view_quota.js";
import { createReceipts } from "./view_receipts.js";
import { createRefusals } from "./view_refusals.js";
import { createRequestKeeper, createTokenKeeper } from "./keep.js";
import { createStore, vanished } from "./state.js";
import { createStream } from "./stream.js";
import { createSubmit } from "./submit.js";
import { createTimeline } from "./view_timeline.js";
import { createConnection, createYou } from "./view_you.js";
import { endedText } from "./words.js";
import { zoneName } from "./format.js";

const tickMs = 500;
const weekS = 7 * 86_400;
const graceMs = 1000; // for an end that comes by itself
const soonMs = 1500;

const store = createStore();
const clock = createClock();
const token = createTokenKeeper();
const requests = createRequestKeeper();
const api = createApi(() => token.get());
const pictures = createPictures(api);

// ---- Asking -------------------------------------------------------------------------------------

async function ask(path, type) {
  const answer = await api.get(path);
  if (answer.ok) store.dispatch(type, answer.body);
  return answer;
}

async function askQuota() {
  const answer = await ask("v1/quota", "quota");
  if (answer.ok) clock.observe(answer.body.balance.at);
}

async function askPool() {
  const answer = await ask("v1/pool", "pool");
  if (answer.ok) clock.observe(answer.body.now);
}

async function askReceipts() {
  const answer = await api.get("v1/receipts?limit=20");
  if (answer.ok) store.dispatch("receipts", { answer: answer.body, isFirst: true });
}

const askUsage = () => ask("v1/usage?days=31", "usage");
const askChanges = () => ask(`v1/changes?since_s=${weekS}&limit=50`, "changes");

// What only changes when something else did is asked a moment later, and once for several.
const planned = new Map();
function soon(question) {
  if (planned.has(question)) return;
  planned.set(question, setTimeout(() => {
    planned.delete(question);
    question();
  }, soonMs));
}

function askAll() {
  for (const question of [askPool, askReceipts, askUsage, askChanges]) question();
}

// ---- Events -------------------------------------------------------------------------------------

function ended(data) {
  const isNew = !store.get().receipts.some((receipt) => receipt.job === data.receipt.job);
  store.dispatch("done", data);
  if (isNew) announce(endedText(data.receipt));
  soon(askUsage);
}

// The end of a job that is another connection's comes only as its absence.
function lookFor(job) {
  setTimeout(async () => {
    if (store.get().receipts.some((receipt) => receipt.job === job)) return;
    const answer = await api.get(`v1/jobs/${job}`);
    if (answer.ok && answer.body.receipt) ended(answer.body);
  }, graceMs);
}

let standsFor = null; // the stream that has taken over what this tab had queued

function onEvent(name, data) {
  if (name === "hello") clock.forget(); // perhaps another machine answers now
  const time = data.now ?? (name === "overview" ? data.at : data.balance?.at);
  if (time) clock.observe(time);
  if (name === "hello") {
    askAll();
  } else if (name === "done") {
    ended(data);
    return;
  }
  const { before, after } = store.dispatch(name, data);
  // A short job of another connection may come and go unseen; its charge does not.
  if (name === "quota" && before.balance && before.balance.used_ms !== data.balance.used_ms) {
    soon(askReceipts);
  }
  if (name === "jobs") {
    vanished(before, after).forEach(lookFor);
    if (standsFor !== after.stream) {
      standsFor = after.stream;
      submit.stand(after.jobs);
    }
  }
  if (name === "hello" && before.hello && before.hello.build !== data.build) newBuild = true;
}

let newBuild = false;

// ---- The parts ----------------------------------------------------------------------------------

const stream = createStream(api, onEvent, (phase) => store.dispatch("phase", { phase }));

function useIdentity() {
  requests.clear();
  pictures.clear();
  standsFor = null;
  store.dispatch("identity");
  stream.start();
}

const parts = { store, api, clock, token, requests, pictures, useIdentity, askQuota, ended };
parts.operate = createOperate(parts);
parts.refused = (refusal, id) => store.dispatch("refused", { refusal, id, at: clock.now() });
const submit = createSubmit(parts);
const make = createMake({ ...parts, submit: submit.submit });
parts.takeDuration = make.takeDuration;
parts.takeRequest = make.takeRequest;

const views = {
  always: [createYou(parts), createConnection({ ...parts, stream }), showFrame],
  yours: [
    createQuota(parts), make.update, createRefusals(parts), createJobs(parts),
    createGallery(parts), createReceipts(parts),
  ],
  pool: [
    createOperator(parts), createCharts(parts), createTimeline(), createNodes(parts),
    createQueue(parts),
  ],
  both: [createHistory(parts)],
};

// ---- The frame ----------------------------------------------------------------------------------

let wantedView = "yours";
let shownView = "yours";

// Other fragments, such as the skip link's, are no views.
function readFragment() {
  if (location.hash === "#pool" || location.hash === "#yours") wantedView = location.hash.slice(1);
}

function chosenView(state) {
  return wantedView === "pool" && state.caller?.operator ? "pool" : "yours";
}

function showFrame(state) {
  const view = chosenView(state);
  show(byId("views"), Boolean(state.caller?.operator));
  for (const one of ["yours", "pool"]) {
    show(byId(`view-${one}`), one === view);
    if (one === view) byId(`link-${one}`).setAttribute("aria-current", "page");
    else byId(`link-${one}`).removeAttribute("aria-current");
  }
  const name = state.hello?.pool ?? "gpupool";
  setText(byId("pool-name"), name);
  const title = view === "pool" ? `The pool - ${name}` : name;
  if (document.title !== title) document.title = title;
  setText(byId("announcement"), state.announcement);
  setText(byId("foot-pool"), state.hello
    ? `${state.hello.pool}, build ${state.hello.build}. ${newBuild
      ? "The pool was updated: reload the page to have its new one. " : ""}` : "");
  const zone = zoneName(-new Date().getTimezoneOffset());
  setText(byId("foot-zone"), zone === "UTC" ? "All times are UTC."
    : `Times of this page are ${zone}, those in the pool's sentences UTC.`);
  show(byId("column-jobs"), state.refusedAs === null);
}

function update(state) {
  for (const view of views.always) view(state);
  const view = chosenView(state);
  for (const part of [...views[view], ...views.both]) part(state);
}

window.addEventListener("hashchange", () => {
  readFragment();
  const view = chosenView(store.get());
  update(store.get());
  if (view === shownView) return;
  shownView = view;
  if (view === "pool") askChanges();
  window.scrollTo(0, 0);
});

store.subscribe(update);
setInterval(() => {
  if (clock.jumped()) stream.start(); // which says what time it is
  update(store.get());
}, tickMs);
readFragment();
update(store.get());
stream.start();
