// Tables are sorted and exported in the browser; without JavaScript they stand as written.
// Pattern: W3C ARIA Authoring Practices, sortable table.

const LABELS = new Intl.Collator("en", { numeric: true });

const places = new WeakMap(); // of each row as it was written, which decides between equal ones

function sortKey(row, column) {
  const cell = row.cells[column];
  if (cell.matches("td.missing")) return null;
  const value = cell.dataset.value ?? cellText(cell);
  return numberIn(value) ?? value;
}

function numberIn(text) {
  const number = text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(number) ? number : undefined;
}

function compareKeys(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return LABELS.compare(String(a), String(b));
}

function sortTable(table, column, direction) {
  const sign = direction === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, key: sortKey(row, column) }));
  // Missing values stay last whichever way the column is sorted.
  rows.sort((a, b) => {
    const written = places.get(a.row) - places.get(b.row);
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || written;
    return sign * compareKeys(a.key, b.key) || written;
  });
  body.append(...rows.map(({ row }) => row));
  for (const header of table.tHead.rows[0].cells) header.removeAttribute("aria-sort");
  table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
}

function firstDirection(table, column) {
  const numbers = Array.from(table.tBodies[0].rows, (row) => sortKey(row, column));
  return numbers.some((key) => typeof key === "number") ? "descending" : "ascending";
}

// The order and the headers that a table was written with.
const writtenOrders = new WeakMap();

function writtenOrder(table) {
  const headers = Array.from(table.tHead.rows[0].cells);
  const sorted = headers.findIndex((header) => header.hasAttribute("aria-sort"));
  return { rows: Array.from(table.tBodies[0].rows), sorted, direction: headers[sorted]?.getAttribute("aria-sort") };
}

function restoreOrder(table) {
  const { rows, sorted, direction } = writtenOrders.get(table);
  table.tBodies[0].append(...rows);
  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    if (column === sorted) header.setAttribute("aria-sort", direction);
    else header.removeAttribute("aria-sort");
  });
}

function makeSortable(table) {
  Array.from(table.tBodies[0].rows).forEach((row, place) => places.set(row, place));
  writtenOrders.set(table, writtenOrder(table));
  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    const button = element("button", { type: "button" }, ...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const now = header.getAttribute("aria-sort");
      const other = now === "ascending" ? "descending" : "ascending";
      const direction = now ? other : firstDirection(table, column);
      if (table.caption.id) rememberSort(table.caption.id, column, direction);
      else sortTable(table, column, direction);
    });
  });
}

function rememberSort(id, column, direction) {
  const others = (state.sort ?? "").split(" ").filter((one) => one && one.split(".")[0] !== id);
  choose({ sort: [...others, `${id}.${column}.${direction[0]}`].join(" ") });
}

let sortedTables = new Set();

// Sorts tables as the address says, and those that it says nothing of as they stood before.
function showSorts() {
  const sorted = new Set();
  for (const one of (state.sort ?? "").split(" ").filter(Boolean)) {
    const [id, column, letter] = one.split(".");
    const table = document.getElementById(id)?.closest("table.sortable");
    const direction = letter === "a" ? "ascending" : "descending";
    const header = table?.tHead.rows[0].cells[Number(column)];
    if (!header) continue;
    sorted.add(table);
    if (header.getAttribute("aria-sort") !== direction) sortTable(table, Number(column), direction);
  }
  for (const table of sortedTables) if (!sorted.has(table)) usualOrder(table);
  sortedTables = sorted;
}

// Export: what is shown, in the order in which it is shown.

function cellText(cell) {
  if (!cell.firstElementChild) return cell.textContent.trim();
  const part = cell.querySelector(":scope > .text");
  // Printed numbers stay marked, whatever columns are exported with them.
  const badge = cell.querySelector(":scope > .badge");
  if (part) return [badge, part].map((one) => one?.textContent.trim() ?? "").join(" ").trim();
  const copy = cell.cloneNode(true);
  copy.querySelectorAll("svg, small, .unseen, .missing").forEach((one) => one.remove());
  return copy.textContent.trim();
}

function isShown(cell) {
  return !cell.hidden && getComputedStyle(cell).display !== "none";
}

function tableShown(table) {
  const heads = Array.from(table.tHead.rows[0].cells);
  const columns = heads.map((_, index) => index).filter((index) => isShown(heads[index]));
  const rows = Array.from(table.tBodies[0].rows).filter((row) => !row.hidden);
  return {
    caption: table.caption.textContent.trim(),
    columns: columns.map((index) => heads[index].textContent.trim()),
    rows: rows.map((row) => columns.map((index) => {
      const cell = row.cells[index];
      if (cell.matches(".missing")) {
        const reason = cell.querySelector(".unseen")?.textContent ?? "";
        return { text: "", missing: reason.replace(/^missing: /, "") };
      }
      const mark = cell.querySelector(":scope > .badge")?.textContent.trim();
      return { text: cellText(cell), mark, value: numberIn(cell.dataset.value ?? "") };
    })),
  };
}

// How numbers are written together, and what each of them is called in a column of its own.
const NUMBER = "([+\u2212-]?\\d+(?:\\.\\d+)?)";
const WRITTEN = [
  ["N", [""]],
  ["N \\[N, N\\]", ["", " low", " high"]],
  ["N \u00b1 N", ["", " SD"]],
  ["N \\(N\u2013N of N\\)", ["", " low", " high", " of"]],
  ["N\u2013N", [" low", " high"]],
  ["\\[N, N\\]", [" low", " high"]],
  ["N of N", ["", " of"]],
  ["N \u00d7 N", [" draws", " seeds"]],
  ["N of N \u00d7 N", ["", " draws", " seeds"]],
  ["N GiB", [" (GiB)"]],
].map(([shape, names]) => [new RegExp(`^${shape.replaceAll("N", NUMBER)}$`), names]);
const DURATION = /^(\d+ (h|min|s) ?)+$/; // written for people; the value is in hours

