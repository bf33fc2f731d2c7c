// How hotspots look on the map: a shape and a colour for each level, hollow once decided.

export const LEVELS = [
  { level: 1, name: "level 1", shape: "triangle", colour: "--level1" },
  { level: 2, name: "level 2", shape: "diamond", colour: "--level2" },
  { level: 3, name: "level 3", shape: "circle", colour: "--level3" },
  { level: 0, name: "prints", shape: "cross", colour: "--level0" },
];
const BY_LEVEL = Object.fromEntries(LEVELS.map((row) => [row.level, row]));

export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["--ink", "--sheet", "--field", "--line", "--soft", "--accent", "--band",
    ...LEVELS.map((row) => row.colour)];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(name).trim()]));
}

// Neighbouring numbers get colours far apart: steps of the golden angle.
export const classColour = (number, dark) =>
  `hsl(${(number * 137.508) % 360} ${dark ? "75% 62%" : "70% 38%"})`;

export function traceShape(context, shape, x, y, r) {
  context.beginPath();
  if (shape === "triangle") {
    context.moveTo(x, y - 1.25 * r);
    context.lineTo(x + 1.15 * r, y + 0.85 * r);
    context.lineTo(x - 1.15 * r, y + 0.85 * r);
    context.closePath();
  } else if (shape === "diamond") {
    context.moveTo(x, y - 1.25 * r);
    context.lineTo(x + 1.25 * r, y);
    context.lineTo(x, y + 1.25 * r);
    context.lineTo(x - 1.25 * r, y);
    context.closePath();
  } else if (shape === "circle") {
    context.arc(x, y, r, 0, 2 * Math.PI);
  } else {
    context.moveTo(x - r, y - r);
    context.lineTo(x + r, y + r);
    context.moveTo(x - r, y + r);
    context.lineTo(x + r, y - r);
  }
}

export function drawPoint(context, x, y, [, , , level, state, number], look) {
  const { shape, colour } = BY_LEVEL[level];
  const paint = look.byClass ? classColour(number, look.dark) : look.colours[colour];
  traceShape(context, shape, x, y, 6);
  context.lineWidth = 4;
  context.strokeStyle = look.colours["--sheet"];
  context.stroke();
  context.lineWidth = 2;
  context.strokeStyle = paint;
  context.fillStyle = state === 0 ? paint : look.colours["--sheet"];
  if (shape !== "cross") context.fill();
  context.stroke();
  if (state === 2) { // to fix
    traceShape(context, "circle", x, y, 1.8);
    context.fillStyle = paint;
    context.fill();
  }
}

// A square of many hotspots, in the colour of its worst level; the more, the darker.
export function drawSquare(context, left, top, side, counts, look) {
  const { colour } = LEVELS.find((row) => counts[row.level] > 0);
  const total = counts.reduce((sum, count) => sum + count, 0);
  context.globalAlpha = Math.min(0.9, 0.3 + 0.12 * Math.log2(total));
  context.fillStyle = look.byClass ? look.colours["--soft"] : look.colours[colour];
  context.fillRect(left + 0.5, top + 0.5, side - 1, side - 1);
  context.globalAlpha = 1;
}
