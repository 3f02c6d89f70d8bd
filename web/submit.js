// Sending a request, once: under an id that the page picks, again under the same id when no answer
// came, and again under the same id on a new event stream, so that a queued job has somebody who
// waits for it. Owns which requests of this tab may still be queued.

import { announce } from "./dom.js";
import { requestId } from "./request_id.js";
import { sentenceOf } from "./api.js";

const attemptsMax = 6;
const pauseMs = 1500;

const pause = () => new Promise((resolve) => {
  setTimeout(resolve, pauseMs);
});

export function createSubmit({ store, api, clock, requests, refused, ended }) {
  const path = (stream) =>
    (stream === null ? "v1/jobs" : `v1/jobs?stream=${encodeURIComponent(stream)}`);

  // While the connection is being made again there is no stream to submit through: the request
  // waits for it, or goes without one.
  async function streamed() {
    for (let i = 0; i < attemptsMax && store.get().stream === null; i += 1) await pause();
  }

  // The first answer to an id that is asked again may be the job's receipt.
  function take(body) {
    if (body.receipt) ended(body);
    else if (body.job.state !== "ended") store.dispatch("job", body.job);
  }

  // Resolves to null, or to why it was not sent. A refusal is shown by the refusals' own view.
  async function submit(body, say) {
    await streamed(); // it brings the pool's time, which is a part of the id
    const id = requestId(clock.now());
    const request = { ...body, request: id };
    requests.add(id, { body, account: store.get().caller?.account ?? null });
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      if (attempt > 0) await streamed();
      const { stream } = store.get();
      const answer = await api.post(path(stream), request);
      if (answer.ok) {
        const { job } = answer.body;
        take(answer.body);
        if (job) {
          announce(`job ${job.job} is admitted${job.position ? `, position ${job.position}` : ""}`);
        }
        return null;
      }
      if (answer.refused) {
        refused(answer.refused, id);
        return null;
      }
      // The stream may have gone just then, and its successor be there.
      const isOver = answer.status === 400 && stream !== store.get().stream;
      if (answer.status !== 0 && !isOver) return sentenceOf(answer);
      say("The pool does not answer; the request goes again under the same id, which is one job.");
      await pause();
    }
    return "The pool does not answer. Whether it took the request shows under Jobs, once it does.";
  }

  // A new stream stands for what this tab has queued: the same id with the same body is the same
  // job, now with this stream.
  async function stand(jobs) {
    for (const job of jobs) {
      const kept = job.request ? requests.get(job.request) : null;
      const isMine = kept && kept.account === store.get().caller?.account;
      if (!isMine || job.state !== "queued" || store.get().stream === null) continue;
      const answer = await api.post(path(store.get().stream),
        { ...kept.body, request: job.request });
      if (answer.ok) take(answer.body);
    }
  }

  return { submit, stand };
}
