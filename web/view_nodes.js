// The nodes with their slots, and draining them; the queue, and cancelling anybody's job. Owns both
// sections of the operator's view.

import { byId, h, reconcile, setText, show, whenChanged } from "./dom.js";
import { ceilSecond, counted, instant, moment, seconds, span } from "./format.js";
import { frame } from "./table.js";
import { askTwice } from "./operate.js";
import { likelyStart } from "./words.js";

// ---- Nodes --------------------------------------------------------------------------------------

function slotText(slot, now) {
  const parts = [];
  if (slot.job !== null) {
    parts.push(`job ${slot.job}, ${slot.app}, ${slot.account}`);
    const since = instant(slot.since);
    if (since !== null) parts.push(`since ${moment(since, now)}`);
    const ends = instant(slot.ends_by);
    if (ends !== null) parts.push(`ends by ${moment(ceilSecond(ends), now)}`);
  } else if (slot.warm_app) {
    parts.push(`${slot.warm_app} is warm`);
  }
  if (slot.partition && slot.partition !== "default") parts.push(`partition ${slot.partition}`);
  if (slot.reservation) parts.push(`reserved for ${slot.reservation}`);
  if (slot.why) parts.push(slot.why);
  return parts.join("; ");
}

function createSlot(slot) {
  const state = h("span", { class: "chip" });
  const text = h("span");
  return {
    element: h("li", null, h("span", { class: "slot-name" }, `slot ${slot.slot}`), state, text),
    state,
    text,
  };
}

export function createNodes({ clock, operate }) {
  const list = byId("nodes");

  function create(node) {
    const part = {
      state: h("span", { class: "chip" }),
      about: h("p", { class: "quiet" }),
      slots: h("ul", { class: "slots" }),
      button: h("button", { type: "button", class: "small" }),
      word: "drain",
    };
    part.button.addEventListener("click", async () => {
      const { said } = await operate([part.word, node.name]);
      setText(byId("nodes-said"), said);
    });
    part.element = h("li", { class: "node" },
      h("div", { class: "node-head" }, h("h3", null, node.name), part.state, part.button),
      part.about, part.slots);
    return part;
  }

  function update(part, node) {
    const now = clock.now();
    setText(part.state, node.state);
    part.element.dataset.state = node.state;
    part.word = node.state === "draining" ? "resume" : "drain";
    setText(part.button, part.word === "drain" ? `Drain ${node.name}` : `Resume ${node.name}`);
    show(part.button, node.state !== "lost");
    const seen = instant(node.seen_at);
    setText(part.about, [
      ...node.devices, `build ${node.build}`,
      seen === null ? null : `seen ${now - seen < 5000 ? "just now" : `${span(now - seen)} ago`}`,
    ].filter(Boolean).join("; "));
    reconcile(part.slots, node.slots, (slot) => slot.slot, createSlot, (one, slot) => {
      one.element.dataset.state = slot.state;
      setText(one.state, slot.state);
      setText(one.text, slotText(slot, now));
    });
  }

  return whenChanged((state) => state.overview, (overview) => {
    const nodes = overview?.nodes ?? [];
    reconcile(list, nodes, (node) => node.name, create, update);
    show(byId("nodes-none"), overview !== null && nodes.length === 0);
  });
}

// ---- Queue --------------------------------------------------------------------------------------

const columns = [
  ["Job", "number"], ["State"], ["Position", "number"], ["Account"], ["App"],
  ["Declared", "number"], ["Starts by"], ["Likely"], ["Node"], [""],
];

export function createQueue({ clock, operate }) {
  const body = h("tbody");
  const note = h("p", { class: "quiet" });
  const heads = columns.map(([title, kind]) => (title === ""
    ? h("td", null, h("span", { class: "sr-only" }, "Cancel"))
    : h("th", { scope: "col", class: kind }, title)));
  const table = frame("Open jobs of all accounts", h("table", null,
    h("caption", { class: "sr-only" }, "Open jobs of all accounts, the oldest first"),
    h("thead", null, h("tr", null, ...heads)), body));
  byId("queue").append(table, note);

  function create(job) {
    const cells = columns.slice(1, -1).map(([, kind]) => h("td", { class: kind }));
    const button = h("button", { type: "button", class: "small" }, "Cancel",
      h("span", { class: "sr-only" }, ` job ${job.job}`));
    askTwice(button, `Really cancel job ${job.job}`, async () => {
      const { said } = await operate(["cancel", String(job.job)]);
      setText(byId("queue-said"), said);
    });
    const element = h("tr", null, h("th", { scope: "row", class: "number" }, String(job.job)),
      ...cells, h("td", null, button));
    return { element, cells };
  }

  function update(part, job) {
    const now = clock.now();
    const promised = instant(job.promised_start);
    const isQueued = job.state === "queued";
    const likely = isQueued
      ? likelyStart({ likely_start: job.likely_start, likely_latest_start: null }, now) : null;
    const texts = [
      job.state, job.position ? String(job.position) : "", `${job.account} (${job.tier})`,
      `${job.app}, ${job.size}`, seconds(job.declared_ms),
      isQueued && promised !== null ? moment(ceilSecond(promised), now) : "", likely ?? "",
      job.node ?? "",
    ];
    part.cells.forEach((cell, i) => setText(cell, texts[i]));
  }

  return whenChanged((state) => state.overview, (overview) => {
    if (overview === null) return;
    const { jobs, waiting, more } = overview.queue;
    reconcile(body, jobs, (job) => job.job, create, update);
    show(table, jobs.length > 0);
    setText(note, `${counted(waiting, "job")} ${waiting === 1 ? "waits" : "wait"} for a slot` +
      `${more ? `; these are the oldest ${jobs.length}` : ""}.`);
  });
}
