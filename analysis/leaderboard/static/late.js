// What a view is made of stands in <noscript>: without JavaScript it is plain HTML, with it a piece
// of text that costs nothing until its view, or the details it stands in, are first opened.

function fillLate(root) {
  for (const late of root.querySelectorAll("noscript.late")) {
    if (late.closest("details:not([open])")) continue;
    const made = element("template");
    made.innerHTML = late.textContent; // what the page itself was written with
    made.content.querySelectorAll("table.sortable").forEach(prepareTable);
    late.replaceWith(made.content);
  }
}

// The view in which an element stands, or will.
function viewOf(id) {
  const there = document.getElementById(id);
  if (there) return there.closest("section.view")?.id;
  const late = Array.from(document.querySelectorAll("noscript.late"))
    .find((one) => one.textContent.includes(`id="${id}"`));
  return late?.closest("section.view")?.id;
}

document.addEventListener("toggle", (event) => {
  if (!event.target.open || !event.target.querySelector("noscript.late")) return;
  fillLate(event.target);
  showSorts();
}, true);

// Printed, all views stand below one another.
function fillAll() {
  fillLate(document);
  showFilters();
}

window.addEventListener("beforeprint", fillAll);
matchMedia("print").addEventListener("change", (event) => {
  if (event.matches) fillAll();
});
