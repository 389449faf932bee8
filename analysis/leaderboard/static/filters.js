// Filters hide blocks (a task and its shots) and rows; nothing is computed anew.

const controls = document.getElementById("controls");
const BLOCKS = Array.from(document.querySelectorAll(".block"));
const MODALITY = new Map(BLOCKS.filter((block) => block.dataset.modality).map((block) => [block.dataset.task, block.dataset.modality]));
for (const block of BLOCKS) {
  // Figures and tables of other views follow their task.
  if (MODALITY.has(block.dataset.task)) block.dataset.modality = MODALITY.get(block.dataset.task);
}
const ROWS = Array.from(document.querySelectorAll(".board tbody tr, #cost tbody tr"));
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
  for (const block of BLOCKS) block.hidden = !agrees(block.dataset, ["task", "shots", "modality"]);
  for (const row of ROWS) {
    row.hidden = !agrees(row.dataset, ["family", "backbone", "profile", "source"]);
  }
  // The heading of a task stands in its first block, which may be hidden.
  const boards = BLOCKS.filter((block) => block.classList.contains("board") && !block.hidden);
  const shown = boards.filter((block) => block.querySelector("tbody tr:not([hidden])"));
  for (const block of boards) block.hidden = !shown.includes(block);
  const narrowed = FILTERS.some((name) => state[name]);
  if (narrowed) say(shown.length ? `${shown.length} tables shown` : "nothing agrees with these filters");
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
