// Refusals: the sentence, the hint, every number behind it and its story. Owns the list of them
// under the form; a refusal that has just come gets the focus, so that nobody has to look for it.

import { byId, disclosure, fillList, h, reconcile } from "./dom.js";
import { durationValue, moment } from "./format.js";
import { longestFit, refusalNumbers } from "./words.js";
import { storyOf } from "./view_story.js";

export function createRefusals({ store, api, clock, takeDuration }) {
  const list = byId("refusals");

  function create({ refusal, id, at }) {
    const title = h("h3", { tabindex: "-1", id: `refusal-${id}` }, `Refused: ${refusal.code}`);
    const numbers = h("dl", { class: "numbers" });
    const fit = longestFit(refusal.balance, refusal.size);
    const dismiss = h("button", {
      type: "button",
      class: "plain",
      onclick: () => {
        store.dispatch("dismiss", { id });
        byId("make-submit").focus();
      },
    }, "Put away");
    const use = fit === null ? null : h("button", {
      type: "button", onclick: () => takeDuration(fit, refusal.app),
    }, `Ask for ${durationValue(fit)} s`);
    const who = refusal.account
      ? `asked as ${refusal.account} (tier ${refusal.tier})` +
        `${refusal.recognised_by ? `, recognised by ${refusal.recognised_by}` : ""}` : null;
    const request = refusal.request ?? id;
    const path = `v1/refusals/${encodeURIComponent(request)}/explain`;
    const element = h("section", { class: "refusal", "aria-labelledby": title.id },
      title,
      h("p", { class: "sentence" }, refusal.sentence),
      refusal.hint ? h("p", { class: "hint" }, h("b", null, "Hint: "), refusal.hint) : null,
      refusal.rule ? h("p", { class: "rule" }, h("b", null, "Rule: "), refusal.rule) : null,
      refusal.detail && !`${refusal.sentence} ${refusal.rule}`.includes(refusal.detail)
        ? h("p", null, refusal.detail) : null,
      numbers,
      h("p", { class: "quiet" }, who, who ? ", " : "", `at ${moment(at, clock.now())}, request `,
        h("span", { class: "code" }, request)),
      disclosure("Explain", () => storyOf(api, path, clock)),
      h("div", { class: "row" }, use, dismiss));
    fillList(numbers, refusalNumbers(refusal, clock.now()));
    queueMicrotask(() => title.focus());
    return element;
  }

  return (state) => {
    reconcile(list, state.refusals, (one) => one.id, create);
  };
}
