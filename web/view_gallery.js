// The finished pictures, newest first, fetched when they come into sight, and one of them large.
// Owns the section "Pictures" and the dialog.

import { byId, h, notSaid, reconcile, setText, show, whenChanged } from "./dom.js";
import { bytes, instant, moment } from "./format.js";
import { sentenceOf } from "./api.js";
import { arithmetic } from "./words.js";

const shownMax = 60;
const againMs = 5000; // after a picture that did not come

export const isPicture = (receipt) =>
  receipt.result !== null && receipt.result.media_type.startsWith("image/");

export function createGallery({ clock, pictures, requests, takeRequest }) {
  const list = byId("gallery");
  const viewer = byId("viewer");
  let shown = null; // the receipt in the dialog

  const promptOf = (receipt) => requests.get(receipt.request)?.body.arguments?.prompt ?? null;
  const nameOf = (receipt) => promptOf(receipt) ?? `${receipt.app}, job ${receipt.job}`;

  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watch.unobserve(entry.target);
      entry.target.load();
    }
  }, { rootMargin: "300px" });

  function create(receipt) {
    const image = h("img", { alt: "", width: 160, height: 160, hidden: true });
    const note = h("span", { class: "tile-note" }, "");
    const name = nameOf(receipt);
    const button = h("button", {
      type: "button", class: "tile", disabled: true, "aria-label": `${name}, show it large`,
    }, image, note);
    const element = h("li", { "data-job": receipt.job }, button,
      h("span", { class: "caption" }, name));
    element.load = async () => {
      const { url, answer } = await pictures.fetch(receipt.job);
      if (url) {
        image.src = url;
        setText(note, "");
        show(image, true);
        button.disabled = false;
        button.addEventListener("click", () => open(receipt));
      } else {
        const isGone = answer.status === 404 || answer.status === 410;
        setText(note, isGone ? "no longer kept" : sentenceOf(answer));
        if (!isGone) setTimeout(() => watch.observe(element), againMs);
      }
    };
    watch.observe(element);
    return { element, end: () => watch.unobserve(element) };
  }

  async function open(receipt) {
    const { url, answer } = await pictures.fetch(receipt.job);
    if (!url) return;
    shown = receipt;
    const kept = requests.get(receipt.request);
    const seed = kept?.body.arguments?.seed;
    setText(byId("viewer-title"), nameOf(receipt));
    byId("viewer-image").src = url;
    byId("viewer-image").alt = `picture of job ${receipt.job}: ${nameOf(receipt)}`;
    setText(byId("viewer-about"), `Job ${receipt.job}, ` +
      `${moment(instant(receipt.ended_at), clock.now())}, ${bytes(receipt.result.bytes)}` +
      `${seed ? `, seed ${seed}` : ""}; ${arithmetic(receipt)}.`);
    const save = byId("viewer-save");
    save.href = url;
    save.download = `${receipt.app}-${receipt.job}.${answer.body.type.split("/")[1] || "png"}`;
    show(byId("viewer-again"), Boolean(kept));
    viewer.showModal();
  }

  byId("viewer-close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close(); // beside it
  });
  byId("viewer-again").addEventListener("click", () => {
    const kept = requests.get(shown.request);
    viewer.close();
    if (kept) takeRequest(kept.body);
  });

  const update = whenChanged((state) => state.receipts, (receipts) => {
    const found = receipts.filter(isPicture).slice(0, shownMax);
    reconcile(list, found, (receipt) => receipt.job, create);
    show(byId("gallery-none"), found.length === 0);
  });
  return (state) => {
    update(state);
    setText(byId("gallery-none"), state.receiptsRead
      ? "No picture yet. One that is made stays here as long as the pool keeps it." : notSaid);
  };
}
