// Making and changing elements. What comes from the pool becomes text nodes and nothing else: no
// function here reads HTML, and attributes are named by this page's own code. Owns nothing.

const svgNamespace = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

// h("p", {class: "quiet"}, "text", element, ...); on* takes a listener.
export const h = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS(svgNamespace, tag), attributes, children);

export const byId = (id) => document.getElementById(id);

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

// Brings the children of `parent` in line with `items`, each child kept by its key, so that focus,
// open disclosures and scrolling survive an update.
export function reconcile(parent, items, keyOf, create, update = () => {}) {
  const old = parent.keyed ?? new Map();
  const next = new Map(items.map((item) => [keyOf(item), null]));
  // First what goes, so that what stays need not move.
  for (const [key, part] of old) {
    if (next.has(key)) continue;
    part.end?.();
    (part.element ?? part).remove();
  }
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const part = old.get(key) ?? create(item);
    next.set(key, part);
    const element = part.element ?? part;
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
    update(part, item);
  }
  parent.keyed = next;
  return next;
}

// A <time> in this device's zone whose title is the pool's own.
export function timeElement(text, shownAs) {
  return h("time", { datetime: text, title: text }, shownAs);
}

export const notSaid = "The pool has not said yet.";

// Rows of a description list: [{name, text}].
export function fillList(list, rows) {
  reconcile(list, rows, (row) => row.name,
    (row) => h("div", null, h("dt", null, row.name), h("dd")),
    (part, row) => setText(part.lastElementChild, row.text));
}

// A disclosure whose content is read the first time that it is opened.
export function disclosure(title, load, attributes = {}) {
  const body = h("div", { class: "disclosed" });
  const element = h("details", attributes, h("summary", null, title), body);
  let loading = false;
  element.addEventListener("toggle", async () => {
    if (!element.open || loading) return;
    loading = true;
    body.replaceChildren(h("p", { class: "quiet" }, "asking the pool"));
    body.replaceChildren(...await load());
    loading = false;
  });
  return element;
}

let politely = null;
let timer = null;

// Said once by a screen reader, when it is done with what it says.
export function announce(text) {
  politely ??= byId("polite");
  clearTimeout(timer);
  politely.textContent = "";
  timer = setTimeout(() => {
    politely.textContent = text;
  }, 60);
}

// The same again only when what it depends on is another: for parts of a view that are costly.
export function whenChanged(select, render) {
  let last;
  return (...arguments_) => {
    const value = select(...arguments_);
    if (value === last) return;
    last = value;
    render(value, ...arguments_);
  };
}
