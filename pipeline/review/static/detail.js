// What is known of the hotspot that is looked at.

import { $, count, levelName, make, setPressed, STATE_NAMES } from "./dom.js";

const number = (value, digits = 3) => (value === null || value === undefined ? "" : value.toFixed(digits));

function listFacts(spot, run) {
  const worst = spot.verdict?.worst;
  const um = (dbu) => ((dbu * run.dbu_nm) / 1000).toFixed(3);
  const facts = [
    ["State", STATE_NAMES[spot.state]],
    ["Level", `${levelName(spot.level)}, by ${spot.level_by}`],
    ["Kind", spot.kind],
  ];
  if (worst) {
    facts.push(["Fails", `${worst.kind}, severity ${number(worst.severity, 2)}, at ${worst.corner}`],
      ["Defects", count(spot.verdict.defects)]);
  } else if (run.simulated) {
    facts.push(["Simulation", spot.verdict ? "prints" : "not simulated"]);
  }
  facts.push(
    ["Score", number(spot.score)],
    ["Class", `C${spot.class}, ${count(spot.members, "hotspot")}`],
    ["Cell", spot.cell ? `${spot.cell} (${spot.cell_kind})` : spot.cell_kind],
  );
  if (spot.path) facts.push(["Placement", spot.path]);
  if (spot.measured_nm) facts.push(["Tightest", `${spot.feature}, ${number(spot.measured_nm, 0)} nm`]);
  facts.push(["Place", `${um(spot.place[0])}, ${um(spot.place[1])} µm`]);
  if (spot.waiver) facts.push(["Waiver", `${spot.waiver}: ${spot.reason}`]);
  return facts;
}

export function describeSpot(spot) {
  return `H${spot.id}, ${levelName(spot.level)}, ${spot.kind}, in class C${spot.class} (${count(spot.members, "hotspot")}), `
    + `${spot.cell || "no cell"}, ${STATE_NAMES[spot.state]}`;
}

export function showSpot(spot, run, classOnly) {
  $("name").textContent = spot ? `H${spot.id} · ${levelName(spot.level)} · ${spot.kind}` : "No hotspot passes the filter";
  $("name").dataset.level = spot?.level ?? "";
  $("position").textContent = !spot ? "" : spot.at === null || spot.at === undefined
    ? `${count(spot.total)} in the filter` : `${count(spot.at + 1)} of ${count(spot.total)}`;
  for (const button of document.querySelectorAll("#actions button, #previous, #next, #class-back, #class-on, #class-only, #zoom-spot, #contours")) {
    button.disabled = !spot;
  }
  for (const button of document.querySelectorAll("#actions button[data-what]")) {
    const { what } = button.dataset;
    if (what === "open") button.disabled = !spot || spot.state === "open";
    else if (what !== "comment") setPressed(button, what === spot?.state);
  }
  setPressed($("class-only"), classOnly);
  $("facts").replaceChildren(...(spot ? listFacts(spot, run) : []).flatMap(([name, text]) =>
    [make("dt", {}, name), make("dd", {}, text)]));
  const notes = spot?.notes ?? [];
  $("notes").replaceChildren(...notes.map((note) => make("li", {},
    make("b", {}, note.what === "comment" ? "comment" : STATE_NAMES[note.what]),
    ` by ${note.by}, `, make("time", { datetime: note.at }, note.at.replace("T", " ").replace("Z", " UTC")),
    note.text ? make("p", {}, note.text) : null,
    note.waiver ? make("p", { class: "soft" }, `waiver ${note.waiver}`) : null)));
  if (!notes.length) $("notes").replaceChildren(make("li", { class: "soft" }, "none yet"));
}
