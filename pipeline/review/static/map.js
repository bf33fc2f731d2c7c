// The map: tiles of the layout, hotspots over them, the one that is looked at, its contours.

import { get, getPicture } from "./api.js";
import { drawPoint, drawSquare, readColours } from "./marks.js";
import { Store } from "./store.js";
import { View } from "./view.js";

const IDLE_MS = 120; // after that, what is around the view is fetched, too
const NEXT_FACTOR = 1.5; // of a key that zooms
const HIT_PX = 12;
const CLOSE_PX = 60; // of a core
const DARK = matchMedia("(prefers-color-scheme: dark)");

export class ChipMap extends EventTarget {
  constructor(canvas, run, query) {
    super();
    this.layers = run.layers.map(() => true);
    Object.assign(this, { canvas, run, query, version: run.version, spot: null, contours: null });
    this.context = canvas.getContext("2d");
    this.view = new View(run.extent);
    this.colourBy = "level";
    this.pictures = new Store(120, (name, signal) => getPicture(`tiles/${name}.png`, signal));
    this.marks = new Store(600, (name, signal) => this.#fetchMarks(name, signal));
    this.stale = new Map(); // marks of before a decision, until the new ones are there
    this.frame = null;
    this.look = { colours: readColours(), dark: DARK.matches };
    DARK.addEventListener("change", () => {
      this.look = { ...this.look, colours: readColours(), dark: DARK.matches };
      this.draw();
    });
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.#resize();
    this.view.fit(run.extent);
  }

  #resize() {
    const box = this.canvas.getBoundingClientRect();
    this.ratio = devicePixelRatio || 1;
    [this.canvas.width, this.canvas.height] =
      [Math.round(box.width * this.ratio), Math.round(box.height * this.ratio)];
    this.view.resize(box.width, box.height);
    this.draw();
  }

