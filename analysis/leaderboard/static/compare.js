// Two methods case by case: scatter, differences, the test that bench report made, both pictures.

const comparison = document.getElementById("comparison");
const pairForm = document.getElementById("pair");
const SVG = "http://www.w3.org/2000/svg";
let asked = 0;

function rowsOf(task, shots) {
  return Object.entries(PAGE.rows).filter(([, row]) => row.task === task && row.shots === shots);
}

function fill(select, words, chosen) {
  select.replaceChildren(...words.map(([value, text]) => element("option", { value }, text)));
  select.value = words.some(([value]) => value === chosen) ? chosen : words[0]?.[0] ?? "";
  return select.value;
}

async function showComparison() {
  const rows = Object.values(PAGE.rows);
  if (!rows.length) return;
  comparison.hidden = false;
  const { task, shots, a, b, by } = pairForm.elements;
  const tasks = [...new Set(rows.map((row) => row.task))];
  const chosenTask = fill(task, tasks.map((word) => [word, word]), state.ctask ?? state.task);
  const counts = [...new Set(rows.filter((row) => row.task === chosenTask).map((row) => row.shots))];
  const chosenShots = fill(shots, counts.map((word) => [word, word]), state.cshots ?? state.shots);
  const choices = rowsOf(chosenTask, chosenShots).map(([id, row]) => [id, row.label]);
  const first = fill(a, choices, state.a);
  const second = fill(b, choices, state.b ?? choices.find(([id]) => id !== first)?.[0]);
  by.value = state.by ?? "dice";
  const box = document.getElementById("compared");
  asked += 1;
  const mine = asked;
  try {
    const found = await loadTask(chosenTask);
    if (mine !== asked) return;
    box.replaceChildren(...comparisonOf(found, first, second, by.value));
    box.querySelectorAll("table.sortable").forEach(prepareTable);
  } catch (error) {
    if (mine === asked) box.replaceChildren(element("p", { class: "warning" }, error.message));
  }
}

function comparisonOf(found, first, second, metric) {
  const names = [PAGE.rows[first].label, PAGE.rows[second].label];
  if (first === second) return [element("p", {}, "Choose two different rows.")];
  const [ours, theirs] = [caseScores(found, first, metric), caseScores(found, second, metric)];
  const cases = found.cases.filter((name) => ours.has(name) && theirs.has(name));
  if (!cases.length) return [element("p", {}, "No test case has a value for both.")];
  const points = cases.map((name) => ({ name, x: theirs.get(name), y: ours.get(name) }));
  const digits = metric === "dice" ? 3 : 1;
  const pictures = element("div", { class: "examples", id: "case-pictures" });
  const look = (name) => {
    remember({ case: name });
    showPictures(pictures, found, [first, second], names, name);
    pictures.scrollIntoView({ block: "nearest" });
  };
  if (cases.includes(state.case)) showPictures(pictures, found, [first, second], names, state.case);
  return [
    verdict(found, first, second, names, points, metric, digits),
    element("div", { class: "figures" },
      scatter(points, names, metric, digits, look), differences(points, names, metric, digits, look)),
    caseTable(points, names, digits, look), pictures,
  ];
}

