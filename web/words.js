// Sentences of the page about jobs, receipts, quotes and refusals. Pure functions of the pool's
// JSON and of a moment; the words are those of docs and CLI (design section 1).

import {
  ceilSecond, counted, exactly, inUnit, instant, moment, remaining, seconds, secondsDown, shown,
  span, taken, timeOfDay, unitFor,
} from "./format.js";

const amountsOf = (receipt) => ({
  declared: exactly(receipt.declared_ms),
  held: exactly(receipt.held_ms),
  ran: taken(receipt.ran_ms),
  charged: taken(receipt.charged_ms),
  back: remaining(receipt.given_back_ms),
});

// The coarsest unit in which a receipt's sums are true.
function unitOf(receipt) {
  const { declared, held, ran, charged, back } = amountsOf(receipt);
  // The charge is no product when it was cut at the hold, or is 0 for the pool's fault.
  const product = (u) => shown(ran, u) * receipt.factor === shown(charged, u);
  const isProduct = product(1);
  return unitFor([declared, held, ran, charged, back], (u) =>
    shown(charged, u) + shown(back, u) === shown(held, u) && (!isProduct || product(u)));
}

// What a receipt charges, as its arithmetic has it.
export const chargeText = (receipt) => inUnit(taken(receipt.charged_ms), unitOf(receipt));

// "declared 60.0 s, ran 3.2 s x 1, held 60.0 s, charged 3.2 s, 56.8 s given back".
export function arithmetic(receipt) {
  const { declared, held, ran, back } = amountsOf(receipt);
  const unit = unitOf(receipt);
  const text = (one) => inUnit(one, unit);
  return `declared ${text(declared)}, ran ${text(ran)} x ${receipt.factor}, held ${text(held)}, ` +
    `charged ${chargeText(receipt)}, ${text(back)} given back${creditsPart(receipt)}`;
}

function creditsPart(receipt) {
  if (!receipt.held_credits_ms) return "";
  const from = receipt.credits_from ? `the credits of group ${afterColon(receipt.credits_from)}`
    : "credits";
  return `; of ${from} were held ${seconds(receipt.held_credits_ms)} and charged ` +
    seconds(receipt.charged_credits_ms);
}

const afterColon = (account) => account.slice(account.indexOf(":") + 1);

const poolFaults = new Set(["executor_crashed", "executor_stalled", "node_lost", "device_failed",
  "lease_refused", "result_not_stored", "ledger_unavailable"]);

// Why a receipt is of nothing; null: it is not, or there is nothing to explain.
function uncharged(receipt) {
  if (receipt.charged_ms !== 0 || receipt.outcome === "succeeded") return null;
  if (receipt.outcome === "failed" && poolFaults.has(receipt.cause)) {
    return "the pool's fault: nothing is charged";
  }
  return receipt.ran_ms || receipt.cause === "program_failed" ? null
    : "it had not begun to run: nothing is charged";
}

// What a receipt says beside its arithmetic: the wait, the cause, the attempts.
export function receiptNotes(receipt) {
  const notes = [];
  if (receipt.waited_ms === null) notes.push("never started");
  else notes.push(`waited ${seconds(Math.ceil(receipt.waited_ms / 100) * 100)}`);
  if (receipt.node) notes.push(`on ${receipt.node}`);
  if (receipt.cause) notes.push(receipt.cause.replaceAll("_", " "));
  if (receipt.detail) notes.push(receipt.detail);
  if (receipt.outcome === "expired" && !receipt.cause) {
    notes.push(`stopped at its declared end of ${seconds(receipt.declared_ms)}`);
  }
  const nothing = uncharged(receipt);
  if (nothing) notes.push(nothing);
  if (receipt.exit_code) notes.push(`exit code ${receipt.exit_code}`);
  if (receipt.signal) notes.push(`signal ${receipt.signal}`);
  if (receipt.attempts > 1) {
    notes.push(`${receipt.attempts} attempts, the lost ones at the pool's cost`);
  }
  return notes;
}

