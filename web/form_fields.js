// The fields of an app's parameters: which there are, made as labelled inputs, and read as the
// arguments of a request. Owns the elements that it makes.

import { h } from "./dom.js";

const promptBytesMax = 1000;
const boundShown = 1e12; // beyond it a bound is none that a person could meet

// What the built-in diffusion executor takes (actors/worker/diffusion_arguments.h); what the pool
// says about one of these goes before.
const diffusion = [
  {
    name: "prompt", kind: "text", required: true, first: true, max: promptBytesMax,
    placeholder: "a red heart",
  },
  { name: "steps", kind: "integer", min: 1, max: 10000, default: "30" },
  { name: "seed", kind: "integer", min: 0, max: null, default: null, placeholder: "drawn" },
  { name: "guidance", kind: "number", min: 0, max: 20, default: "3" },
];

export function parametersOf(app) {
  const said = app.parameters ?? [];
  if (app.executor !== "diffusion") {
    return said.map((one) => ({ ...one, first: one.required }));
  }
  const known = diffusion.map((one) => {
    const own = said.find((other) => other.name === one.name) ?? {};
    const stated = Object.entries(own).filter(([, value]) => value !== null);
    return { ...one, ...Object.fromEntries(stated) };
  });
  const more = said.filter((one) => !diffusion.some((other) => other.name === one.name));
  return [...known, ...more];
}

const isNumeric = ({ kind }) => kind === "integer" || kind === "number";

// The bounds of a number that are worth a word; of a text `max` counts bytes.
function boundsOf(parameter) {
  const bound = (value) => (typeof value === "number" && Math.abs(value) <= boundShown ? value
    : null);
  return isNumeric(parameter) ? { min: bound(parameter.min), max: bound(parameter.max) }
    : { min: null, max: null };
}

function range({ min, max }) {
  if (min !== null && max !== null) return ` (${min} to ${max})`;
  if (min !== null && min !== 0) return ` (${min} or more)`;
  return max !== null ? ` (at most ${max})` : "";
}

function choice(parameter, id) {
  const options = parameter.choices.map((word) =>
    h("option", { value: word, selected: word === parameter.default }, word));
  if (!parameter.required) options.unshift(h("option", { value: "" }, "as the app says"));
  return h("select", { id }, ...options);
}

function input(parameter, id) {
  const { min, max } = boundsOf(parameter);
  return h("input", {
    id,
    type: isNumeric(parameter) ? "number" : "text",
    inputmode: parameter.kind === "integer" ? "numeric" : parameter.kind === "number" ? "decimal"
      : null,
    min,
    max,
    step: parameter.kind === "number" ? "any" : null,
    required: parameter.required,
    placeholder: parameter.default ?? parameter.placeholder ?? null,
    autocapitalize: isNumeric(parameter) ? null : "off",
  });
}

function checkBytes(element, most) {
  element.addEventListener("input", () => {
    const size = new TextEncoder().encode(element.value.trim()).length;
    element.setCustomValidity(size > most ? `at most ${most} bytes, these are ${size}` : "");
  });
}

const words = (name) => name.replaceAll("_", " ");
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// {element, input, parameter}; the label has the range.
export function createField(parameter, prefix) {
  const id = `${prefix}-${parameter.name}`;
  const hasChoices = parameter.kind === "choice" ||
    (parameter.choices?.length > 0 && parameter.kind !== "boolean");
  const control = parameter.kind === "boolean"
    ? choice({ ...parameter, choices: ["true", "false"] }, id)
    : hasChoices ? choice(parameter, id) : input(parameter, id);
  if (parameter.kind === "text" && parameter.max) checkBytes(control, parameter.max);
  const name = capital(words(parameter.name)) + range(boundsOf(parameter));
  const about = parameter.about ? h("p", { class: "quiet", id: `${id}-about` }, parameter.about)
    : null;
  if (about) control.setAttribute("aria-describedby", about.id);
  return {
    element: h("div", { class: "field" }, h("label", { for: id }, name), control, about),
    input: control,
    parameter,
  };
}

// What was typed, as the texts that a request gives; what was left empty is the app's to say.
export function argumentsOf(fields) {
  const given = {};
  for (const { input: control, parameter } of fields) {
    const text = control.value.trim();
    if (text !== "") given[parameter.name] = text;
  }
  return given;
}

export function fillFields(fields, values) {
  for (const { input: control, parameter } of fields) {
    control.value = values[parameter.name] ?? "";
    control.dispatchEvent(new Event("input", { bubbles: true }));
  }
}
