// Pieces of the map by name: fetched once, drawn from here, the least used dropped.

export class Store {
  constructor(most, fetchPiece) {
    Object.assign(this, { most, fetchPiece, pieces: new Map(), waiting: new Map() });
    Object.assign(this, { failed: new Map(), wanted: new Set(), done: () => {} });
  }

  get(name) {
    const piece = this.pieces.get(name);
    if (piece !== undefined) {
      this.pieces.delete(name);
      this.pieces.set(name, piece);
    }
    return piece;
  }

  has(name) {
    return this.pieces.has(name) || this.failed.has(name);
  }

  // Fetch a piece ahead of time, unless it is there.
  async load(name) {
    if (!this.has(name) && !this.waiting.has(name)) await this.#fetch(name);
  }

  // Fetch what is not there, and no longer what is not asked for. What was asked for ahead of time
  // may be under way: whoever asked first, `done` is told.
  want(names, done) {
    Object.assign(this, { wanted: new Set(names), done });
    for (const [name, control] of this.waiting) {
      if (!this.wanted.has(name)) {
        control.abort();
        this.waiting.delete(name);
      }
    }
    for (const name of this.wanted) {
      if (!this.has(name) && !this.waiting.has(name)) this.#fetch(name);
    }
  }

  async #fetch(name) {
    const control = new AbortController();
    this.waiting.set(name, control);
    try {
      const piece = await this.fetchPiece(name, control.signal);
      this.pieces.set(name, piece);
      if (this.pieces.size > this.most) this.pieces.delete(this.pieces.keys().next().value);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.failed.set(name, error);
    }
    if (this.waiting.get(name) === control) this.waiting.delete(name);
    if (this.wanted.has(name)) this.done(name);
  }
}