// When a start is likely: "at once", "in 12 s", "in 12 s to 31 s", or null if it is not foreseen.
export function likelyStart(wish, now) {
  const likely = instant(wish.likely_start);
  if (likely === null) return null;
  const latest = instant(wish.likely_latest_start) ?? likely;
  if (likely <= now && latest <= now) return "at once";
  const first = span(likely - now);
  const last = span(latest - now);
  return latest > likely && first !== last ? `in ${first} to ${last}` : `in ${first}`;
}

// "starts by 14:03:22 at the latest, likely in 12 s".
export function promise(job, now) {
  const parts = [];
  const latest = instant(job.promised_start);
  if (latest !== null) parts.push(`starts by ${moment(ceilSecond(latest), now)} at the latest`);
  const likely = likelyStart(job, now);
  if (likely) parts.push(`likely ${likely}`);
  return parts.join(", ");
}

// Where a job is, in one line.
export function place(job, now) {
  const parts = [];
  if (job.state === "queued") {
    parts.push(job.position ? `position ${job.position}` : "waiting");
    const text = promise(job, now);
    if (text) parts.push(text);
  } else if (job.state === "starting") {
    parts.push(`getting ready${job.node ? ` on ${job.node}` : ""}`);
  } else if (job.state === "running") {
    const where = job.node ? ` on ${job.node}` : "";
    parts.push((job.of_steps ? `step ${job.step} of ${job.of_steps}` : "under way") + where);
  } else {
    parts.push("the receipt is being written");
  }
  const until = instant(job.held_until);
  if (until !== null) parts.push(`held until ${timeOfDay(ceilSecond(until))} so far`);
  if (job.attempt > 1) parts.push(`attempt ${job.attempt}, the lost ones at the pool's cost`);
  if (job.notice) parts.push(job.notice);
  return parts.join("; ");
}

// The lines of a quote: [{name, text}].
export function quoteLines(quote, now) {
  const at = `${seconds(quote.declared_ms)} at ${quote.size}, factor ${quote.factor}`;
  let cost = `${seconds(quote.cost_ms)} at most (${at})`;
  if (quote.first_held_ms < quote.declared_ms) {
    cost += `; ${seconds(quote.first_held_cost_ms)} held at first, more while it runs`;
  }
  let left = `${secondsDown(quote.left_ms)} of ${seconds(quote.balance.allowance_ms)} ` +
    "while it is held";
  if (quote.held_credits_ms) left += `, and ${seconds(quote.held_credits_ms)} of credits held`;
  const ahead = quote.jobs_ahead === 0 ? "nobody waits before it"
    : quote.jobs_ahead === 1 ? "1 job waits before it" : `${quote.jobs_ahead} jobs wait before it`;
  const latest = instant(quote.promised_start);
  const lines = [
    { name: "costs", text: `${cost}; only what it really runs is charged` },
    { name: "leaves", text: left },
    { name: "likely", text: `${likelyWords(quote, now)}; ${ahead}` },
  ];
  if (latest !== null) {
    lines.push({
      name: "promised",
      text: `a start by ${moment(ceilSecond(latest), now)}, ` +
        `${latest > now ? `in ${span(latest - now)}, ` : ""}whatever comes meanwhile`,
    });
  }
  return lines;
}

function likelyWords(quote, now) {
  const likely = likelyStart(quote, now);
  return likely ? `a start ${likely}` : "not foreseen";
}

// One line for the screen reader, of what the lines of a quote say.
export function quoteSummary(quote, now) {
  return `costs ${seconds(quote.cost_ms)} at most, leaves ${secondsDown(quote.left_ms)}, ` +
    `a start ${likelyStart(quote, now) ?? "is not foreseen"}`;
}

export function fitText(balance, fit) {
  if (!fit.offered) return "not offered by this pool";
  if (balance.open_jobs >= balance.jobs_max) {
    return "nothing now: as many jobs as may be are admitted";
  }
  return fit.longest_ms >= 100 ? `up to ${secondsDown(fit.longest_ms)}` : "nothing now";
}

