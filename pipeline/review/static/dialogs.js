// The dialogs: reason of a waiver, comment, keys.

import { $, make } from "./dom.js";

const KEYS = [
  ["j, k", "next and previous hotspot"],
  ["n, p", "next and previous class"],
  ["a", "accept: nothing to do"],
  ["f", "to fix"],
  ["w", "waive, with a reason"],
  ["m", "comment"],
  ["u", "open again; takes back a waiver given here"],
  ["Shift + a f w u", "the same for the whole class"],
  ["c", "only this class, or all"],
  ["o", "contours: what prints here at every corner"],
  ["z", "zoom to the hotspot"],
  ["0", "all of the layout"],
  ["+, −", "zoom"],
  ["Arrows", "pan"],
  ["l", "colour by level or by class"],
  ["/", "to the filter"],
  ["?", "this"],
];

export function setUpHelp(run) {
  $("keys").append(...KEYS.flatMap(([key, what]) =>
    [make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)]));
  $("help-files").textContent =
    `Decisions are kept in ${run.run}/review.jsonl, waivers in ${run.waivers}.`;
  $("help-open").addEventListener("click", () => $("help").showModal());
}

const WORDS = {
  waived: { title: "Waive", label: "Reason", submit: "Waive" },
  comment: { title: "Comment", label: "Comment", submit: "Keep" },
};

// Ask for a text and carry out `act` with it; the dialog stays open while that is refused.
export function askForText(what, about, act) {
  const dialog = $("text");
  const { title, label, submit } = WORDS[what];
  $("text-title").textContent = title;
  $("text-what").textContent = about;
  $("text-label").textContent = label;
  $("text-submit").textContent = submit;
  $("text-expires").hidden = what !== "waived";
  $("text-error").textContent = "";
  $("text-value").value = $("text-day").value = "";
  $("text-cancel").onclick = () => dialog.close();
  dialog.querySelector("form").onsubmit = async (event) => {
    event.preventDefault();
    $("text-submit").disabled = true;
    $("text-error").textContent = "";
    try {
      await act({ text: $("text-value").value, expires: what === "waived" ? $("text-day").value : "" });
      dialog.close();
    } catch (error) {
      $("text-error").textContent = error.message;
    } finally {
      $("text-submit").disabled = false;
    }
  };
  $("text-value").onkeydown = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) dialog.querySelector("form").requestSubmit();
  };
  dialog.showModal();
  $("text-value").focus();
}
