// What an operator sees of the pool at a glance, its refusals, its ledger and its audit, and where
// an operator speaks: accounts, announcement, any command. Owns these sections.

import { byId, fillList, h, reconcile, setText, show, whenChanged } from "./dom.js";
import { counted, grouped, instant, moment } from "./format.js";
import { createTable, poolTable } from "./table.js";
import { splitWords } from "./words.js";

// ---- At a glance --------------------------------------------------------------------------------

function figuresOf(overview, now) {
  const { slots, queue, totals } = overview;
  const started = instant(overview.started_at);
  return [
    { name: "slots busy", value: `${slots.busy} of ${slots.total}`,
      more: slots.down ? `${slots.down} down` : "none down" },
    { name: "jobs waiting", value: grouped(queue.waiting),
      more: `${grouped(totals.admitted)} admitted in all` },
    { name: "succeeded", value: grouped(totals.succeeded),
      more: `${grouped(totals.failed)} failed, ${grouped(totals.expired)} expired` },
    { name: "run again", value: grouped(totals.requeued),
      more: `${grouped(totals.cancelled)} cancelled, ${promises(totals)}` },
    { name: "commits a second", value: overview.ledger.commits_per_s.toFixed(1),
      more: `${overview.ledger.records_per_s.toFixed(1)} records` },
    { name: "up", value: started === null ? "" : upTime(now - started),
      more: started === null ? "" : `since ${moment(started, now)}` },
  ];
}

function promises({ promises_missed: missed }) {
  return missed ? `${counted(missed, "promise")} missed` : "no promise missed";
}

// "3 d 4 h", "2 h 5 min", "40 s": how long, not when, so no more than two units.
export function upTime(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const units = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => s >= size);
  if (first < 0) return "0 s";
  return units.slice(first, first + 2)
    .map(([name, size], i) => [Math.floor((i === 0 ? s : s % units[first][1]) / size), name])
    .filter(([number]) => number > 0).map((pair) => pair.join(" ")).join(" ");
}

function showFigures(overview, now) {
  reconcile(byId("figures"), figuresOf(overview, now), (one) => one.name,
    (one) => ({
      element: h("li", null, h("b"), h("span", null, one.name), h("span", { class: "quiet" })),
    }),
    ({ element }, one) => {
      setText(element.children[0], one.value);
      setText(element.children[2], one.more);
    });
}

// ---- Refusals and the ledger --------------------------------------------------------------------

function showRefused(overview) {
  const total = overview.totals.refused;
  const minute = overview.refused_last_minute;
  const hour = overview.refused_last_hour;
  const codes = [...new Set([...Object.keys(total), ...Object.keys(hour), ...Object.keys(minute)])]
    .sort((a, b) => (hour[b] ?? 0) - (hour[a] ?? 0) || (total[b] ?? 0) - (total[a] ?? 0));
  const count = (counts) => (code) => grouped(counts[code] ?? 0);
  byId("refused").replaceChildren(codes.length === 0
    ? h("p", { class: "quiet" }, "Nothing was refused since the start.")
    : createTable({
      caption: "Refusals by code: in the last minute, the last hour, and since the start",
      columns: [
        { title: "Code", isHead: true, cell: (code) => h("span", { class: "code" }, code) },
        { title: "Minute", class: "number", cell: count(minute) },
        { title: "Hour", class: "number", cell: count(hour) },
        { title: "Since start", class: "number", cell: count(total) },
      ],
      rows: codes,
    }));
}

const commitTime = (ms) => (ms === null ? "not known" : `${ms} ms`);

function showLedger(overview, now) {
  const { ledger, audit } = overview;
  fillList(byId("ledger"), [
    { name: "commits", text: grouped(ledger.commits) },
    { name: "records", text: grouped(ledger.records) },
    { name: "half of the commits took at most", text: commitTime(ledger.commit_p50_ms) },
    { name: "99 in 100 at most", text: commitTime(ledger.commit_p99_ms) },
    { name: "last record", text: grouped(ledger.last_sequence) },
  ]);
  setText(byId("audit-state"), auditText(audit, now));
  byId("audit-state").classList.toggle("bad", Boolean(audit?.findings.length));
  reconcile(byId("audit-findings"), audit?.findings ?? [], (one) => one,
    (one) => h("li", null, one));
}

function auditText(audit, now) {
  if (!audit) return "No audit since the start.";
  const holds = counted(audit.open_holds, "open hold");
  const what = `${counted(audit.accounts, "account")} and ${holds} after record ` +
    grouped(audit.sequence);
  const when = `${moment(instant(audit.at), now)} by ${audit.who}`;
  if (audit.findings.length === 0) return `The books add up: ${what}, ${when}.`;
  return `${counted(audit.findings.length, "difference")} in ${what}, ${when}. ` +
    "Keep a copy of the ledger's file before anything else.";
}

// ---- Speaking -----------------------------------------------------------------------------------

export function createOperator({ clock, operate }) {
  async function run(words, said, place = null) {
    setText(said, "asking the pool");
    const answer = await operate(words);
    if (place) {
      place.replaceChildren(...(answer.table ? poolTable(answer.table, clock.now()) : []));
      setText(said, answer.table ? "" : answer.said);
    } else {
      setText(said, answer.said);
    }
    return answer;
  }

  byId("audit-now").addEventListener("click", () => run(["audit"], byId("audit-said")));

  const accountsSaid = h("p", { class: "said", role: "status" });
  byId("accounts").after(accountsSaid);
  byId("accounts-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = byId("accounts-name").value.trim();
    run(name === "" ? ["accounts"] : ["accounts", name], accountsSaid, byId("accounts"));
  });

  byId("announce-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = byId("announce-text").value.trim();
    if (text === "") return;
    const answer = await run(["announce", text], byId("announce-said"));
    if (answer.table) byId("announce-text").value = "";
  });
  byId("announce-clear").addEventListener("click",
    () => run(["announce", "--clear"], byId("announce-said")));

  byId("operate-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const said = byId("operate-said");
    let words;
    try {
      words = splitWords(byId("operate-line").value);
    } catch (trouble) {
      setText(said, trouble.message);
      return;
    }
    if (words.length > 0) run(words, said, byId("operate-answer"));
  });

  const update = whenChanged((state) => state.overview, (overview) => {
    if (overview === null) return;
    const now = clock.now();
    showFigures(overview, now);
    showLedger(overview, now);
  });
  const refused = whenChanged((state) => JSON.stringify([
    state.overview?.totals.refused, state.overview?.refused_last_hour,
    state.overview?.refused_last_minute]), (_, state) => {
    if (state.overview) showRefused(state.overview);
  });
  return (state) => {
    show(byId("figures"), state.overview !== null);
    update(state);
    refused(state);
  };
}

