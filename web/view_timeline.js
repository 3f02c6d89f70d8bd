// The slots of the last 15 minutes as a timeline: who had which slot, when. Owns its section. A
// span is pale while its job got ready and full while it ran; its colour is its app's.

import { byId, h, reconcile, setAttribute, setText, svg } from "./dom.js";
import { instant, moment, secondsUp, shortTime } from "./format.js";
import { createTable } from "./table.js";

const coloursMax = 6; // style.css has so many
const length = 900; // of a row, in its own units

// The rows: every slot that there is, and those that only a span knows; in order.
export function slotRows(nodes, spans) {
  const rows = new Map();
  const row = (node, slot) => {
    const key = `${node}/${slot}`;
    if (!rows.has(key)) rows.set(key, { key, node, slot, spans: [] });
    return rows.get(key);
  };
  for (const node of nodes) for (const slot of node.slots) row(node.name, slot.slot);
  for (const span of spans) row(span.node, span.slot).spans.push(span);
  return [...rows.values()].sort((a, b) =>
    (a.node < b.node ? -1 : a.node > b.node ? 1 : a.slot - b.slot));
}

// Apps by their names' order, so that a colour stays an app's while the apps stay.
export const coloursOf = (spans) =>
  [...new Set(spans.map((span) => span.app))].sort();

function words(span, now) {
  const to = instant(span.to);
  const ran = span.began === null ? "did not run"
    : `ran ${secondsUp((to ?? now) - instant(span.began))}`;
  return `job ${span.job}, ${span.app}, ${span.account}: ${ran}` +
    `${to === null ? " so far" : ""}, from ${moment(instant(span.from), now)}`;
}

function shapes(span, scale, colour, now) {
  const from = scale(instant(span.from));
  const to = scale(instant(span.to) ?? now);
  const began = span.began === null ? to : scale(instant(span.began));
  const box = (x, end, kind) => svg("rect", {
    class: `span app-${colour} ${kind}`, x, width: Math.max(1, end - x), y: 0, height: 10,
  }, svg("title", null, words(span, now)));
  const ready = began > from ? box(from, began, "ready") : null;
  const ran = began < to ? box(began, to, "ran") : null;
  return [ready, ran].filter(Boolean);
}

function table(rows, now) {
  const spans = rows.flatMap((row) => row.spans.map((span) => ({ row, span })))
    .sort((a, b) => (a.span.from < b.span.from ? 1 : -1));
  return createTable({
    caption: "Who had which slot in the last 15 minutes, the newest first",
    columns: [
      { title: "Slot", isHead: true, cell: ({ row }) => row.key },
      { title: "Job", class: "number", cell: ({ span }) => String(span.job) },
      { title: "Account", cell: ({ span }) => span.account },
      { title: "App", cell: ({ span }) => span.app },
      { title: "From", cell: ({ span }) => moment(instant(span.from), now) },
      { title: "Began", cell: ({ span }) =>
        (span.began ? moment(instant(span.began), now) : "not") },
      { title: "To", cell: ({ span }) => (span.to ? moment(instant(span.to), now) : "still") },
    ],
    rows: spans,
  });
}

export function createTimeline() {
  const list = h("ul", { class: "tracks" });
  const times = h("div", { class: "times", "aria-hidden": "true" });
  const legend = h("ul", { class: "legend" });
  const note = h("p", { class: "quiet" });
  const body = h("div", { class: "disclosed" });
  const details = h("details", null, h("summary", null, "As a table"), body);
  let shown = null;
  byId("timeline").append(list, times, legend, note, details);

  function createRow(row) {
    const drawing = svg("svg", {
      viewBox: `0 0 ${length} 10`, preserveAspectRatio: "none", role: "img",
    });
    return {
      element: h("li", null, h("span", { class: "track-name" }, row.key), drawing),
      drawing,
    };
  }

  function fillTable() {
    if (!details.open || !shown) return;
    body.replaceChildren(table(shown.rows, shown.now));
  }
  details.addEventListener("toggle", fillTable);

  return (state) => {
    const { overview } = state;
    if (overview === null || overview === shown?.overview) return;
    const { timeline } = overview;
    const from = instant(timeline.from);
    const now = instant(timeline.to);
    const scale = (at) =>
      Math.max(0, Math.min(length, (length * (at - from)) / Math.max(1, now - from)));
    const rows = slotRows(overview.nodes, timeline.spans);
    const apps = coloursOf(timeline.spans);
    reconcile(list, rows, (row) => row.key, createRow, (part, row) => {
      const count = row.spans.length;
      setAttribute(part.drawing, "aria-label",
        `${row.key}: ${count === 1 ? "1 job" : `${count} jobs`} in the last 15 minutes`);
      part.drawing.replaceChildren(...row.spans.flatMap((span) =>
        shapes(span, scale, apps.indexOf(span.app) % coloursMax, now)));
    });
    times.replaceChildren(...[from, (from + now) / 2, now].map((at) =>
      h("span", null, shortTime(at))));
    legend.replaceChildren(...apps.map((app, i) => h("li", null,
      h("span", { class: `key app-${i % coloursMax}`, "aria-hidden": "true" }), app)));
    setText(note, rows.length === 0 ? "There is no slot." : timeline.left_out > 0
      ? `${timeline.left_out} more spans were too many to show.`
      : "Pale: getting ready. Full: running.");
    const isRead = details.open && details.contains(document.activeElement);
    shown = { overview, rows, now };
    if (!isRead) fillTable();
  };
}
