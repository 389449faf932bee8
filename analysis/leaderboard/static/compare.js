// Two methods case by case: scatter, differences, the test that bench report made, both pictures.

const comparison = document.getElementById("comparison");
const pairForm = document.getElementById("pair");
const SVG = "http://www.w3.org/2000/svg";
let asked = 0;

// Rows of segmentation or, by AUC, those of classification.
function comparedRows() {
  return state.by === "auc" ? PAGE.classes : PAGE.rows;
}

function fill(select, words, chosen) {
  select.replaceChildren(...words.map(([value, text]) => element("option", { value }, text)));
  select.value = words.some(([value]) => value === chosen) ? chosen : words[0]?.[0] ?? "";
  return select.value;
}

async function showComparison() {
  const { task, shots, a, b, by } = pairForm.elements;
  if (!by.options.length) return;
  by.value = state.by;
  const table = comparedRows();
  const rows = Object.values(table);
  const tasks = [...new Set(rows.map((row) => row.task))].filter((word) => agrees({ modality: MODALITY.get(word) }, ["modality"]));
  if (!tasks.length) {
    comparison.hidden = true; // no task that is compared by this metric passes the filters
    return;
  }
  comparison.hidden = false;
  const chosenTask = fill(task, tasks.map((word) => [word, word]), state.ctask ?? state.task);
  const counts = [...new Set(rows.filter((row) => row.task === chosenTask).map((row) => row.shots))];
  const chosenShots = fill(shots, counts.map((word) => [word, word]), state.cshots ?? state.shots);
  const choices = Object.entries(table)
    .filter(([, row]) => row.task === chosenTask && row.shots === chosenShots).map(([id, row]) => [id, row.label]);
  fill(a, choices, state.a);
  fill(b, choices, state.b);
  const box = document.getElementById("compared");
  asked += 1;
  const mine = asked;
  try {
    const found = await loadTask(chosenTask);
    if (mine !== asked) return;
    const tested = testedPair(found, new Set(choices.map(([id]) => id)), state.a || state.b);
    const first = fill(a, choices, state.a || tested.find((id) => id !== state.b));
    const second = fill(b, choices, state.b || tested.find((id) => id !== first)
      || choices.find(([id]) => id !== first)?.[0]);
    const show = state.by === "auc" ? areasOf : comparisonOf;
    box.replaceChildren(...(first === second ? [element("p", {}, "Choose two different rows.")] : show(found, first, second, state.by)));
    box.querySelectorAll("table.sortable").forEach(prepareTable);
  } catch (error) {
    if (mine === asked) box.replaceChildren(element("p", { class: "warning" }, error.message));
  }
}

// Two rows that bench report tested against each other, `chosen` among them; of most pairs there are.
function testedPair(found, ids, chosen) {
  const pairs = found.boards.filter((board) => board.metric === state.by)
    .map((board) => board.pairs.filter(({ a, b }) => ids.has(a) && ids.has(b) && (!chosen || a === chosen || b === chosen)))
    .sort((one, other) => other.length - one.length)[0] ?? [];
  return pairs.length ? [pairs[0].a, pairs[0].b] : [];
}

function areasOf(found, first, second) {
  const [ours, theirs] = [PAGE.classes[first], PAGE.classes[second]];
  const facts = [ours, theirs].map((one) => [`AUC of ${one.label}`, one.auc === null ? "missing" : written(one.auc, 3)]);
  return [
    factList([...facts, ...testOf(found, first, second, "auc", 3)]),
    element("p", {}, "An AUC belongs to a test set: it has no value, and so no picture, of each case."),
  ];
}

function comparisonOf(found, first, second, metric) {
  const names = [PAGE.rows[first].label, PAGE.rows[second].label];
  const [ours, theirs] = [caseScores(found, first, metric), caseScores(found, second, metric)];
  const cases = found.cases.filter((name) => ours.has(name) && theirs.has(name));
  if (!cases.length) return [element("p", {}, "No test case has a value for both.")];
  const points = cases.map((name) => ({ name, x: theirs.get(name), y: ours.get(name) }));
  const digits = metric === "dice" ? 3 : 1;
  const pictures = element("div", { class: "examples", id: "case-pictures" });
  const kept = found.cells.filter((cell) => cell.row === first || cell.row === second);
  const pictured = new Set(kept.flatMap((cell) => Array.from(cell.pictures.keys())));
  // What is to be done when a case is chosen; nothing where no picture of it was kept.
  const shown = (name) => pictured.has(name) && (() => {
    remember({ case: name });
    showPictures(pictures, found, [first, second], names, name);
    pictures.scrollIntoView({ block: "nearest" });
  });
  if (cases.includes(state.case)) showPictures(pictures, found, [first, second], names, state.case);
  return [
    verdict(found, first, second, names, points, metric, digits),
    element("div", { class: "figures" },
      scatter(points, names, metric, digits, shown), differences(points, names, metric, digits, shown)),
    caseTable(points, names, digits, shown), pictures,
  ];
}

