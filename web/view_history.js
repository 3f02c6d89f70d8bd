// What was used on each day, and what was changed in the last week and by whom. Owns the sections
// of both, and the operator's list of all changes.

import { byId, h, notSaid, timeElement, whenChanged } from "./dom.js";
import { bookDay, instant, inUnit, moment, secondsDown, taken } from "./format.js";
import { changeText } from "./words.js";
import { createTable } from "./table.js";

const barColumn = (whole) => ({
  title: "Charged",
  cell: (day) => {
    const bar = h("span", { class: "day-bar", "aria-hidden": "true" });
    bar.style.width = `${(60 * day.charged_ms) / whole}%`;
    return [bar, h("span", null, inUnit(taken(day.charged_ms), 100))];
  },
});

function usageTable(usage) {
  const whole = Math.max(1, ...usage.days.map((day) => day.charged_ms));
  const columns = [
    { title: "Day (UTC)", isHead: true, cell: (day) => bookDay(instant(day.day)) },
    { ...barColumn(whole), class: "bar-cell" },
    { title: "Given back", class: "number", cell: (day) => secondsDown(day.given_back_ms) },
    { title: "Jobs", class: "number", cell: (day) => `${day.succeeded} of ${day.jobs}` },
  ];
  return createTable({
    caption: "Charged and given back on each day; of the jobs, how many succeeded",
    columns,
    rows: usage.days,
  });
}

function changeItem(change, now) {
  return h("li", null,
    h("p", null, changeText(change)),
    h("p", { class: "quiet" }, timeElement(change.at, moment(instant(change.at), now)),
      ` by ${change.who}${change.why ? `; ${change.why}` : ""}`));
}

function changesList(changes, now) {
  const since = instant(changes.known_since);
  const known = since === null ? null
    : h("p", { class: "quiet" }, `What was changed before ${moment(since, now)} is forgotten.`);
  if (changes.changes.length === 0) {
    return [h("p", { class: "quiet" }, "Nothing that you can see was changed."), known]
      .filter(Boolean);
  }
  const list = h("ul", { class: "changes" }, changes.changes.map((one) => changeItem(one, now)));
  const more = changes.more ? h("p", { class: "quiet" }, "There are more: gpupool changes.") : null;
  return [list, more, known].filter(Boolean);
}

export function createHistory({ clock }) {
  const showUsage = whenChanged((state) => state.usage, (usage) => {
    const words = !usage ? notSaid : usage.days.length === 0 ? "Nothing was used in the last month."
      : null;
    byId("usage").replaceChildren(words ? h("p", { class: "quiet" }, words) : usageTable(usage));
  });
  const showChanges = whenChanged((state) => state.changes, (changes) => {
    for (const id of ["changes", "all-changes"]) {
      byId(id).replaceChildren(...(changes ? changesList(changes, clock.now())
        : [h("p", { class: "quiet" }, notSaid)]));
    }
  });
  return (state) => {
    showUsage(state);
    showChanges(state);
  };
}
