// The story of a job or of a refusal: what happened when, in order. Owns nothing; makes the
// elements of a disclosure, or those of an error.

import { h, timeElement } from "./dom.js";
import { instant, moment } from "./format.js";
import { sentenceOf } from "./api.js";

export function errorLine(answer) {
  return h("p", { class: "wrong" }, sentenceOf(answer));
}

export async function storyOf(api, path, clock) {
  const answer = await api.get(path);
  if (!answer.ok) return [errorLine(answer)];
  const { story } = answer.body;
  if (story.length === 0) return [h("p", { class: "quiet" }, "The pool remembers nothing of it.")];
  const now = clock.now();
  return [h("ol", { class: "story" }, story.map((one) => h("li", null,
    one.at ? timeElement(one.at, moment(instant(one.at), now)) : null, " ",
    h("span", null, one.text))))];
}