function verdict(found, first, second, names, points, metric, digits) {
  const gaps = points.map((point) => point.y - point.x);
  const better = (gap) => (metric === "dice" ? gap > 0 : gap < 0);
  const facts = [
    [`Mean of ${names[0]}`, written(mean(points.map((p) => p.y)), digits)],
    [`Mean of ${names[1]}`, written(mean(points.map((p) => p.x)), digits)],
    ["Test cases", String(points.length)],
    [`${names[0]} better, equal, worse`, [
      gaps.filter((gap) => Math.abs(gap) > 1e-9 && better(gap)).length, gaps.filter((gap) => Math.abs(gap) <= 1e-9).length,
      gaps.filter((gap) => Math.abs(gap) > 1e-9 && !better(gap)).length,
    ].join(", ")],
  ];
  return factList([...facts, ...testOf(found, first, second, metric, digits)]);
}

// The test that bench report made of two rows, turned so that the first comes first.
function testOf(found, first, second, metric, digits) {
  const board = found.boards.find((one) => one.metric === metric && one.pairs.some((pair) => sameTwo(pair, first, second)));
  if (!board) return [["Test", "none: the two do not share draws, seeds and cases"]];
  const pair = board.pairs.find((one) => sameTwo(one, first, second));
  const sign = pair.a === first ? 1 : -1;
  const ends = pair.low === null ? "" :
    ` [${[sign * pair.low, sign * pair.high].sort((x, y) => x - y).map((end) => written(end, digits, true)).join(", ")}]`;
  const effect = pair.wins === null ? [] :
    [["Effect (rank-biserial)", pair.effect === null ? "not computable" : written(sign * pair.effect, 2, true)]];
  return [
    [`${board.statistic}, 95 %`, written(sign * pair.mean, digits, true) + ends],
    ["p, adjusted", pair.p === null ? `not computable: ${pair.reason}` : `${shortP(pair.p)}, ${shortP(pair.p_adjusted)}`],
    ...effect,
    ["Test", board.test],
  ];
}

function factList(facts) {
  return element("dl", { class: "facts" },
    ...facts.map(([word, text]) => element("div", {}, element("dt", {}, word), element("dd", {}, text))));
}

function sameTwo(pair, first, second) {
  return (pair.a === first && pair.b === second) || (pair.a === second && pair.b === first);
}

function shortP(p) {
  return p < 1e-4 ? "<0.0001" : String(Number(p.toPrecision(2)));
}

function drawn(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function chart(title, description) {
  return drawn("svg", { viewBox: "0 0 420 340", role: "img", class: "chart", "aria-label": `${title}. ${description}` });
}

function scale(values, from, to) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const margin = 0.05 * (high - low) || 0.01;
  return { low: low - margin, high: high + margin, at: (value) => from + ((value - low + margin) / (high - low + 2 * margin)) * (to - from) };
}

// Round numbers along an axis, zero among them where it is on it.
function ticks({ low, high }) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 4));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= (high - low) / 4.5);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, place) => (first + place) * step + 0)
    .map((value) => [value, written(value, digits)]);
}

function shortened(name, most) {
  return name.length > most ? `${name.slice(0, most - 1)}\u2026` : name;
}

function scatter(points, names, metric, digits, shown) {
  const word = metric === "dice" ? "Dice" : "HD95 (mm)";
  const svg = chart(`${word} of each test case`, `${points.length} cases, ${names[1]} across, ${names[0]} upwards`);
  const all = points.flatMap((point) => [point.x, point.y]);
  const x = scale(all, 60, 405);
  const y = scale(all, 290, 15);
  svg.append(
    drawn("path", { class: "axis", d: "M60 15V290H405" }),
    drawn("path", { class: "zero", d: `M${x.at(x.low)} ${y.at(x.low)}L${x.at(x.high)} ${y.at(x.high)}` }));
  for (const [value, text] of ticks(x)) {
    svg.append(drawn("text", { x: x.at(value), y: 306, "text-anchor": "middle" }, text),
      drawn("text", { x: 54, y: y.at(value) + 4, "text-anchor": "end" }, text));
  }
  svg.append(drawn("text", { x: 232, y: 330, "text-anchor": "middle" }, `${word}, ${shortened(names[1], 40)}`),
    drawn("text", { transform: "translate(14 152) rotate(-90)", "text-anchor": "middle" }, `${word}, ${shortened(names[0], 36)}`));
  for (const point of points) {
    const circle = drawn("circle", { cx: x.at(point.x), cy: y.at(point.y), r: 4.5, class: "point" },
      drawn("title", {}, `${point.name}: ${written(point.y, digits)} against ${written(point.x, digits)}`));
    onCase(circle, shown(point.name));
    svg.append(circle);
  }
  return element("figure", {}, svg);
}