// The numbers of a cell, and a mark in front of them, by the names of their columns; undefined where it holds anything else.
function numbersOf({ text, mark, value }) {
  if (!text) return {};
  if (DURATION.test(text) && value !== undefined) return { " (h)": String(value) };
  const front = mark ?? text.match(/^[<\u26a0]/)?.[0] ?? "";
  const bare = text.slice(front.length).trim();
  for (const [shape, names] of WRITTEN) {
    const found = bare.match(shape);
    if (!found) continue;
    const numbers = names.map((name, place) => [name, found[place + 1].replace("\u2212", "-").replace("+", "")]);
    return Object.fromEntries(front ? [...numbers, [" mark", front]] : numbers);
  }
  return undefined;
}

// The columns' names and rows, each number in a column of its own.
function withPlainNumbers(shown) {
  const columns = shown.columns.flatMap((name, index) => {
    const cells = shown.rows.map((row) => row[index]);
    const numbers = cells.map(numbersOf);
    const names = numbers.includes(undefined) ? [] : [...new Set(numbers.flatMap(Object.keys))];
    if (!names.length) return [[name, ...cells.map((cell) => cell.text)]];
    return names.map((one) => [name + one, ...numbers.map((found) => found[one] ?? "")]);
  });
  return Array.from({ length: shown.rows.length + 1 }, (_, row) => columns.map((column) => column[row]));
}

function asCsv(shown) {
  // A spreadsheet would run a leading = + - @ as a formula, unless it is a number's sign.
  const safe = (text) => (/^[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]/.test(text) && !/^[+-]?[\d.]+$/.test(text) ? `'${text}` : text);
  const quote = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return withPlainNumbers(shown).map((line) => line.map((text) => quote(safe(text))).join(",")).join("\n") + "\n";
}

function asJson(shown) {
  // Two columns of one name, as of a method called "Case", keep their values apart.
  const names = shown.columns.map((name, index) =>
    (shown.columns.indexOf(name) === index ? name : `${name} (column ${index + 1})`));
  const rows = shown.rows.map((row) =>
    Object.fromEntries(row.map((cell, index) => [names[index], cell])));
  return JSON.stringify({ caption: shown.caption, view: location.hash, columns: names, rows }, null, 1) + "\n";
}

function asMarkdown(shown) {
  const safe = (text) => text.replace(/\s+/g, " ").replace(/[\\|<>&*_`[\]~$#!]/g, (letter) => `\\${letter}`) || "\u2014";
  const line = (texts) => `| ${texts.join(" | ")} |`;
  return [
    line(shown.columns.map(safe)),
    line(shown.columns.map((_, index) => (index ? "---:" : ":---"))),
    ...shown.rows.map((row) => line(row.map((cell) => safe(cell.text)))),
  ].join("\n") + "\n";
}

const LATEX = {
  "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", $: "\\$", "#": "\\#", _: "\\_",
  "{": "\\{", "}": "\\}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
  "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", "\u26a0": "(!)", "[": "{[}", "*": "{*}",
  "\u2212": "$-$", "\u00b1": "$\\pm$", "\u00d7": "$\\times$", "\u2013": "--", "\u2014": "---",
};

function asLatex(shown) {
  // Two hyphens would be set as a dash.
  const safe = (text) => Array.from(text.replace(/\s+/g, " "), (letter) => (Object.hasOwn(LATEX, letter) ? LATEX[letter] : letter))
    .map((letter, place, all) => (letter === "-" && all[place + 1] === "-" ? "-{}" : letter)).join("");
  const line = (texts) => `${texts.join(" & ")} \\\\`;
  return [
    "% needs \\usepackage{booktabs}",
    `% ${shown.caption.replace(/\s+/g, " ")}`,
    `\\begin{tabular}{l${"r".repeat(shown.columns.length - 1)}}`,
    "\\toprule",
    line(shown.columns.map(safe)),
    "\\midrule",
    ...shown.rows.map((row) => line(row.map((cell) => safe(cell.text) || "---"))),
    "\\bottomrule",
    "\\end{tabular}",
  ].join("\n") + "\n";
}

function download(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(`${what} copied`);
}

function fileName(table) {
  return (table.caption.textContent.trim().replace(/[^A-Za-z0-9._-]+/g, "-").slice(0, 60) || "table");
}

function addExports(table) {
  const tools = element("div", { class: "tools", role: "group", "aria-label": `Export ${table.caption.textContent.trim()}` });
  const offer = (word, action) => {
    const button = element("button", { type: "button" }, word);
    button.addEventListener("click", action);
    tools.append(button);
  };
  offer("CSV", () => download(`${fileName(table)}.csv`, asCsv(tableShown(table)), "text/csv"));
  offer("JSON", () => download(`${fileName(table)}.json`, asJson(tableShown(table)), "application/json"));
  offer("Copy LaTeX", () => copy(asLatex(tableShown(table)), "LaTeX"));
  offer("Copy Markdown", () => copy(asMarkdown(tableShown(table)), "Markdown"));
  (table.closest(".scroll") ?? table).after(tools);
}

function prepareTable(table) {
  makeSortable(table);
  addExports(table);
}
