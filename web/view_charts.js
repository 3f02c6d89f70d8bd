// Utilisation and waits of the last hour or the last day, for operators. Owns the two sections, and
// which of both times they show.

import { byId } from "./dom.js";
import { createChart } from "./chart.js";
import { grouped, instant, moment, niceCeiling, percent, secondsUp, shortTime } from "./format.js";

const waitOf = (ms) => (ms === null ? "none" : secondsUp(ms));
const most = (values) => Math.max(0, ...values.filter((one) => one !== null));

// The two choices: their words, how many periods they have, and how long one is.
const choices = {
  hour: { words: "last hour", count: 60, lengthMs: 60_000 },
  day: { words: "last day", count: 96, lengthMs: 900_000 },
};

// Of a pool that has not been there so long the time before is a gap: an hour is always an hour.
function padded(values, { count }) {
  return [...Array(Math.max(0, count - values.length)).fill(null), ...values];
}

function timesOf(periods, { count, lengthMs }) {
  if (periods.length === 0) return [];
  const end = instant(periods.at(-1).at) + lengthMs;
  return [end - count * lengthMs, end - (count / 2) * lengthMs, end].map(shortTime);
}

function columnsOf(now, ...columns) {
  return [
    { title: "From", isHead: true, cell: (row) => moment(instant(row.at), now) },
    ...columns.map((one) => ({ ...one, class: "number" })),
  ];
}

function busyChart(periods, choice, now) {
  const what = choice.words;
  const values = periods.map((one) => one.busy);
  const mean = values.reduce((sum, one) => sum + one, 0) / Math.max(1, values.length);
  const started = periods.reduce((sum, one) => sum + one.started, 0);
  const refused = periods.reduce((sum, one) => sum + one.refused, 0);
  return createChart({
    summary: `${percent(mean)} of the slots busy on average in the ${what}, ` +
      `${percent(most(values))} at most; ${grouped(started)} started, ${grouped(refused)} refused.`,
    series: [{ title: "busy", class: "busy", values: padded(values, choice), filled: true }],
    top: 1,
    scale: percent,
    times: timesOf(periods, choice),
    table: {
      caption: `Utilisation in the ${what}`,
      columns: columnsOf(now,
        { title: "Busy", cell: (row) => percent(row.busy) },
        { title: "Started", cell: (row) => grouped(row.started) },
        { title: "Refused", cell: (row) => grouped(row.refused) }),
      rows: [...periods].reverse(),
    },
  });
}

function waitChart(periods, choice, now) {
  const what = choice.words;
  const started = (key) =>
    padded(periods.map((one) => (one.started > 0 ? one[key] ?? null : null)), choice);
  const p95 = started("wait_p95_ms");
  const means = started("wait_mean_ms");
  const all = periods.reduce((sum, one) => sum + one.started, 0);
  const mean = periods.reduce((sum, one) => sum + (one.wait_mean_ms ?? 0) * one.started, 0) /
    Math.max(1, all);
  const longest = most(started("wait_max_ms"));
  return createChart({
    summary: all === 0 ? `Nothing started in the ${what}.`
      : `${secondsUp(mean)} on average in the ${what}, at most ${secondsUp(longest)}.`,
    series: [
      { title: "95 in 100 waited at most", class: "p95", values: p95, filled: true },
      { title: "mean", class: "mean", values: means, filled: false },
    ],
    top: niceCeiling(Math.max(1000, most(p95), most(means))),
    scale: (ms) => `${ms / 1000} s`,
    times: timesOf(periods, choice),
    table: {
      caption: `Waits in the ${what}`,
      columns: columnsOf(now,
        { title: "Started", cell: (row) => grouped(row.started) },
        { title: "Mean", cell: (row) => waitOf(row.started ? row.wait_mean_ms : null) },
        { title: "95 in 100 at most", cell: (row) => waitOf(row.started ? row.wait_p95_ms : null) },
        { title: "Longest at most",
          cell: (row) => waitOf(row.started ? row.wait_max_ms : null) }),
      rows: [...periods].reverse(),
    },
  });
}

export function createCharts({ store, clock }) {
  let choice = "hour";
  let drawn = "";

  function draw(state) {
    const periods = state.overview?.[choice] ?? [];
    // The newest minute grows until it is over; drawn again only when something in it changed.
    const key = `${choice} ${periods.length} ${JSON.stringify(periods.at(-1) ?? null)}`;
    if (key === drawn || state.overview === null) return;
    // Who reads one of the tables is not interrupted.
    const charts = [byId("chart-busy"), byId("chart-waits")];
    const isRead = charts.some((one) => one.querySelector("details[open]"));
    if (isRead && drawn.startsWith(choice)) return;
    drawn = key;
    const now = clock.now();
    byId("chart-busy").replaceChildren(...busyChart(periods, choices[choice], now));
    byId("chart-waits").replaceChildren(...waitChart(periods, choices[choice], now));
  }

  for (const one of ["hour", "day"]) {
    byId(`show-${one}`).addEventListener("click", () => {
      choice = one;
      for (const other of ["hour", "day"]) {
        byId(`show-${other}`).setAttribute("aria-pressed", String(other === choice));
      }
      draw(store.get());
    });
  }
  return draw;
}
