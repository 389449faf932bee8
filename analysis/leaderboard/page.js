"use strict";

// Tables are sorted in the browser; without JavaScript they stand as they were written.
// Pattern: W3C ARIA Authoring Practices, sortable table.

const LABELS = new Intl.Collator("en", { numeric: true });

function sortKey(row, column) {
  const cell = row.cells[column];
  if (cell.matches("td.missing")) return null;
  const value = cell.dataset.value ?? cell.textContent.trim();
  const number = Number(value);
  return value !== "" && Number.isFinite(number) ? number : value;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return LABELS.compare(String(a), String(b));
}

function sortTable(table, column, direction) {
  const sign = direction === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, key: sortKey(row, column) }));
  // Missing values stay last whichever way the column is sorted.
  rows.sort((a, b) => {
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
    return sign * compare(a.key, b.key);
  });
  body.append(...rows.map(({ row }) => row));
  for (const header of table.tHead.rows[0].cells) header.removeAttribute("aria-sort");
  table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
}

function firstDirection(table, column) {
  const numbers = Array.from(table.tBodies[0].rows, (row) => sortKey(row, column));
  return numbers.some((key) => typeof key === "number") ? "descending" : "ascending";
}

function makeSortable(table) {
  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const now = header.getAttribute("aria-sort");
      const other = now === "ascending" ? "descending" : "ascending";
      sortTable(table, column, now ? other : firstDirection(table, column));
    });
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
