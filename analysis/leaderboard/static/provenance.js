// Every cell of a task, and of the one that is asked for all that is known.

const cellForm = document.getElementById("cell-task");
const FAMILY = new Map(Array.from(document.querySelectorAll("tr[data-row]"), ({ dataset }) => [dataset.row, dataset.family]));
const CELL_HEADS = ["Cell", "Method", "Corpus", "Protocol", "Shots", "Draw", "Seed", "Labelled cases", "Leaks", "Device", "Hours", "Finished (UTC)", "Record"];
const FIRST_ROWS = 200; // as .cut in the style

let cellsAsked = 0;

async function showCells() {
  const tasks = Object.keys(PAGE.tasks);
  if (!tasks.length) return;
  document.getElementById("cells").hidden = false;
  document.getElementById("cells-static").hidden = true;
  const task = fill(cellForm.elements.of, tasks.map((word) => [word, word]), state.of ?? state.task);
  const list = document.getElementById("cell-list");
  cellsAsked += 1;
  const mine = cellsAsked;
  try {
    const found = await loadTask(task);
    if (mine !== cellsAsked) return;
    const cells = found.cells.filter((cell) => agrees({ ...cell, family: FAMILY.get(cell.row) }, ["shots", "family", "backbone", "profile"]));
    if (!cells.length) {
      const clear = element("button", { type: "button" }, "Clear the filters");
      clear.addEventListener("click", clearFilters);
      list.replaceChildren(element("p", { class: "warning" }, "No cell of this task matches the filters. ", clear));
      document.getElementById("cell-details").replaceChildren();
      return;
    }
    const table = cellTable(task, cells, found);
    list.replaceChildren(element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Cells" }, table));
    prepareTable(table);
    if (cells.length > FIRST_ROWS) cutTable(table, cells.length);
    const chosen = state.cell && found.cells.find((cell) => cell.key.startsWith(state.cell));
    document.getElementById("cell-details").replaceChildren(...(chosen ? detailsOf(chosen, found) : []));
  } catch (error) {
    if (mine === cellsAsked) list.replaceChildren(element("p", { class: "warning" }, error.message));
  }
}

// Sorted and exported are all rows; laid out are the first alone until all are asked for.
function cutTable(table, count) {
  table.classList.add("cut");
  const button = element("button", { type: "button" }, `Show all ${count} rows`);
  const note = element("p", { class: "files" }, `The first ${FIRST_ROWS} rows; exports have all. `, button);
  button.addEventListener("click", () => {
    table.classList.remove("cut");
    note.remove();
  });
  table.closest(".scroll").nextElementSibling.after(note); // below its exports
}

function cellTable(task, cells, found) {
  const rows = cells.map((cell) => {
    const button = element("button", { type: "button", class: "link" }, cell.key.slice(0, 12));
    button.addEventListener("click", () => {
      choose({ of: task, cell: cell.key.slice(0, 12) });
      document.getElementById("cell-details").focus();
    });
    const text = (value) => element("td", {}, String(value));
    const leaks = cell.leaks.checked ? text(cell.leaks.found.length) :
      element("td", { class: "missing" }, "\u2014", element("span", { class: "unseen" }, "missing: nobody looked"));
    return element("tr", {}, element("th", { scope: "row" }, button), text(cell.method),
      cell.corpus ? text(cell.corpus) : element("td", { class: "missing" }, "\u2014", element("span", { class: "unseen" }, "missing: none")),
      text(cell.protocol.slice(0, 8)), text(cell.shots),
      text(cell.draw), text(cell.seed), text(found.draws[cell.drawn].labelled_total), leaks, text(cell.device),
      element("td", { "data-value": cell.wall_hours }, cell.wall_hours.toPrecision(3)),
      text(cell.finished.slice(0, 16).replace("T", " ")), text(cell.record));
  });
  return element("table", { class: "sortable", id: "cell-table" },
    element("caption", {}, `${cells.length} finished cells of ${task}; a key shows all that is known of it`),
    element("thead", {}, element("tr", {}, ...CELL_HEADS.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...rows));
}

function detailsOf(cell, found) {
  const split = found.splits[cell.split];
  const draw = found.draws[cell.drawn];
  const repeat = element("button", { type: "button" }, "Copy command");
  repeat.addEventListener("click", () => copy(cell.command, "Command"));
  const facts = {
    Key: cell.key, Protocol: cell.protocol, Pretraining: cell.pretraining, Corpus: cell.corpus ?? "none",
    "Weights (SHA-256)": cell.digests.weights, "Pretrained weights": cell.digests.pretraining_weights ?? "none",
    "Corpus digest": cell.digests.corpus ?? "none", "Split digest": cell.split, "Draw digest": cell.drawn,
    Source: cell.git ? `${cell.git.sha}${cell.git.dirty ? ", with changes" : ""}` : "installed from a wheel",
    Device: `${cell.device}, ${cell.precision}, ${cell.threads} threads`, Resumed: `${cell.resumed} times`,
    Versions: JSON.stringify(cell.versions), Libraries: JSON.stringify(found.libraries[cell.libraries]),
    Record: cell.record,
  };
  const list = element("dl", { class: "facts digests" });
  for (const [word, text] of Object.entries(facts)) {
    list.append(element("div", {}, element("dt", {}, word), element("dd", {}, text)));
  }
  const viewers = (cell.viewers ?? []).flatMap(([name, link]) => [element("a", { href: link }, name), " "]);
  const folded = (title, text) => element("details", {}, element("summary", {}, title), element("pre", { tabindex: "0" }, text));
  return [
    element("h3", {}, `${cell.method}, shots ${cell.shots}, draw ${cell.draw}, seed ${cell.seed}`),
    element("p", {}, "The command that makes it again:"), element("pre", { tabindex: "0", id: "command" }, cell.command), repeat, list,
    ...(viewers.length ? [element("p", { class: "files" }, "In 3D (bench view): ", ...viewers)] : []),
    folded(`${draw.cases.length} labelled cases drawn`, draw.cases.join("\n")),
    folded(`${split.test.length} test cases`, split.test.join("\n")),
    folded(`${split.train.length} cases of the training pool`, split.train.join("\n")),
    folded(`Leaks: ${cell.leaks.checked ? cell.leaks.found.length : "nobody looked"}`,
      [...cell.leaks.found, ...(cell.leaks.evidence ?? [])].join("\n") || "none"),
    folded("Every setting", JSON.stringify(found.settings[cell.settings], null, 1)),
    folded("Definitions of its metrics", JSON.stringify(found.definitions[cell.definitions], null, 1)),
  ];
}

cellForm.addEventListener("change", (event) => choose({ of: event.target.value, cell: "" }));
