// One view at a time; without JavaScript, and printed, all stand below one another.

function showView() {
  for (const section of document.querySelectorAll("section.view")) {
    const current = section.id === state.view;
    if (current) fillLate(section);
    section.classList.toggle("current", current);
  }
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${state.view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function showState() {
  showView();
  showFilters();
  showDefinition();
  showFlips();
  showSorts();
  if (state.view === "compare") showComparison();
  if (state.view === "provenance") showCells();
}

document.querySelector("nav").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link) return;
  event.preventDefault();
  const view = link.hash.slice(1);
  choose({ view }, view !== state.view);
  window.scrollTo(0, 0);
});

window.addEventListener("hashchange", () => {
  state = readAddress();
  showState();
});
window.addEventListener("popstate", () => {
  state = readAddress();
  showState();
});

document.body.classList.add("scripted");
if ("scrollRestoration" in history) history.scrollRestoration = "manual";
controls.hidden = false;
document.querySelectorAll("table.sortable").forEach(prepareTable);
state = readAddress();
showState();
// A view's name in the address makes the browser scroll to it once all is loaded.
window.addEventListener("load", () => {
  setTimeout(() => window.scrollTo({ top: 0, behavior: "instant" }));
});
document.body.dataset.ready = "yes";
// What takes a moment at the first switch of definition is done before anyone asks.
setTimeout(() => { original ??= keepOriginal(); });