// What `want` and `have` of a refusal are; of all others the names below stand for themselves.
const wantHave = {
  illegal_duration: ["asked for", "longest allowed"],
  too_many_jobs: ["with this one", "at most"],
  size_unavailable: ["slots needed", "largest shape"],
  promise_too_late: ["longest wait", "can be promised"],
  overloaded: ["with this one", "at most"],
};

// All numbers of a refusal: [{name, text}].
export function refusalNumbers(refusal, now) {
  const rows = [];
  const row = (name, text) => rows.push({ name, text });
  if (refusal.cost_ms) {
    row("cost", `${seconds(refusal.cost_ms)} (${seconds(refusal.declared_ms)} at ` +
      `${refusal.size ?? "its size"}, factor ${refusal.factor})`);
  }
  if (refusal.unit && refusal.code !== "quota_exceeded") {
    const [want, have] = wantHave[refusal.code] ?? ["wanted", "there is"];
    row(want, inWords(refusal.want, refusal.unit));
    row(have, inWords(refusal.have, refusal.unit));
  }
  const balance = refusal.balance;
  if (!balance) return rows;
  row("left", secondsDown(balance.left_ms));
  row("held", seconds(balance.held_ms));
  row("used", inUnit(taken(balance.used_ms), 100));
  row("allowance", seconds(balance.allowance_ms));
  if (balance.credits_ms) row("credits", secondsDown(balance.credits_ms));
  row("one request", `up to ${seconds(balance.longest_cost_ms)}`);
  row("jobs", `${balance.open_jobs} of at most ${balance.jobs_max} admitted`);
  const until = instant(balance.held_until);
  if (until !== null) row("a hold frees by", `${moment(ceilSecond(until), now)} at the latest`);
  const resets = instant(balance.resets_at);
  row("window", resets === null ? "none is open" : `resets at ${moment(ceilSecond(resets), now)}`);
  for (const fit of balance.fits) row(`fits now, ${fit.size}`, fitText(balance, fit));
  return rows;
}

// "4 jobs", "7.5 s", "signal 9".
export function inWords(amount, unit) {
  if (amount === null) return "not known";
  if (unit === "ms") return seconds(amount);
  if (!unit.endsWith("s")) return `${unit} ${amount}`;
  return counted(amount, unit.slice(0, -1));
}

// The longest duration that would be admitted now at the size that was asked for; null: none.
export function longestFit(balance, size) {
  const fit = balance?.fits?.find((one) => one.size === size && one.offered);
  return fit && fit.longest_ms >= 100 && balance.open_jobs < balance.jobs_max ? fit.longest_ms
    : null;
}

// What an outcome means to somebody who listens.
export function endedText(receipt) {
  return `job ${receipt.job} ${receipt.outcome}, charged ${inUnit(taken(receipt.charged_ms), 100)}`;
}

// "tier free, allowance: 180 s -> 210 s". The pool gives the values as text.
export function changeText(change) {
  const what = [change.kind, change.subject].filter(Boolean).join(" ") +
    (change.field ? `, ${change.field}` : "");
  if (!change.before) return `${what}: ${change.after || "set"}`;
  if (!change.after) return `${what}: ${change.before}, which is gone`;
  return `${what}: ${change.before} -> ${change.after}`;
}

// The words of an operator's line; quotes keep spaces together. Throws on an open quote.
export function splitWords(line) {
  const words = [];
  const pattern = /\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s"']+))/gy;
  let end = 0;
  for (let match = pattern.exec(line); match; match = pattern.exec(line)) {
    words.push(match[1]?.replace(/\\(.)/g, "$1") ?? match[2] ?? match[3]);
    end = pattern.lastIndex;
  }
  if (line.slice(end).trim() !== "") throw new Error("a quote is not closed");
  return words;
}