function differences(points, names, metric, digits, shown) {
  const word = metric === "dice" ? "Dice" : "HD95 (mm)";
  const svg = chart(`Difference of ${word} by test case`, `${names[0]} minus ${names[1]}, sorted`);
  const short = names.every((name) => name.length <= 20);
  const sorted = points.map((point) => ({ ...point, gap: point.y - point.x })).sort((p, q) => p.gap - q.gap);
  const y = scale([0, ...sorted.map((point) => point.gap)], 290, 15);
  const width = 345 / sorted.length;
  svg.append(drawn("path", { class: "axis", d: "M60 15V290" }));
  for (const [value, text] of ticks(y)) {
    svg.append(drawn("text", { x: 54, y: y.at(value) + 4, "text-anchor": "end" }, text));
  }
  sorted.forEach((point, place) => {
    const [top, base] = [y.at(Math.max(point.gap, 0)), y.at(Math.min(point.gap, 0))];
    const bar = drawn("rect", {
      x: 60 + place * width + 0.1 * width, y: top, width: 0.8 * width, height: Math.max(base - top, 0.75),
      class: (metric === "dice") === point.gap > 0 ? "bar better" : "bar worse",
    }, drawn("title", {}, `${point.name}: ${written(point.gap, digits, true)}`));
    onCase(bar, shown(point.name));
    svg.append(bar);
  });
  svg.append(drawn("path", { class: "zero", d: `M60 ${y.at(0)}H405` }),
    drawn("text", { x: 232, y: 322, "text-anchor": "middle" }, "Test cases, sorted by difference"),
    drawn("text", { transform: "translate(14 152) rotate(-90)", "text-anchor": "middle" },
      short ? names.join(" \u2212 ") : `${word}, first \u2212 second`));
  return element("figure", {}, svg);
}

function onCase(mark, action) {
  if (!action) return;
  mark.classList.add("choice");
  mark.addEventListener("click", action);
}

function caseTable(points, names, digits, shown) {
  const heads = ["Case", names[0], names[1], "Difference"];
  const promise = points.some((point) => shown(point.name)) ?
    "a name that is a link shows its pictures" : "no pictures of these cases were kept";
  const body = points.map((point) => {
    const action = shown(point.name);
    const label = action ? element("button", { type: "button", class: "link" }, point.name) : point.name;
    if (action) label.addEventListener("click", action);
    const number = (value, signed) => element("td", { "data-value": value }, element("span", { class: "text" }, written(value, digits, signed)));
    return element("tr", {}, element("th", { scope: "row" }, label),
      number(point.y), number(point.x), number(point.y - point.x, true));
  });
  return element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Cases" },
    element("table", { class: "sortable", id: "compared-cases" },
      element("caption", {}, `Each test case, draws and seeds averaged; ${promise}`),
      element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...body)));
}

function showPictures(box, found, ids, names, name) {
  const figures = ids.map((id, place) => {
    const cell = found.cells.find((one) => one.row === id && one.pictures.has(name));
    if (!cell) return element("p", {}, `${names[place]}: no picture of ${name} was kept`);
    const words = `${names[place]}, draw ${cell.draw}, seed ${cell.seed}`;
    return element("figure", {},
      element("img", { src: cell.pictures.get(name), alt: `Case ${name}: image, reference and prediction of ${words}` }),
      element("figcaption", {}, cell.predictions ?
        `${words}; command for the whole case: bench view ${cell.key.slice(0, 12)} ${name}` : words));
  });
  box.replaceChildren(element("h4", {}, `Case ${name}`), ...figures);
}

pairForm.addEventListener("change", (event) => {
  const { name, value } = event.target;
  if (name === "task") choose({ ctask: value, cshots: "", a: "", b: "", case: "" });
  else if (name === "shots") choose({ cshots: value, a: "", b: "" });
  else if (name === "by" && (value === "auc") !== (state.by === "auc")) {
    choose({ by: value, ctask: "", cshots: "", a: "", b: "", case: "" }); // other tasks
  }
  else if (name === "by") choose({ by: value });
  else {
    const other = pairForm.elements[name === "a" ? "b" : "a"];
    const stays = state[other.name] || other.value !== value; // else it was nobody's choice
    choose({ [name]: value, [other.name]: stays ? other.value : "" });
  }
});