  #fetchMarks(name, signal) {
    const [words, version, tile] = name.split("|");
    return get(`api/marks/${tile}`, { ...Object.fromEntries(new URLSearchParams(words)), version }, signal);
  }

  // Hotspots changed: another filter, or a decision.
  refresh(version) {
    this.version = version;
    this.draw();
  }

  get isReady() {
    return this.canvas.dataset.state === "ready";
  }

  draw() {
    this.canvas.dataset.state = "busy";
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#paint();
      this.#fetchRest();
    });
  }

  #names(tiles) {
    const words = new URLSearchParams(this.query()).toString();
    const shown = this.layers.flatMap((on, layer) => (on ? [layer] : []));
    return {
      pictures: tiles.flatMap((tile) => shown.map((layer) => [layer, ...tile].join("/"))),
      marks: tiles.map((tile) => `${words}|${this.version}|${tile.join("/")}`),
    };
  }

  #fetchRest() {
    const names = this.#names(this.view.tiles(this.run.tile_px, this.ratio));
    const again = () => this.draw();
    this.marks.want(names.marks, again);
    this.pictures.want(names.pictures, again);
    clearTimeout(this.idle);
    this.isIdle = false;
    const isThere = names.marks.every((name) => this.marks.has(name))
      && names.pictures.every((name) => this.pictures.has(name));
    if (!isThere) return;
    this.canvas.dataset.state = "ready";
    this.canvas.dispatchEvent(new Event("ready"));
    this.idle = setTimeout(() => {
      this.isIdle = true;
      this.#fetchAround();
    }, IDLE_MS);
  }

  // What may be looked at next: closer, further away, beside. One by one, so that little is in the
  // way of what is asked for meanwhile.
  async #fetchAround() {
    const { view, ratio, run } = this;
    const next = [view.closer(NEXT_FACTOR), view.closer(NEXT_FACTOR ** 2), view.closer(1 / NEXT_FACTOR)]
      .flatMap((each) => each.tiles(run.tile_px, ratio));
    const names = this.#names([...next, ...view.tiles(run.tile_px, ratio, 1)]);
    for (const [store, name] of [
      ...names.marks.map((name) => [this.marks, name]),
      ...names.pictures.map((name) => [this.pictures, name]),
    ]) {
      if (!this.isIdle) return;
      await store.load(name);
    }
  }

  #paint() {
    const { context, view, ratio } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = this.look.colours["--field"];
    context.fillRect(0, 0, view.width, view.height);
    this.#outline(this.run.extent, "--line", 1);
    const tiles = view.tiles(this.run.tile_px, ratio);
    // Lighter under contours, which lie within the shapes.
    context.globalAlpha = this.contours ? 0.4 : 0.8;
    this.layers.forEach((on, layer) => {
      if (on) tiles.forEach((tile) => this.#paintTile(layer, tile));
    });
    context.globalAlpha = 1;
    if (this.contours) this.#paintContours();
    this.#paintMarks(tiles);
    if (this.spot) this.#paintSpot();
    this.canvas.dataset.view = [view.x, view.y, view.scale].join();
    this.dispatchEvent(new Event("drawn"));
  }

  #square([scale, column, row]) {
    const side = this.run.tile_px * 2 ** scale;
    const [left, top] = this.view.toScreen(column * side, (row + 1) * side);
    return [left, top, side / this.view.scale];
  }

  // The tile, or as long as it is not there the part of a coarser one.
  #paintTile(layer, [scale, column, row]) {
    const [left, top, side] = this.#square([scale, column, row]);
    this.context.imageSmoothingEnabled = this.view.scale >= 1;
    for (let up = 0; up <= 5; up++) {
      const parts = 2 ** up;
      const [i, j] = [Math.floor(column / parts), Math.floor(row / parts)];
      const picture = this.pictures.get([layer, scale + up, i, j].join("/"));
      if (!picture) continue;
      const part = picture.width / parts;
      const across = (column - i * parts) * part;
      const down = (parts - 1 - (row - j * parts)) * part;
      this.context.drawImage(picture, across, down, part, part, left, top, side, side);
      return;
    }
  }

  #paintMarks(tiles) {
    const look = { ...this.look, byClass: this.colourBy === "class" };
    const { marks } = this.#names(tiles);
    const found = tiles.map((tile, at) => {
      const place = marks[at].replace(/\|\d+\|/, "|");
      const now = this.marks.get(marks[at]);
      if (now) this.stale.set(place, now);
      return [tile, now ?? this.stale.get(place)];
    });
    for (const [tile, piece] of found) {
      const [left, top, side] = this.#square(tile);
      for (const [column, row, ...counts] of piece?.cells ?? []) {
        const square = side / piece.grid;
        const up = (piece.grid - 1 - row) * square;
        drawSquare(this.context, left + column * square, top + up, square, counts, look);
      }
    }
    for (const [, piece] of found) {
      for (const point of piece?.points ?? []) {
        if (point[0] === this.spot?.id && this.isClose) continue; // it would hide what fails
        const [x, y] = this.view.toScreen(point[1], point[2]);
        drawPoint(this.context, x, y, point, look);
      }
    }
    if (this.stale.size > 2000) this.stale.clear();
  }

  #outline(box, colour, width, dash = []) {
    const [left, top] = this.view.toScreen(box[0], box[3]);
    const { context, view } = this;
    context.setLineDash(dash);
    context.lineWidth = width;
    context.strokeStyle = this.look.colours[colour];
    context.strokeRect(left, top, (box[2] - box[0]) / view.scale, (box[3] - box[1]) / view.scale);
    context.setLineDash([]);
  }

  // Whether shapes around the hotspot are large enough to be looked at.
  get isClose() {
    return this.run.core_dbu / this.view.scale > CLOSE_PX;
  }

  #paintSpot() {
    const { context, spot, view } = this;
    if (this.isClose) this.#outline(spot.box, "--soft", 1.5, [6, 4]);
    const [x, y] = view.toScreen(...spot.place);
    for (const [colour, width] of [["--sheet", 6], ["--accent", 3]]) {
      context.beginPath();
      context.arc(x, y, this.isClose ? 24 : 14, 0, 2 * Math.PI);
      context.lineWidth = width;
      context.strokeStyle = this.look.colours[colour];
      context.stroke();
    }
  }

  #trace(rings) {
    this.context.beginPath();
    for (const ring of rings) {
      ring.forEach(([x, y], at) => this.context[at ? "lineTo" : "moveTo"](...this.view.toScreen(x, y)));
      this.context.closePath();
    }
  }

  #paintContours() {
    const { context, look } = this;
    this.#trace(this.contours.band);
    context.fillStyle = look.colours["--band"];
    context.globalAlpha = 0.7;
    context.fill("evenodd");
    context.globalAlpha = 1;
    context.lineWidth = 1.3;
    context.strokeStyle = look.colours["--ink"];
    for (const rings of Object.values(this.contours.contours)) {
      this.#trace(rings);
      context.stroke();
    }
    this.#outline(this.contours.box, "--soft", 1);
  }

  // The hotspot at a point of the canvas: its id, or null.
  findSpot(left, top) {
    const { marks } = this.#names(this.view.tiles(this.run.tile_px, this.ratio));
    let [best, least] = [null, HIT_PX];
    for (const name of marks) {
      for (const [id, x, y] of this.marks.get(name)?.points ?? []) {
        const [px, py] = this.view.toScreen(x, y);
        const away = Math.hypot(px - left, py - top);
        if (away < least) [best, least] = [id, away];
      }
    }
    return best;
  }
}
