// The open jobs of the account: where each is, how far, when it starts at the latest, the picture
// as it forms, and a button to cancel. Owns the section "Jobs now" and the previews it has fetched.

import { byId, h, notSaid, reconcile, setAttribute, setText, show } from "./dom.js";
import { sentenceOf } from "./api.js";
import { seconds } from "./format.js";
import { place } from "./words.js";

const previewPauseMs = 1000;

export function createJobs({ store, api, clock, requests, ended }) {
  const list = byId("jobs");

  async function cancel(job, card) {
    if (card.button.getAttribute("aria-disabled") === "true") return;
    card.button.setAttribute("aria-disabled", "true");
    const answer = await api.remove(`v1/jobs/${job}`);
    card.button.removeAttribute("aria-disabled");
    if (answer.ok && answer.body.receipt) ended(answer.body);
    else if (!answer.ok) setText(card.wrong, sentenceOf(answer));
  }

  function create(job) {
    const title = h("h3", null, `Job ${job.job}`);
    const card = {
      state: h("span", { class: "chip" }),
      about: h("p", { class: "quiet" }),
      prompt: h("p", { class: "prompt" }),
      place: h("p"),
      progress: h("progress", { "aria-label": `job ${job.job}` }),
      preview: h("img", { class: "preview", alt: "", hidden: true, width: 96, height: 96 }),
      wrong: h("p", { class: "wrong", role: "status" }),
      button: h("button", { type: "button", class: "plain small" }, "Cancel",
        h("span", { class: "sr-only" }, ` job ${job.job}`)),
      shownStep: null,
      fetching: false,
      url: null,
    };
    card.button.addEventListener("click", () => cancel(job.job, card));
    card.element = h("li", { class: "job", "data-job": job.job },
      h("div", { class: "job-text" },
        h("div", { class: "job-head" }, title, card.state, card.button),
        card.prompt, card.place, card.progress, card.about, card.wrong),
      card.preview);
    card.end = () => {
      if (card.url) URL.revokeObjectURL(card.url);
      // Who cancelled by keyboard goes on from here, not from the top of the page.
      if (card.element.contains(document.activeElement)) {
        const heading = byId("title-jobs");
        heading.tabIndex = -1;
        heading.focus();
      }
    };
    return card;
  }

  function update(card, job) {
    const now = clock.now();
    const kept = job.request ? requests.get(job.request) : null;
    card.element.dataset.state = job.state;
    setText(card.state, job.state);
    setText(card.place, place(job, now));
    setText(card.prompt, kept?.body.arguments.prompt ?? "");
    show(card.prompt, card.prompt.textContent !== "");
    const held = job.held_ms === job.declared_ms * job.factor ? ""
      : `, held ${seconds(job.held_ms)}`;
    setText(card.about, job.app ? `${job.app} at ${job.size}, factor ${job.factor}; declared ` +
      `${seconds(job.declared_ms)}${held}` : "");
    const isRunning = job.state === "running" && job.of_steps > 0;
    setAttribute(card.progress, "max", isRunning ? job.of_steps : null);
    setAttribute(card.progress, "value", isRunning ? job.step : null);
    card.progress.classList.toggle("idle", job.state === "queued");
    setAttribute(card.progress, "aria-label", `job ${job.job}: ${job.state}`);
    look(card, job.job);
  }

  // The newest preview, one request at a time.
  async function look(card, job) {
    const step = store.get().previews[job];
    const isOpen = store.get().jobs.some((one) => one.job === job);
    if (!isOpen || step === undefined || card.fetching || step === card.shownStep) return;
    card.fetching = true;
    const answer = await api.blob(`v1/jobs/${job}/preview`);
    card.shownStep = step;
    if (!card.element.isConnected) return;
    if (!answer.ok) {
      // There is none yet; the next steps are not asked about one by one.
      await new Promise((resolve) => {
        setTimeout(resolve, previewPauseMs);
      });
    }
    card.fetching = false;
    if (answer.ok) {
      const old = card.url;
      card.url = URL.createObjectURL(answer.body);
      card.preview.src = card.url;
      card.preview.alt = `preview of job ${job} at step ${step}`;
      show(card.preview, true);
      if (old) URL.revokeObjectURL(old);
    }
    look(card, job);
  }

  return (state) => {
    reconcile(list, state.jobs, (job) => job.job, create, update);
    show(byId("jobs-none"), state.jobs.length === 0);
    setText(byId("jobs-none"), state.jobsRead ? "No job is queued or running." : notSaid);
  };
}
