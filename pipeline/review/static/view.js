// Where the map looks: the layout's place in the middle of the canvas, and its scale.

const LEAST = 1 / 64; // dbu per pixel of the screen

export class View {
  constructor(extent) {
    [this.x, this.y] = [(extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2];
    Object.assign(this, { extent, scale: 1, width: 1, height: 1 });
  }

  resize(width, height) {
    [this.width, this.height] = [Math.max(1, width), Math.max(1, height)];
  }

  fit(box, share = 0.92) {
    [this.x, this.y] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
    const wide = Math.max(1, box[2] - box[0]) / this.width;
    this.scale = this.limit(Math.max(wide, Math.max(1, box[3] - box[1]) / this.height) / share);
  }

  limit(scale) {
    const [x0, y0, x1, y1] = this.extent;
    const most = (4 * Math.max(x1 - x0, y1 - y0)) / Math.min(this.width, this.height);
    return Math.min(Math.max(scale, LEAST), Math.max(most, LEAST));
  }

  pan(right, down) {
    const [x0, y0, x1, y1] = this.extent;
    this.x = Math.min(Math.max(this.x + right * this.scale, x0), x1);
    this.y = Math.min(Math.max(this.y - down * this.scale, y0), y1);
  }

  // The place under a point of the canvas stays there.
  zoom(factor, left = this.width / 2, top = this.height / 2) {
    const [x, y] = this.toLayout(left, top);
    this.scale = this.limit(this.scale * factor);
    this.x = x - (left - this.width / 2) * this.scale;
    this.y = y + (top - this.height / 2) * this.scale;
  }

  toLayout(left, top) {
    return [
      this.x + (left - this.width / 2) * this.scale,
      this.y - (top - this.height / 2) * this.scale,
    ];
  }

  toScreen(x, y) {
    return [
      (x - this.x) / this.scale + this.width / 2,
      (this.y - y) / this.scale + this.height / 2,
    ];
  }

  // The same place, closer by a factor.
  closer(factor) {
    return Object.assign(new View(this.extent), this, { scale: this.limit(this.scale / factor) });
  }

  // Tiles in sight as [scale, column, row], those in the middle first, with `ring` more around.
  // Their pixels are of 0.84 to 1.68 pixels of the screen.
  tiles(tilePx, pixelRatio, ring = 0) {
    const scale = Math.min(24, Math.max(0, Math.ceil(Math.log2(this.scale / pixelRatio) - 0.25)));
    const side = tilePx * 2 ** scale;
    const [x0, y0] = this.toLayout(0, this.height);
    const [x1, y1] = this.toLayout(this.width, 0);
    const found = [];
    const clip = this.extent.map((value) => Math.floor(value / side));
    const columns = [Math.floor(x0 / side) - ring, Math.floor(x1 / side) + ring];
    const rows = [Math.floor(y0 / side) - ring, Math.floor(y1 / side) + ring];
    for (let i = Math.max(columns[0], clip[0]); i <= Math.min(columns[1], clip[2]); i++) {
      for (let j = Math.max(rows[0], clip[1]); j <= Math.min(rows[1], clip[3]); j++) {
        found.push([scale, i, j]);
      }
    }
    const away = ([, i, j]) => Math.hypot((i + 0.5) * side - this.x, (j + 0.5) * side - this.y);
    return found.sort((a, b) => away(a) - away(b));
  }
}
