// Another metric, or another rule for targets that the reference lacks: the same rows, ranked anew.
// All numbers were computed by `bench report`; the script only puts them in place.

let original; // what the switched cells were written with, kept before the first switch
let shownDefinition = 0;

function keepOriginal() {
  const kept = (cell) => ({ cell, nodes: Array.from(cell.childNodes), name: cell.className, value: cell.dataset.value });
  const boards = Array.from(document.querySelectorAll(".board table"));
  return {
    scored: Array.from(document.querySelectorAll("tr[data-row]"), (row) => ({
      id: row.dataset.row,
      parts: Object.fromEntries(Array.from(row.querySelectorAll("[data-part]"), (cell) => [cell.dataset.part, kept(cell)])),
    })),
    heads: boards.map((table) => table.tHead.rows[0].cells[1]),
    printed: Array.from(document.querySelectorAll("tr[data-source=reported]"), (row) => kept(row.cells[1])),
  };
}

function definitionIndex() {
  const found = PAGE.definitions.findIndex((one) =>
    one.metric === (state.metric ?? "dice") && one.empty === (state.empty ?? "left out"));
  return Math.max(found, 0);
}

function restore({ cell, nodes, name, value }) {
  cell.replaceChildren(...nodes);
  cell.className = name;
  if (value === undefined) delete cell.dataset.value;
  else cell.dataset.value = value;
}

function put(part, text, value, reason, extra) {
  const { cell } = part;
  cell.className = text === null ? "missing" : "";
  if (text === null) {
    delete cell.dataset.value;
    cell.replaceChildren(
      element("span", { "aria-hidden": "true", title: reason }, "\u2014"),
      element("span", { class: "unseen" }, `missing: ${reason}`));
    return;
  }
  cell.dataset.value = value;
  cell.replaceChildren(element("span", { class: "text" }, text), ...(extra ? [" ", extra] : []));
}

function moved(before, after) {
  if (before === null || after === null || before === after) return null;
  const up = after < before;
  const steps = Math.abs(before - after);
  return element("span", { class: up ? "moved up" : "moved down" },
    element("span", { "aria-hidden": "true" }, `${up ? "\u25b2" : "\u25bc"}${steps}`),
    element("span", { class: "unseen" }, `${up ? "up" : "down"} ${steps} from Dice`));
}

function showDefinition() {
  const index = definitionIndex();
  if (index === shownDefinition) return;
  shownDefinition = index;
  original ??= keepOriginal();
  const definition = PAGE.definitions[index];
  for (const { id, parts } of original.scored) {
    if (index === 0) {
      Object.values(parts).forEach(restore);
      continue;
    }
    const [mean, low, high, rank, rankLow, rankHigh, tier, of, unranked] = PAGE.rows[id].s[index];
    const digits = definition.digits;
    const limits = low === null ? "" : ` [${written(low, digits)}, ${written(high, digits)}]`;
    put(parts.score, mean === null ? null : written(mean, digits) + limits, mean, "no target is present in any reference");
    put(parts.rank, of ? `${rank} (${rankLow}\u2013${rankHigh} of ${of})` : null, rank, unranked,
      of ? moved(PAGE.rows[id].s[0][3], rank) : null);
    put(parts.tier, of ? String(tier) : null, tier, unranked);
  }
  for (const part of original.printed) {
    // Papers' numbers here are Dice by their own rule; no other metric's column may hold them.
    if (definition.metric === "dice") restore(part);
    else put(part, null, null, "printed as Dice alone");
  }
  for (const head of original.heads) {
    const rule = definition.empty === "counted" ? ", absent targets counted" : "";
    (head.querySelector("button") ?? head).textContent = index ? definition.label + rule : "Dice";
    usualOrder(head.closest("table"));
  }
  sortedTables.clear();
}

// As written under the first definition, else by the definition that is shown.
function usualOrder(table) {
  const definition = PAGE.definitions[shownDefinition];
  if (shownDefinition && table.closest(".board")) {
    sortTable(table, 1, definition.metric.startsWith("hd95") ? "ascending" : "descending");
  } else {
    restoreOrder(table);
  }
}

function isListed(id) {
  const row = document.querySelector(`tr[data-row="${id}"]`);
  return !row || (!row.hidden && !row.closest(".block[hidden]"));
}

// Of the rows that the filters leave.
function showFlips() {
  const index = definitionIndex();
  const definition = PAGE.definitions[index];
  const box = document.getElementById("flips");
  box.hidden = index === 0;
  box.replaceChildren();
  if (index === 0) return;
  const rule = definition.empty === "counted" ? ", targets that the reference lacks counted" : "";
  const flips = definition.flips.filter((pair) => pair.every(isListed));
  const count = flips.length;
  box.replaceChildren(
    `Ranked by ${definition.label}${rule}: ${count} pair${count === 1 ? "" : "s"} of methods change${count === 1 ? "s" : ""} order against Dice.`);
  if (!count) return;
  const list = element("ul");
  for (const [first, second] of flips.slice(0, 12)) {
    const one = PAGE.rows[first];
    const names = [one.task, one.label, PAGE.rows[second].label].map((name) => element("bdi", {}, name));
    list.append(element("li", {}, names[0], `, shots ${one.shots}: `, names[1], " and ", names[2]));
  }
  if (count > 12) list.append(element("li", {}, `and ${count - 12} more`));
  box.append(list);
}
