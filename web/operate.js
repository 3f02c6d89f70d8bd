// One operator's command: its words to the pool, and what it answered. Owns nothing.

import { sentenceOf } from "./api.js";
import { requestId } from "./request_id.js";

const needsId = new Set(["grant", "adjust"]); // an order that is sent twice happens once

export function createOperate({ api, clock }) {
  return async function operate(words) {
    const all = needsId.has(words[0]) && !words.includes("--id")
      ? [...words, "--id", requestId(clock.now())] : words;
    const answer = await api.post("v1/operate", { words: all });
    if (answer.ok) return { table: answer.body, said: answer.body.note ?? "done" };
    return { table: null, said: sentenceOf(answer) };
  };
}

// A button that asks once more before it does what cannot be taken back.
export function askTwice(button, question, act) {
  const label = [...button.childNodes];
  let asked = false;
  const back = () => {
    if (!asked) return;
    asked = false;
    button.replaceChildren(...label);
    button.classList.remove("sure");
  };
  button.addEventListener("click", () => {
    if (asked) {
      back();
      act();
      return;
    }
    asked = true;
    button.replaceChildren(question);
    button.classList.add("sure");
  });
  button.addEventListener("blur", back);
  button.addEventListener("keydown", (event) => {
    if (event.key === "Escape") back();
  });
}
