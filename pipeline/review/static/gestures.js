// Moving the map by pointer, wheel and keys.

const STEP_PX = 120;
const FACTOR = 1.5;

export function listenToPointer(map, choose, hover) {
  const { canvas, view } = map;
  const pointers = new Map();
  let moved = 0;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = place(event);
    hover(view.toLayout(...now));
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    if (others.length) { // two fingers: the distance between them zooms
      const away = (at) => Math.hypot(at[0] - others[0][0], at[1] - others[0][1]);
      view.zoom(away(before) / Math.max(1, away(now)), ...others[0]);
    } else {
      view.pan(before[0] - now[0], before[1] - now[1]);
    }
    moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    pointers.set(event.pointerId, now);
    map.draw();
  });
  const end = (event) => {
    const wasClick = pointers.delete(event.pointerId) && moved < 4 && event.type === "pointerup";
    const id = wasClick ? map.findSpot(...place(event)) : null;
    if (id) choose(id);
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 30 : 1;
    view.zoom(2 ** ((event.deltaY * lines) / 300), ...place(event));
    map.draw();
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => {
    view.zoom(1 / 2, ...place(event));
    map.draw();
  });
}

const MOVES = {
  ArrowLeft: (view) => view.pan(-STEP_PX, 0),
  ArrowRight: (view) => view.pan(STEP_PX, 0),
  ArrowUp: (view) => view.pan(0, -STEP_PX),
  ArrowDown: (view) => view.pan(0, STEP_PX),
  "+": (view) => view.zoom(1 / FACTOR),
  "=": (view) => view.zoom(1 / FACTOR),
  "-": (view) => view.zoom(FACTOR),
  0: (view) => view.fit(view.extent),
};

// Return whether a key moves the map.
export function moveByKey(map, key) {
  if (!Object.hasOwn(MOVES, key)) return false;
  MOVES[key](map.view);
  map.draw();
  return true;
}
