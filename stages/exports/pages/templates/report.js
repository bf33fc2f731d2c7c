"use strict";
const tools = document.querySelector(".tools");
if (tools) {
  tools.hidden = false;
  const grid = document.getElementById("cards"), cards = [...grid.children];
  const sort = document.getElementById("sort"), filter = document.getElementById("filter");
  const once = document.getElementById("once"), left = document.getElementById("left");
  cards.forEach((card, at) => { card.dataset.shown = at; });
  sort.onchange = () => {
    cards.sort((a, b) => a.dataset[sort.value] - b.dataset[sort.value]);
    grid.append(...cards);
    choose();
  };
  const choose = () => {
    const wanted = filter.value.trim().toLowerCase(), seen = new Set();
    let kept = 0;
    for (const card of cards) {
      const match = card.textContent.toLowerCase().includes(wanted);
      card.hidden = !match || (once.checked && seen.has(card.dataset.group));
      kept += !card.hidden;
      if (match) seen.add(card.dataset.group);
    }
    left.textContent = kept < cards.length ? `${kept} of ${cards.length}` : "";
  };
  filter.oninput = once.onchange = choose;
}
