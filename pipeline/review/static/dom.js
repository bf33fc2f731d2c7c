// Small helpers for the page's elements. Text is always set as text, never as HTML.

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const NUMBERS = new Intl.NumberFormat("en");
export const count = (number, noun) =>
  `${NUMBERS.format(number)}${noun ? ` ${noun}${number === 1 ? "" : noun.endsWith("s") ? "es" : "s"}` : ""}`;

export const levelName = (level) => (level ? `level ${level}` : "prints");
export const STATE_NAMES = { open: "open", accepted: "accepted", fix: "to fix", waived: "waived" };

let fading = null;

// Tell it in words: to see for a while, and to a screen reader.
export function say(text) {
  clearTimeout(fading);
  $("say").textContent = "";
  requestAnimationFrame(() => { $("say").textContent = text; });
  fading = setTimeout(() => { $("say").textContent = ""; }, 2000 + 60 * text.length);
}

export function setPressed(button, on) {
  button.setAttribute("aria-pressed", String(on));
}
