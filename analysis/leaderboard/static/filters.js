// Filters hide blocks (a task and its shots) and rows; nothing is computed anew.

const controls = document.getElementById("controls");
const MODALITY = new Map(Array.from(document.querySelectorAll("#overview [data-modality]"), ({ dataset }) => [dataset.task, dataset.modality]));
const GROUP_BOXES = Array.from(controls.querySelectorAll("input[name=columns]"));

function agrees(data, names) {
  return names.every((name) => !state[name] || data[name] === undefined || data[name] === state[name]);
}

function showFilters() {
  for (const name of [...FILTERS, "metric", "empty"]) {
    const control = controls.elements[name];
    if (control) control.value = state[name] ?? "";
  }
  const hidden = new Set((state.hide ?? "").split(",").filter(Boolean));
  for (const box of GROUP_BOXES) {
    box.checked = !hidden.has(box.value);
    document.body.classList.toggle(`hide-${box.value}`, hidden.has(box.value));
  }
  for (const block of document.querySelectorAll(".block")) {
    // Figures and tables of other views follow their task's modality.
    const modality = MODALITY.get(block.dataset.task);
    block.hidden = !agrees({ ...block.dataset, modality }, ["task", "shots", "modality", "by"]);
  }
  const filtered = new Set();
  for (const row of document.querySelectorAll("tr[data-source]")) {
    row.hidden = !agrees(row.dataset, ["family", "backbone", "profile", "source"]);
    filtered.add(row.parentElement);
  }
  // The line above rows of another protocol stands above the first of them that is shown.
  for (const body of filtered) {
    let begins = false;
    for (const row of body.rows) {
      begins ||= row.classList.contains("apart");
      row.classList.toggle("first", begins && !row.hidden);
      if (!row.hidden) begins = false;
    }
  }
  // A table of which no row is left goes with its caption.
  for (const body of filtered) {
    const block = body.closest(".block");
    block.hidden ||= !body.querySelector("tr:not([hidden])");
  }
  const narrowed = FILTERS.some((name) => state[name]);
  const view = document.getElementById(state.view);
  const tables = view.querySelectorAll(".block:has(tr[data-source])");
  const blocks = tables.length ? tables : view.querySelectorAll(".block");
  const count = Array.from(blocks).filter((block) => !block.parentElement.closest(".block[hidden]") && !block.hidden).length;
  document.getElementById("nothing").hidden = !narrowed || !blocks.length || count > 0;
  say(narrowed && count ? `${count} of ${blocks.length} ${tables.length ? "tables" : "parts"} shown` : "");
}

function clearFilters() {
  choose(Object.fromEntries(FILTERS.map((name) => [name, ""])));
}

document.querySelector("#nothing button").addEventListener("click", clearFilters);

controls.addEventListener("change", (event) => {
  if (event.target.name === "columns") {
    const hidden = GROUP_BOXES.filter((box) => !box.checked).map((box) => box.value);
    choose({ hide: hidden.join(",") });
  } else {
    choose({ [event.target.name]: event.target.value, ...comparedToo(event.target) });
  }
});

// What a choice made for the whole page chooses in the comparison of two.
function comparedToo({ name, value }) {
  if (name === "metric" && state.by !== "auc" && COMPARED.includes(value)) return { by: value };
  if (name === "task" || name === "modality") return { ctask: "", cshots: "", a: "", b: "", case: "" };
  if (name === "shots") return { cshots: "", a: "", b: "" };
  return {};
}

controls.addEventListener("reset", (event) => {
  event.preventDefault();
  choose(Object.fromEntries(
    [...FILTERS, "hide", "sort"].map((name) => [name, ""])
      .concat([["metric", "dice"], ["empty", "left out"], ...Object.entries(comparedToo({ name: "metric", value: "dice" }))])));
});

document.getElementById("permalink").addEventListener("click", () => copy(location.href, "Link"));
