"use strict";

// What a reader chose is in the address, so that a link reproduces the view.

const PAGE = JSON.parse(document.getElementById("page-data").textContent);
const FILTERS = ["task", "modality", "shots", "family", "backbone", "profile", "source"];
const COMPARED = Array.from(document.querySelectorAll("#pair [name=by] option"), (option) => option.value);
const DEFAULTS = { view: "overview", metric: "dice", empty: "left out", by: COMPARED[0] ?? "dice" };
const VIEWS = Array.from(document.querySelectorAll("section.view"), (section) => section.id);

let state = {};

function readAddress() {
  const text = location.hash.slice(1);
  const found = { ...DEFAULTS, by: "" };
  if (text && !text.includes("=")) {
    found.view = decoded(text);
  } else {
    for (const [name, value] of new URLSearchParams(text)) found[name] = value;
  }
  if (!COMPARED.includes(found.by)) found.by = usualBy(found);
  // Links inside a view, such as to the tables, belong to the view they are in.
  if (!VIEWS.includes(found.view)) found.view = viewOf(found.view) ?? DEFAULTS.view;
  return found;
}

// Two are compared by the metric of the page, where they can be.
function usualBy({ metric }) {
  return COMPARED.includes(metric) ? metric : DEFAULTS.by;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a link that was cut within a letter
  }
}

function addressOf(chosen) {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(chosen)) {
    if (value && value !== (name === "by" ? usualBy(chosen) : DEFAULTS[name])) words.set(name, value);
  }
  const text = words.toString();
  return text ? `#${text}` : `#${chosen.view}`;
}

// Keep a choice in the address without showing anything anew.
function remember(changes, push = false) {
  state = { ...state, ...changes };
  for (const name of Object.keys(state)) if (!state[name]) delete state[name];
  const address = addressOf(state);
  if (push) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

function choose(changes, push = false) {
  remember(changes, push);
  showState();
}

function say(text) {
  document.getElementById("status").textContent = text;
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function written(value, digits, signed = false) {
  const sign = signed && value > 0 ? "+" : "";
  return (sign + value.toFixed(digits)).replace("-", "\u2212");
}
