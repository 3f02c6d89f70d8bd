// Receipts: the arithmetic of every charge spelled out, why a job ended as it did, its story, its
// log and what it made. Owns the section "Receipts".

import {
  byId, disclosure, h, notSaid, reconcile, setText, show, timeElement, whenChanged,
} from "./dom.js";
import { bytes, instant, moment, secondsDown } from "./format.js";
import { sentenceOf } from "./api.js";
import { arithmetic, chargeText, receiptNotes } from "./words.js";
import { errorLine, storyOf } from "./view_story.js";
import { isPicture } from "./view_gallery.js";

const logShownMax = 100_000; // characters; the whole log is a file to save

export function createReceipts({ store, api, clock, requests }) {
  const list = byId("receipts");
  const more = byId("receipts-more");

  async function save(receipt, button) {
    const answer = await api.blob(`v1/jobs/${receipt.job}/result`);
    if (!answer.ok) {
      setText(button.nextElementSibling, sentenceOf(answer));
      return;
    }
    const url = URL.createObjectURL(answer.body);
    h("a", { href: url, download: `${receipt.app}-${receipt.job}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  function saving(receipt) {
    if (!receipt.result || isPicture(receipt)) return null;
    const button = h("button", { type: "button", class: "small" },
      `Save the result (${bytes(receipt.result.bytes)})`);
    button.addEventListener("click", () => save(receipt, button));
    return h("div", { class: "row" }, button, h("span", { class: "wrong", role: "status" }));
  }

  async function logOf(receipt) {
    const answer = await api.text(`v1/jobs/${receipt.job}/log`);
    if (!answer.ok) return [errorLine(answer)];
    const text = answer.body;
    const isCut = text.length > logShownMax;
    return [h("pre", { tabindex: "0", role: "region", "aria-label": `log of job ${receipt.job}` },
      isCut ? text.slice(-logShownMax) : text || "it wrote nothing"),
    isCut ? h("p", { class: "quiet" }, "The end of a longer log: gpupool logs has all of it.")
      : null].filter(Boolean);
  }

  function create(receipt) {
    const prompt = requests.get(receipt.request)?.body.arguments?.prompt;
    const name = `job ${receipt.job}`;
    const notes = receiptNotes(receipt);
    return h("li", { class: "receipt", "data-outcome": receipt.outcome, "data-job": receipt.job },
      h("div", { class: "receipt-head" },
        h("h3", null, `Job ${receipt.job}`),
        h("span", { class: "chip" }, receipt.outcome),
        h("span", null, `${receipt.app}, ${receipt.size}`),
        h("span", { class: "quiet" },
          timeElement(receipt.ended_at, moment(instant(receipt.ended_at), clock.now()))),
        h("b", { class: "charged" }, chargeText(receipt))),
      prompt ? h("p", { class: "prompt" }, prompt) : null,
      h("p", { class: "arithmetic" }, arithmetic(receipt)),
      h("p", { class: "quiet" }, `${notes.join("; ")}; ${secondsDown(receipt.left_ms)} left then`),
      saving(receipt),
      h("div", { class: "more" },
        disclosure(h("span", null, "Explain", h("span", { class: "sr-only" }, ` ${name}`)),
          () => storyOf(api, `v1/jobs/${receipt.job}/explain`, clock)),
        receipt.log ? disclosure(h("span", null, "Log", h("span", { class: "sr-only" },
          ` of ${name}`)), () => logOf(receipt)) : null));
  }

  more.addEventListener("click", async () => {
    const before = store.get().olderThan;
    if (before === null) return;
    const last = list.lastElementChild;
    const answer = await api.get(`v1/receipts?limit=20&before=${before}`);
    if (answer.ok) store.dispatch("receipts", { answer: answer.body, isFirst: false });
    else more.before(errorLine(answer));
    queueMicrotask(() => last?.nextElementSibling?.querySelector("summary")?.focus());
  });

  const update = whenChanged((state) => state.receipts, (receipts) => {
    reconcile(list, receipts, (receipt) => receipt.job, create);
  });
  return (state) => {
    update(state);
    show(byId("receipts-none"), state.receipts.length === 0);
    setText(byId("receipts-none"), state.receiptsRead ? "No job is over yet." : notSaid);
    show(more, state.olderThan !== null);
  };
}
