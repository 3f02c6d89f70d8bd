// Tables: a caption, column heads with their scope, and a frame that scrolls sideways by itself,
// also by keyboard. Owns nothing. And the pool's own tables (POST /v1/operate), of any columns.

import { h } from "./dom.js";
import { counted, instant, moment, seconds } from "./format.js";

function cell(column, row) {
  const content = [column.cell(row)].flat();
  if (column.isHead) return h("th", { scope: "row", class: column.class }, ...content);
  return h("td", { class: column.class }, ...content);
}

export const frame = (label, table) =>
  h("div", { class: "table-frame", tabindex: "0", role: "region", "aria-label": label }, table);

// columns: [{title, cell(row), class, isHead}]. `isQuiet`: the caption is for screen readers alone.
export function createTable({ caption, columns, rows, isQuiet = true }) {
  const head = columns.map((one) => h("th", { scope: "col", class: one.class }, one.title));
  return frame(caption, h("table", null,
    h("caption", { class: isQuiet ? "sr-only" : null }, caption),
    h("thead", null, h("tr", null, ...head)),
    h("tbody", null, rows.map((row) => h("tr", null, columns.map((one) => cell(one, row)))))));
}

const isTime = (value) => typeof value === "string" && /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value);

// A value of a table of the pool, by the end of its column's name.
export function valueText(column, value, now) {
  if (value === null || value === undefined || value === "") return "";
  if (column.endsWith("_ms") && typeof value === "number") return seconds(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (isTime(value)) return moment(instant(value), now);
  return String(value);
}

const title = (column) => column.replace(/_ms$/, "").replaceAll("_", " ");

export function poolTable(answer, now) {
  const parts = [];
  if (answer.rows.length > 0) {
    // What no row has is no column.
    const used = answer.columns.filter((name) =>
      answer.rows.some((row) => valueText(name, row[name], now) !== ""));
    const columns = used.map((name, i) => ({
      title: title(name),
      isHead: i === 0,
      class: answer.rows.some((row) => typeof row[name] === "number") ? "number" : null,
      cell: (row) => valueText(name, row[name], now),
    }));
    parts.push(createTable({
      caption: `${answer.title}, ${counted(answer.rows.length, "row")}`,
      columns,
      rows: answer.rows,
    }));
  }
  if (answer.note) parts.push(h("p", null, answer.note));
  if (answer.more) {
    parts.push(h("p", { class: "quiet" }, `There is more: --after ${answer.more}`));
  }
  if (parts.length === 0) parts.push(h("p", { class: "quiet" }, `${answer.title}: nothing.`));
  return parts;
}
