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
    block.hidden = !agrees({ ...block.dataset, modality }, ["task", "shots", "modality"]);
  }
  for (const row of document.querySelectorAll("tr[data-source]")) {
    row.hidden = !agrees(row.dataset, ["family", "backbone", "profile", "source"]);
  }
  let count = 0;
  for (const block of document.querySelectorAll(".board:not([hidden])")) {
    const some = block.querySelector("tbody tr:not([hidden])") !== null;
    block.hidden = !some;
    count += some;
  }
  const narrowed = FILTERS.some((name) => state[name]);
  if (narrowed) say(count ? `${count} tables shown` : "nothing agrees with these filters");
  else say("");
}

controls.addEventListener("change", (event) => {
  if (event.target.name === "columns") {
    const hidden = GROUP_BOXES.filter((box) => !box.checked).map((box) => box.value);
    choose({ hide: hidden.join(",") });
  } else {
    choose({ [event.target.name]: event.target.value });
  }
});

controls.addEventListener("reset", (event) => {
  event.preventDefault();
  choose(Object.fromEntries(
    [...FILTERS, "hide", "sort"].map((name) => [name, ""]).concat([["metric", "dice"], ["empty", "left out"]])));
});

document.getElementById("permalink").addEventListener("click", () => copy(location.href, "Link"));
