// The filter: which hotspots the map and the lists show.

import { $, count, make, STATE_NAMES } from "./dom.js";
import { LEVELS, traceShape } from "./marks.js";

const form = () => $("filter");

export function setUpFilter(run, changed) {
  for (const { level, name } of LEVELS) {
    $("levels").append(makeBox("level", level, name));
  }
  for (const [state, name] of Object.entries(STATE_NAMES)) {
    $("states").append(makeBox("state", state, name));
  }
  $("kind").append(...run.kinds.map((kind) => make("option", { value: kind }, kind)));
  $("cells").append(...run.cells.map((cell) => make("option", { value: cell })));
  form().addEventListener("change", changed);
  form().addEventListener("submit", (event) => event.preventDefault());
  form().addEventListener("reset", () => setTimeout(changed));
  if (run.prints) { // what prints needs no decision
    for (const box of form().elements.level) box.checked = box.value !== "0";
  }
  showCounts(run);
}

function makeBox(name, value, text) {
  return make("label", {}, make("input", { type: "checkbox", name, value }), ` ${text} `,
    make("span", { class: "soft", id: `count-${name}-${value}` }));
}

export function showCounts({ states, open_levels, prints }) {
  for (const [state, number] of Object.entries(states)) {
    $(`count-state-${state}`).textContent = count(number);
  }
  open_levels.forEach((number, level) => {
    $(`count-level-${level}`).textContent = `${count(number)} open`;
  });
  const total = Object.values(states).reduce((sum, number) => sum + number, 0);
  const done = total - states.open;
  $("progress").textContent = `${count(done)} of ${count(total, "hotspot")} decided · `
    + `${count(states.fix)} to fix · ${count(states.waived)} waived${prints ? ` · ${count(prints)} more print` : ""}`;
}

export function readFilter() {
  const checked = (name) => [...form().elements[name] ?? []]
    .filter((box) => box.checked).map((box) => box.value).join(",");
  const values = {
    levels: checked("level"), states: checked("state"), class: $("class").value,
    kind: $("kind").value, cell: $("cell").value.trim(),
  };
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value));
}

export function showLegend(look, byClass) {
  const items = LEVELS.map(({ shape, name, colour }) => {
    const canvas = make("canvas", { width: 32, height: 32, "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    context.scale(2, 2);
    traceShape(context, shape, 8, 8, 5);
    context.strokeStyle = context.fillStyle = byClass ? look.colours["--soft"] : look.colours[colour];
    context.lineWidth = 2;
    if (shape !== "cross") context.fill();
    context.stroke();
    return make("span", {}, canvas, name);
  });
  const more = byClass ? "colours: classes" : "squares: several, by the worst";
  $("legend").replaceChildren(...items, make("span", {}, "hollow: decided · dot: to fix"), make("span", {}, more));
}
