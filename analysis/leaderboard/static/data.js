// Cells and cases of a task come from its file beside the page, when they are first asked for.

const arrived = new Map();
const waiting = new Map();

// Called by each data file.
function benchData(task, text) {
  const found = JSON.parse(text);
  // Cases may have any name, of what every object has too.
  for (const cell of found.cells) cell.pictures = new Map(Object.entries(cell.pictures));
  arrived.set(task, found);
}

function loadTask(task) {
  if (arrived.has(task)) return Promise.resolve(arrived.get(task));
  if (!waiting.has(task)) {
    waiting.set(task, new Promise((resolve, reject) => {
      const script = element("script", { src: PAGE.tasks[task] });
      script.addEventListener("load", () => resolve(arrived.get(task)));
      script.addEventListener("error", () => {
        waiting.delete(task);
        reject(new Error(`${PAGE.tasks[task]} is missing beside this page; copy the whole folder`));
      });
      document.head.append(script);
    }));
  }
  return waiting.get(task);
}

function mean(values) {
  return values.reduce((sum, one) => sum + one, 0) / values.length;
}

// Targets present in the reference, then seeds of a draw, then draws: as bench report averages.
function caseScores(found, rowId, metric) {
  const cells = found.cells.filter((cell) => cell.row === rowId);
  const size = found.targets.length;
  const scores = new Map();
  found.cases.forEach((name, place) => {
    const draws = new Map();
    for (const cell of cells) {
      const values = [];
      for (let target = 0; target < size; target += 1) {
        const spot = place * size + target;
        if ("om".includes(cell.status[spot])) values.push(cell[metric][spot]);
      }
      if (values.length) draws.set(cell.draw, [...(draws.get(cell.draw) ?? []), mean(values)]);
    }
    if (draws.size) scores.set(name, mean(Array.from(draws.values(), mean)));
  });
  return scores;
}
