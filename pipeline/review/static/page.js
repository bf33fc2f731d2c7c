// The page: what happens when something is pressed, chosen or decided.

import { get, post } from "./api.js";
import { describeSpot, showSpot } from "./detail.js";
import { askForText, setUpHelp } from "./dialogs.js";
import { $, count, make, say, setPressed } from "./dom.js";
import { readFilter, setUpFilter, showCounts, showLegend } from "./filter.js";
import { listenToPointer, moveByKey } from "./gestures.js";
import { Lists } from "./lists.js";
import { ChipMap } from "./map.js";

const AROUND = 1.5; // of a hotspot, in clip cores each way

const DONE = { accepted: "Accepted", fix: "To fix:", waived: "Waived", open: "Opened" };

const run = await get("api/run");
let spot = null;
const map = new ChipMap($("map"), run, readFilter);
const lists = new Lists(readFilter, (chosen) => (chosen.spot ? open(chosen.spot) : openClass(chosen.class)));

function guard(action) {
  return async (...given) => {
    try {
      await action(...given);
    } catch (error) {
      say(error.message);
    }
  };
}

let last = Promise.resolve();

// What is pressed acts in the order in which it was pressed, each on what the one before left.
function inTurn(action) {
  const guarded = guard(action);
  return (...given) => {
    last = last.then(() => guarded(...given));
    return last;
  };
}

function show(found, { announce = true } = {}) {
  spot = found?.id ? found : null;
  if (map.contours?.id !== spot?.id) setContours(null);
  map.spot = spot;
  map.draw();
  showSpot(spot, run, Boolean(spot) && readFilter().class === String(spot.class));
  lists.follow(spot);
  history.replaceState(null, "", spot ? `#H${spot.id}` : "#");
  if (announce) {
    const place = spot?.at === null || spot?.at === undefined ? "" : `, ${count(spot.at + 1)} of ${count(spot.total)}`;
    say(spot ? describeSpot(spot) + place : "No hotspot passes the filter.");
  }
}

// Where the map is close, it follows; in an overview, it stays.
function follow() {
  if (!spot) return;
  const { view } = map;
  const [x, y] = view.toScreen(...spot.place);
  const isSeen = x > 40 && y > 40 && x < view.width - 40 && y < view.height - 40;
  if (isSeen) return;
  [view.x, view.y] = spot.place;
  map.draw();
}

const open = inTurn(async (id) => {
  show(await get(`api/spots/${id}`, readFilter()));
  follow();
});

const step = inTurn(async (by) => {
  show(await get("api/step", { ...readFilter(), from: spot?.id ?? 0, by }));
  follow();
});

async function firstOf(query) {
  return get("api/step", { ...query, from: 0, by: 1 });
}

const openClass = inTurn(async (number) => {
  $("class").value = number;
  await filterChanged();
});

const stepClass = inTurn(async (by) => {
  if (!spot) return;
  const { class: only, ...rest } = readFilter();
  const found = await get("api/step-class", { ...rest, from: spot.class, by });
  if (!found.id) return;
  if (only) {
    $("class").value = found.class;
    await filterChanged();
  } else {
    show(found);
    follow();
  }
});

const toggleClass = inTurn(async () => {
  if (!spot) return;
  const isOn = readFilter().class === String(spot.class);
  $("class").value = isOn ? "" : spot.class;
  await filterChanged(spot.id);
});

async function filterChanged(keep = null) {
  map.draw();
  await lists.load(0);
  show(keep ? await get(`api/spots/${keep}`, readFilter()) : await firstOf(readFilter()));
  follow();
}

const zoomToSpot = inTurn(() => {
  if (!spot) return;
  const [x, y] = spot.place;
  const reach = AROUND * run.core_dbu;
  map.view.fit([x - reach, y - reach, x + reach, y + reach], 1);
  map.draw();
});

function setContours(found) {
  map.contours = found;
  setPressed($("contours"), Boolean(found));
  map.draw();
}

const toggleContours = guard(async () => {
  if (!spot) return;
  if (map.contours) return setContours(null);
  const { id } = spot;
  say("Simulating what prints here.");
  $("contours").disabled = true;
  try {
    const found = await get(`api/contours/${id}`);
    if (spot?.id !== id) return;
    setContours({ ...found, id });
    if (!map.isClose) zoomToSpot();
    const corners = Object.keys(found.contours).length;
    say(`Contours at ${count(corners, "corner")} of the process, mask ${found.opc === "none" ? "as drawn" : "corrected"}.`);
  } finally {
    $("contours").disabled = false;
  }
});

const reload = guard(() => lists.load());

