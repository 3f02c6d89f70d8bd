// The quota: the bar, its numbers, the window's countdown, advice and what fits. Owns the section
// "Quota". The countdown is made anew from the pool's time at every look, so it can neither stick
// nor drift; at its end the section says so and asks the pool.

import { byId, fillList, setAttribute, setText, show, whenChanged } from "./dom.js";
import {
  balanceTexts, ceilSecond, countdown, durationValue, instant, inUnit, moment, remaining, seconds,
  span, taken, unitFor,
} from "./format.js";
import { createTable } from "./table.js";
import { fitText } from "./words.js";

// What the window does, in one sentence.
export function windowText(balance, now, window) {
  const resets = instant(balance.resets_at);
  if (resets === null) {
    const length = window ? ` and lasts ${countdown(window.length_ms)} (h:mm:ss)` : "";
    return window?.kind === "fixed"
      ? "No window is open: one opens with your next job, and ends by the clock."
      : `No window is open: yours opens with your next job${length}.`;
  }
  if (resets <= now) {
    return window?.kind === "fixed" ? "The window is over: a new one has begun."
      : "The window is over: your next job opens a new one.";
  }
  return `The window resets in ${countdown(resets - now)} (h:mm:ss), at ` +
    `${moment(ceilSecond(resets), now)}.`;
}

export function creditsText(balance) {
  const part = (all, held, words) => {
    const amounts = [remaining(all), taken(held)];
    const unit = unitFor(amounts);
    const text = inUnit(amounts[0], unit) + words;
    return held ? `${text}, ${inUnit(amounts[1], unit)} of them held` : text;
  };
  const parts = [];
  if (balance.credits_ms || balance.credits_held_ms) {
    parts.push(part(balance.credits_ms, balance.credits_held_ms, " of credits"));
  }
  const { group } = balance;
  if (group) {
    const name = group.account.slice(group.account.indexOf(":") + 1);
    const until = group.until ? `, until ${moment(instant(group.until), Date.now())}` : "";
    parts.push(part(group.credits_ms, group.held_ms,
      ` of credits shared by group ${name}`) + until);
  }
  return parts.length > 0 ? `Beyond the quota: ${parts.join("; ")}.` : "";
}

function jobsText(balance, now) {
  const text = `${balance.open_jobs} of at most ${balance.jobs_max} jobs admitted`;
  const until = instant(balance.held_until);
  const held = until === null || until <= now ? ""
    : `; held until ${moment(ceilSecond(until), now)} at the latest, in ${span(until - now)}`;
  return `${text}${held}. One request may cost up to ${seconds(balance.longest_cost_ms)}.`;
}

export function createQuota({ store, clock, askQuota, takeDuration }) {
  const parts = ["used", "held", "left"];
  let askedFor = null; // the end of a window that was asked about

  byId("advice-use").addEventListener("click", () => {
    const { advice } = store.get().balance;
    takeDuration(advice.declare_ms, advice.app);
  });

  function bar(balance) {
    const texts = balanceTexts(balance);
    const whole = Math.max(1, balance.used_ms + balance.held_ms + balance.left_ms);
    for (const part of parts) {
      byId(`bar-${part}`).style.width = `${(100 * balance[`${part}_ms`]) / whole}%`;
      setText(byId(`quota-${part}`), texts[part]);
    }
    setText(byId("quota-allowance"), texts.allowance);
    setAttribute(byId("quota-bar"), "aria-label",
      `${texts.used} used, ${texts.held} held and ${texts.left} left of ${texts.allowance}`);
    const credits = creditsText(balance);
    setText(byId("quota-credits"), credits);
    show(byId("quota-credits"), credits !== "");
  }

  function advise({ advice }) {
    const isThere = Boolean(advice?.text);
    show(byId("advice"), isThere);
    if (!isThere) return;
    setText(byId("advice-text"), `${advice.text[0].toUpperCase()}${advice.text.slice(1)}.`);
    show(byId("advice-use"), advice.declare_ms !== null);
    if (advice.declare_ms !== null) {
      setText(byId("advice-use"), `Declare ${durationValue(advice.declare_ms)} s`);
    }
  }

  function fits(balance) {
    const list = byId("quota-fits");
    fillList(list, balance.fits.map((fit) => ({
      name: `${fit.size}, factor ${fit.factor}`, text: fitText(balance, fit),
    })));
  }

  const showTiers = whenChanged((state) => state.pool, (pool) => {
    byId("tiers").replaceChildren(createTable({
      caption: "The tiers of this pool: allowance of a window, longest cost of one request, jobs",
      columns: [
        { title: "Tier", isHead: true, cell: (tier) => tier.name },
        { title: "Allowance", class: "number", cell: (tier) => seconds(tier.allowance_ms) },
        { title: "One request", class: "number", cell: (tier) => seconds(tier.longest_cost_ms) },
        { title: "Jobs", class: "number", cell: (tier) => String(tier.jobs_max) },
      ],
      rows: pool?.tiers ?? [],
    }));
  });

  // Once for each end of a window, the pool is asked what is now.
  function askAtEnd(balance, now) {
    const resets = instant(balance.resets_at);
    if (resets === null || resets > now || askedFor === balance.resets_at) return;
    askedFor = balance.resets_at;
    askQuota();
  }

  return (state) => {
    const { balance } = state;
    const isKnown = balance !== null && state.refusedAs === null;
    show(byId("section-quota"), state.refusedAs === null);
    show(byId("quota-body"), isKnown);
    show(byId("quota-none"), !isKnown);
    if (!isKnown) return;
    const now = clock.now();
    bar(balance);
    setText(byId("window-text"), clock.isKnown() ? windowText(balance, now, state.pool?.window)
      : "This device slept, or its clock was set: the pool is asked what time it is.");
    setText(byId("quota-jobs"), jobsText(balance, now));
    advise(balance);
    fits(balance);
    showTiers(state);
    askAtEnd(balance, now);
  };
}
