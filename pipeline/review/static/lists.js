// The lists of classes and of hotspots, a page at a time.

import { get } from "./api.js";
import { $, count, make, STATE_NAMES } from "./dom.js";

const ROWS = 50;

const shortLevel = (level) => (level ? String(level) : "prints");

const KINDS = {
  classes: {
    path: "api/classes",
    noun: "class",
    heads: ["Class", "Level", "Hotspots", "Open", "Kind", "Cell"],
    cells: (row) => [`C${row.id}`, shortLevel(row.level), count(row.hotspots), count(row.open),
      row.kind, row.cells > 1 ? `${row.cell} and ${row.cells - 1} more` : row.cell],
    numbers: [2, 3],
  },
  spots: {
    path: "api/spots",
    noun: "hotspot",
    heads: ["Hotspot", "Level", "State", "Class", "Kind", "Cell"],
    cells: (row) => [`H${row.id}`, shortLevel(row.level), STATE_NAMES[row.state], `C${row.class}`,
      row.kind, row.cell],
    numbers: [],
  },
};

export class Lists {
  constructor(query, choose) {
    Object.assign(this, { query, choose, kind: "classes", offset: 0, total: 0, current: null });
    for (const kind of Object.keys(KINDS)) {
      $(`tab-${kind}`).addEventListener("click", () => this.show(kind));
    }
    document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const other = this.kind === "classes" ? "spots" : "classes";
      this.show(other);
      $(`tab-${other}`).focus();
      event.preventDefault();
      event.stopPropagation();
    });
    $("page-back").addEventListener("click", () => this.turn(-1));
    $("page-on").addEventListener("click", () => this.turn(1));
  }

  show(kind) {
    this.kind = kind;
    for (const each of Object.keys(KINDS)) {
      $(`tab-${each}`).setAttribute("aria-selected", String(each === kind));
      $(`tab-${each}`).tabIndex = each === kind ? 0 : -1;
    }
    for (const region of [$("list"), $("list").querySelector(".scroll")]) {
      region.setAttribute("aria-labelledby", `tab-${kind}`);
    }
    return this.load(0);
  }

  turn(pages) {
    return this.load(Math.max(0, Math.min(this.offset + pages * ROWS, this.total - 1)));
  }

  // Show the page with the hotspot that is looked at; `at` is its place in the list of hotspots.
  follow(spot) {
    this.current = spot;
    const page = Math.floor((spot?.at ?? this.offset) / ROWS) * ROWS;
    if (this.kind === "spots" && page !== this.offset) return this.load(page);
    return this.#mark();
  }

  async load(offset = this.offset) {
    this.offset = offset;
    const { path } = KINDS[this.kind];
    const asked = [this.kind, offset].join();
    this.asked = asked;
    const found = await get(path, { ...this.query(), offset, limit: ROWS });
    if (this.asked !== asked) return;
    this.total = found.total;
    this.#fill(found.rows);
  }

  #fill(rows) {
    const { heads, cells, numbers, noun } = KINDS[this.kind];
    const heading = make("tr", {}, ...heads.map((name, at) =>
      make("th", { scope: "col", class: numbers.includes(at) && "number" }, name)));
    $("table").tHead.replaceChildren(heading);
    $("table").tBodies[0].replaceChildren(...rows.map((row) => {
      const [first, ...rest] = cells(row);
      const open = () => this.choose(this.kind === "classes" ? { class: row.id } : { spot: row.id });
      return make("tr", { "data-id": row.id, onclick: open },
        make("th", { scope: "row" }, make("button", { type: "button" }, first)),
        ...rest.map((text, at) => make("td", { class: numbers.includes(at + 1) && "number", title: text }, text)));
    }));
    const last = Math.min(this.offset + ROWS, this.total);
    $("page").textContent = this.total
      ? `${count(this.offset + 1)}–${count(last)} of ${count(this.total, noun)}` : `no ${noun}`;
    $("page-back").disabled = this.offset === 0;
    $("page-on").disabled = last >= this.total;
    this.#mark();
  }

  #mark() {
    const id = this.kind === "classes" ? this.current?.class : this.current?.id;
    for (const row of $("table").tBodies[0].rows) {
      const isCurrent = Number(row.dataset.id) === id;
      row.toggleAttribute("aria-current", isCurrent);
      if (isCurrent) {
        row.setAttribute("aria-current", "true");
        row.scrollIntoView({ block: "nearest" });
      }
    }
  }
}
