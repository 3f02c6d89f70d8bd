// Charts of a few series over time: SVG for the shapes, HTML for the words beside them, and the
// same numbers as a table for who does not see it. Owns nothing. Shapes are stretched to the width
// that there is, so strokes do not scale (style.css).

import { h, svg } from "./dom.js";
import { createTable } from "./table.js";

const width = 600;
const height = 120;

// A series as steps, filled down to 0 or as a line; null is a gap. `length`: of the longest one.
export function stepPath({ values, filled }, top, length) {
  const x = (i) => ((width * i) / length).toFixed(1);
  const y = (value) => (height - (height * Math.min(value, top)) / top).toFixed(1);
  const parts = [];
  let open = null; // where the present piece began
  values.forEach((value, i) => {
    if (value === null) {
      if (open !== null && filled) parts.push(`V${height}H${x(open)}Z`);
      open = null;
      return;
    }
    if (open === null) {
      open = i;
      parts.push(filled ? `M${x(i)} ${height}V${y(value)}` : `M${x(i)} ${y(value)}`);
    } else {
      parts.push(`V${y(value)}`);
    }
    parts.push(`H${x(i + 1)}`);
  });
  if (open !== null && filled) parts.push(`V${height}H${x(open)}Z`);
  return parts.join("");
}

function plot(series, top, length) {
  const shapes = series.map((one) => svg("path", {
    class: `${one.filled ? "area" : "line"} ${one.class}`,
    d: stepPath(one, top, length),
  }));
  const rule = svg("line", { class: "rule", x1: 0, x2: width, y1: height / 2, y2: height / 2 });
  return svg("svg", {
    viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true",
    focusable: "false",
  }, rule, ...shapes);
}

// chart({summary, series: [{title, class, values, filled}], top, scale(value), times: [text],
// table: {caption, columns, rows}}).
export function createChart({ summary, series, top, scale, times, table }) {
  const length = Math.max(1, ...series.map((one) => one.values.length));
  const legend = series.length < 2 ? null : h("ul", { class: "legend" }, series.map((one) =>
    h("li", null, h("span", { class: `key ${one.class}`, "aria-hidden": "true" }), one.title)));
  return [
    h("div", { class: "chart" },
      h("div", { class: "scale", "aria-hidden": "true" },
        h("span", null, scale(top)), h("span", null, scale(top / 2)), h("span", null, scale(0))),
      h("div", { class: "plot", role: "img", "aria-label": `${table.caption}, as a chart` },
        plot(series, top, length)),
      h("div", { class: "times", "aria-hidden": "true" },
        times.map((one) => h("span", null, one)))),
    legend,
    h("p", { class: "quiet" }, summary),
    h("details", null, h("summary", null, "As a table"), createTable(table)),
  ].filter(Boolean);
}
