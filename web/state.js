// What the page knows, and how each event changes it. Pure: reduce(state, action) gives a new state
// and touches nothing else. An action's type is the name of an event of GET /v1/events, or of an
// answer. Everything is bounded. createStore() holds the one state and tells who listens.

const receiptsMax = 200;
const refusalsMax = 5;

export const initial = {
  connection: { name: "connecting" },
  wasLive: false, // since the page was opened
  refusedAs: null, // the error of a caller whom the pool does not recognise
  stream: null, // the id of this page's event stream, while it lives
  hello: null, // {pool, build} of the connection
  pool: null, // GET /v1/pool
  caller: null,
  balance: null,
  announcement: "",
  jobs: [], // open ones, in order of their numbers
  jobsRead: false,
  previews: {}, // job -> step of the newest preview
  receipts: [], // newest first
  receiptsRead: false,
  olderThan: null, // where the next page of receipts begins; null: there is none
  refusals: [], // [{refusal, id, at}], newest first
  overview: null,
  changes: null, // {changes, more, known_since}
  usage: null,
};

// A caller of another name: nothing of the one before may be seen.
function forgetCaller(state) {
  return {
    ...initial,
    connection: state.connection,
    wasLive: state.wasLive,
    pool: state.pool,
    hello: state.hello,
    announcement: state.announcement,
  };
}

const newest = (old, fresh) => (old && fresh && fresh.at < old.at ? old : fresh);

function withBalance(state, balance) {
  if (!balance || (state.caller && balance.account !== state.caller.account)) return state;
  return { ...state, balance: newest(state.balance, balance) };
}

function withCaller(state, caller) {
  const changed = state.caller && state.caller.account !== caller.account;
  return { ...(changed ? forgetCaller(state) : state), caller };
}

const byNumber = (a, b) => a.job - b.job;

// What was asked for does not change; an event in the middle of a run may leave it out.
const ofRequest = ["app", "size", "factor", "declared_ms", "held_ms", "admitted_at"];

// The later of two moments of a job, with what either says about its request. A list may be older
// than a step that came by itself.
function later(old, fresh) {
  if (!old) return fresh;
  const asked = fresh.app ? fresh : old;
  const request = Object.fromEntries(ofRequest.map((key) => [key, asked[key]]));
  return { ...newest(old, fresh), ...request };
}

function merged(jobs, fresh) {
  const known = new Map(jobs.map((job) => [job.job, job]));
  return fresh.map((job) => later(known.get(job.job), job)).sort(byNumber);
}

function withJob(state, job) {
  const rest = state.jobs.filter((one) => one.job !== job.job);
  const old = state.jobs.find((one) => one.job === job.job);
  if (state.receipts.some((receipt) => receipt.job === job.job)) return state; // it is over
  return { ...state, jobs: [...rest, later(old, job)].sort(byNumber) };
}

function without(object, key) {
  const { [key]: _, ...rest } = object;
  return rest;
}

const endedLater = (a, b) =>
  Date.parse(b.ended_at ?? 0) - Date.parse(a.ended_at ?? 0) || b.job - a.job;

function withReceipts(state, fresh) {
  const all = new Map(state.receipts.map((receipt) => [receipt.job, receipt]));
  for (const receipt of fresh) all.set(receipt.job, receipt);
  const receipts = [...all.values()].sort(endedLater).slice(0, receiptsMax);
  return { ...state, receipts };
}

function done(state, { receipt, balance }) {
  const next = withReceipts(withBalance(state, balance), [receipt]);
  return {
    ...next,
    jobs: next.jobs.filter((job) => job.job !== receipt.job),
    previews: without(next.previews, receipt.job),
  };
}

function jobsNow(state, fresh) {
  const over = new Set(state.receipts.map((receipt) => receipt.job));
  const open = fresh.filter((job) => !over.has(job.job));
  return { ...state, jobsRead: true, jobs: merged(state.jobs, open) };
}

const reducers = {
  phase: (state, { phase }) => ({
    ...state,
    connection: phase,
    wasLive: state.wasLive || phase.name === "live",
    stream: phase.name === "live" ? state.stream : null,
    refusedAs: phase.name === "refused" ? phase.error : phase.name === "live" ? null
      : state.refusedAs,
  }),
  hello: (state, data) => ({
    ...withCaller(state, data.caller),
    stream: data.stream,
    hello: { pool: data.pool, build: data.build },
    announcement: data.announcement ?? "",
    refusedAs: null,
  }),
  quota: (state, data) => withBalance(withCaller(state, data.caller), data.balance),
  jobs: (state, data) => jobsNow(state, data.jobs),
  job: (state, data) => withJob(state, data),
  done,
  preview: (state, data) => ({
    ...state, previews: { ...state.previews, [data.job]: data.step },
  }),
  overview: (state, data) => ({ ...state, overview: data }),
  notice: (state, data) => ({ ...state, announcement: data.text ?? "" }),
  bye: (state) => state,
  identity: (state) => forgetCaller(state),
  pool: (state, data) => ({ ...withCaller(state, data.caller), pool: data }),
  receipts: (state, { answer, isFirst }) => {
    const next = withReceipts(state, answer.receipts);
    if (isFirst && state.receiptsRead) return next; // the cursor is further down already
    const last = answer.receipts.at(-1);
    const full = next.receipts.length >= receiptsMax;
    return {
      ...next, receiptsRead: true, olderThan: answer.more && last && !full ? last.job : null,
    };
  },
  refused: (state, { refusal, id, at }) => ({
    ...withBalance(state, refusal.balance),
    refusals: [{ refusal, id, at }, ...state.refusals].slice(0, refusalsMax),
  }),
  dismiss: (state, { id }) => ({
    ...state, refusals: state.refusals.filter((one) => one.id !== id),
  }),
  changes: (state, data) => ({ ...state, changes: data }),
  usage: (state, data) => ({ ...state, usage: data }),
};

export function reduce(state, action) {
  const reducer = reducers[action.type];
  return reducer ? reducer(state, action.data ?? {}) : state;
}

// Open jobs that a list no longer has and whose end nobody told.
export function vanished(before, after) {
  const open = new Set(after.jobs.map((job) => job.job));
  const over = new Set(after.receipts.map((receipt) => receipt.job));
  return before.jobs.map((job) => job.job).filter((job) => !open.has(job) && !over.has(job));
}

// Several actions of one moment make one update.
export function createStore() {
  let state = initial;
  const listeners = [];
  let planned = false;
  const tell = () => {
    planned = false;
    for (const listener of listeners) listener(state);
  };
  return {
    get: () => state,
    dispatch(type, data) {
      const before = state;
      state = reduce(state, { type, data });
      if (state !== before && !planned) {
        planned = true;
        queueMicrotask(tell);
      }
      return { before, after: state };
    },
    subscribe(listener) {
      listeners.push(listener);
    },
  };
}