function verdict(found, first, second, names, points, metric, digits) {
  const board = found.boards.find((one) => one.pairs.some((pair) => sameTwo(pair, first, second)));
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
  const list = element("dl", { class: "facts" });
  if (board && metric === "dice") {
    const pair = board.pairs.find((one) => sameTwo(one, first, second));
    const sign = pair.a === first ? 1 : -1;
    const ends = pair.low === null ? "" :
      ` [${[sign * pair.low, sign * pair.high].sort((x, y) => x - y).map((end) => written(end, 3, true)).join(", ")}]`;
    facts.push(
      [`${board.statistic}, 95 %`, written(sign * pair.mean, 3, true) + ends],
      ["p, adjusted", pair.p === null ? `not computable: ${pair.reason}` : `${shortP(pair.p)}, ${shortP(pair.p_adjusted)}`],
      ["Effect (rank-biserial)", pair.effect === null ? "not computable" : written(sign * pair.effect, 2, true)],
      ["Test", board.test]);
  } else {
    facts.push(["Test", metric === "dice" ? "none: the two do not share draws, seeds and cases" : "made for Dice alone; see bench analyze --metric"]);
  }
  for (const [word, text] of facts) list.append(element("div", {}, element("dt", {}, word), element("dd", {}, text)));
  return list;
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

function ticks(axis, digits) {
  return [0, 0.25, 0.5, 0.75, 1].map((share) => axis.low + share * (axis.high - axis.low))
    .map((value) => [value, written(value, digits)]);
}

function scatter(points, names, metric, digits, look) {
  const word = metric === "dice" ? "Dice" : "HD95 (mm)";
  const svg = chart(`${word} of each test case`, `${points.length} cases, ${names[1]} across, ${names[0]} upwards`);
  const all = points.flatMap((point) => [point.x, point.y]);
  const x = scale(all, 60, 405);
  const y = scale(all, 290, 15);
  svg.append(
    drawn("path", { class: "axis", d: "M60 15V290H405" }),
    drawn("path", { class: "zero", d: `M${x.at(x.low)} ${y.at(x.low)}L${x.at(x.high)} ${y.at(x.high)}` }));
  for (const [value, text] of ticks(x, digits === 3 ? 2 : 0)) {
    svg.append(drawn("text", { x: x.at(value), y: 306, "text-anchor": "middle" }, text),
      drawn("text", { x: 54, y: y.at(value) + 4, "text-anchor": "end" }, text));
  }
  svg.append(drawn("text", { x: 232, y: 330, "text-anchor": "middle" }, `${word}, ${names[1].slice(0, 40)}`),
    drawn("text", { transform: "translate(14 152) rotate(-90)", "text-anchor": "middle" }, `${word}, ${names[0].slice(0, 36)}`));
  for (const point of points) {
    const circle = drawn("circle", { cx: x.at(point.x), cy: y.at(point.y), r: 4.5, class: "point" },
      drawn("title", {}, `${point.name}: ${written(point.y, digits)} against ${written(point.x, digits)}`));
    circle.addEventListener("click", () => look(point.name));
    svg.append(circle);
  }
  return element("figure", {}, svg);
}

function differences(points, names, metric, digits, look) {
  const word = metric === "dice" ? "Dice" : "HD95 (mm)";
  const svg = chart(`Difference of ${word} by test case`, `${names[0]} minus ${names[1]}, sorted`);
  const sorted = points.map((point) => ({ ...point, gap: point.y - point.x })).sort((p, q) => p.gap - q.gap);
  const y = scale([0, ...sorted.map((point) => point.gap)], 290, 15);
  const width = 345 / sorted.length;
  svg.append(drawn("path", { class: "axis", d: "M60 15V290" }));
  for (const [value, text] of ticks(y, digits === 3 ? 2 : 0)) {
    svg.append(drawn("text", { x: 54, y: y.at(value) + 4, "text-anchor": "end" }, text));
  }
  sorted.forEach((point, place) => {
    const [top, base] = [y.at(Math.max(point.gap, 0)), y.at(Math.min(point.gap, 0))];
    const bar = drawn("rect", {
      x: 60 + place * width + 0.1 * width, y: top, width: 0.8 * width, height: Math.max(base - top, 0.75),
      class: (metric === "dice") === point.gap > 0 ? "bar better" : "bar worse",
    }, drawn("title", {}, `${point.name}: ${written(point.gap, digits, true)}`));
    bar.addEventListener("click", () => look(point.name));
    svg.append(bar);
  });
  svg.append(drawn("path", { class: "zero", d: `M60 ${y.at(0)}H405` }),
    drawn("text", { x: 232, y: 322, "text-anchor": "middle" }, "Test cases, sorted by difference"),
    drawn("text", { transform: "translate(14 152) rotate(-90)", "text-anchor": "middle" },
      `${names[0].slice(0, 20)} \u2212 ${names[1].slice(0, 20)}`));
  return element("figure", {}, svg);
}

function caseTable(points, names, digits, look) {
  const heads = ["Case", names[0], names[1], "Difference"];
  const body = points.map((point) => {
    const button = element("button", { type: "button", class: "link" }, point.name);
    button.addEventListener("click", () => look(point.name));
    const number = (value, signed) => element("td", { "data-value": value }, element("span", { class: "text" }, written(value, digits, signed)));
    return element("tr", {}, element("th", { scope: "row" }, button),
      number(point.y), number(point.x), number(point.y - point.x, true));
  });
  return element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Cases" },
    element("table", { class: "sortable", id: "compared-cases" },
      element("caption", {}, "Each test case, draws and seeds averaged; a name shows its pictures"),
      element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...body)));
}

function showPictures(box, found, ids, names, name) {
  const figures = ids.map((id, place) => {
    const cell = found.cells.find((one) => one.row === id && one.pictures.has(name));
    if (!cell) return element("p", {}, `${names[place]}: no picture of ${name} was kept; see bench view`);
    const words = `${names[place]}, draw ${cell.draw}, seed ${cell.seed}`;
    return element("figure", {},
      element("img", { src: cell.pictures.get(name), alt: `Case ${name}: image, reference and prediction of ${words}` }),
      element("figcaption", {}, `${words}; command for the whole case: bench view ${cell.key.slice(0, 12)} ${name}`));
  });
  box.replaceChildren(element("h4", {}, `Case ${name}`), ...figures);
}

pairForm.addEventListener("change", (event) => {
  const { name, value } = event.target;
  if (name === "task") choose({ ctask: value, cshots: "", a: "", b: "", case: "" });
  else if (name === "shots") choose({ cshots: value, a: "", b: "" });
  else choose({ [name]: value });
});