async function send(what, wholeClass, words = {}) {
  const { id } = spot;
  if (!$("by").reportValidity()) throw new Error("give the reviewer's name first");
  const request = { what, by: $("by").value, hotspot: id, whole_class: wholeClass };
  if (words.text) request.text = words.text;
  if (words.expires) request.expires = words.expires;
  const done = await post("api/decide", request);
  showCounts(done);
  map.refresh(done.version);
  const name = what === "comment" ? "Kept the comment" : `${DONE[what]} ${count(done.changed, "hotspot")}`;
  const left = done.left_out ? `, ${count(done.left_out)} print in simulation and are not waived` : "";
  const goesOn = $("advance").checked && what !== "comment" && what !== "open";
  const next = goesOn ? await get("api/step", { states: "open", ...readFilter(), from: id, by: 1 }) : {};
  show(await get(`api/spots/${next.id ?? id}`, readFilter()), { announce: false });
  follow();
  say(`${name}${left}${done.waiver ? `, ${done.waiver}` : ""}. ${count(done.states.open)} open.${next.id ? ` Next: ${describeSpot(spot)}` : ""}`);
  reload();
}

const decide = inTurn(async (what, wholeClass) => {
  if (!spot) return;
  if (what !== "waived" && what !== "comment") return send(what, wholeClass);
  const whole = wholeClass && what === "waived";
  const about = whole ? `All open hotspots of class ${spot.class}, as H${spot.id}` : describeSpot(spot);
  askForText(what, about, (words) => send(what, whole, words));
});

function setColour(by) {
  $("colour").value = map.colourBy = by;
  showLegend(map.look, by === "class");
  map.draw();
}

const ACTIONS = {
  j: () => step(1), k: () => step(-1), n: () => stepClass(1), p: () => stepClass(-1),
  c: toggleClass, o: toggleContours, z: zoomToSpot,
  l: () => setColour(map.colourBy === "level" ? "class" : "level"),
  "/": () => $("levels").querySelector("input").focus(),
  "?": () => $("help").showModal(),
};
for (const [key, what] of Object.entries({ a: "accepted", f: "fix", w: "waived", m: "comment", u: "open" })) {
  ACTIONS[key] = () => decide(what, $("whole").checked);
  if (key !== "m") ACTIONS[key.toUpperCase()] = () => decide(what, true);
}

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("textarea, select, input:not([type=checkbox])");
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping || document.querySelector("dialog[open]")) return;
  const scrolls = event.key.startsWith("Arrow") && event.target.closest(".scroll, #detail");
  if (scrolls || (event.key.length === 1 && !$("single").checked && event.target !== $("map"))) return;
  const action = ACTIONS[event.key];
  if (action) {
    if (event.repeat && !"jk".includes(event.key)) return; // a key that is held decides once
    action();
  } else if (!moveByKey(map, event.key)) {
    return;
  }
  event.preventDefault();
});

for (const [id, key] of Object.entries({ next: "j", previous: "k", "class-on": "n", "class-back": "p", "class-only": "c", contours: "o", "zoom-spot": "z" })) {
  $(id).addEventListener("click", () => ACTIONS[key]());
}
for (const [id, key] of Object.entries({ "zoom-in": "+", "zoom-out": "-", "zoom-all": "0" })) {
  $(id).addEventListener("click", () => moveByKey(map, key));
}
for (const button of document.querySelectorAll("#actions [data-what]")) {
  button.addEventListener("click", () => decide(button.dataset.what, $("whole").checked));
}
$("colour").addEventListener("change", () => setColour($("colour").value));
run.layers.forEach(({ name, colour }, layer) => {
  const swatch = make("i", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = colour;
  const box = make("input", { type: "checkbox", checked: true });
  box.addEventListener("change", () => {
    map.layers[layer] = box.checked;
    map.draw();
  });
  $("layers").append(make("label", {}, box, swatch, name));
});

const um = (dbu) => ((dbu * run.dbu_nm) / 1000).toFixed(2);
map.addEventListener("drawn", () => {
  const most = Math.log10((120 * map.view.scale * run.dbu_nm) / 1000);
  const length = 10 ** Math.floor(most) * [1, 2, 5].findLast((step) => Math.log10(step) <= most - Math.floor(most));
  $("bar").querySelector("i").style.width = `${(length * 1000) / run.dbu_nm / map.view.scale}px`;
  $("bar").querySelector("b").textContent = length >= 1 ? `${length} µm` : `${Math.round(length * 1000)} nm`;
});
listenToPointer(map, open, ([x, y]) => { $("cursor").textContent = `${um(x)}, ${um(y)} µm`; });

document.title = `Review of ${run.layout} · hotscan`;
$("layout").textContent = `${run.layout} · ${run.top}`;
$("by").value = run.by;
setUpFilter(run, inTurn(() => filterChanged()));
setUpHelp(run);
setColour("level");
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setColour(map.colourBy));
const asked = /^#H(\d+)$/.exec(location.hash)?.[1];
const first = asked ? open(asked)
  : inTurn(async () => show(await firstOf({ ...readFilter(), states: "open" }), { announce: false }))();
await Promise.all([first, reload()]);
