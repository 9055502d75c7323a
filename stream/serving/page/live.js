// Updates as they come.

import { listen } from "./ask.js";
import { bar, clock, count, element, find, percent, trendOf } from "./draw.js";

const SHOWN_UPDATES = 60;

let passed = 0; // while paused

export function pause(button) {
  const paused = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(paused));
  passed = 0;
  find("passed").textContent = "";
}

export function showUpdates(list, interest, most = SHOWN_UPDATES) {
  find(list).replaceChildren();
  return listen(interest, (update) => {
    if (list === "updates" && find("pause").getAttribute("aria-pressed") === "true") {
      passed += 1;
      find("passed").textContent = `${count(passed, "update", "updates")} since`;
      return;
    }
    find(list).prepend(entry(update));
    while (find(list).children.length > most) find(list).lastChild.remove();
  });
}

function entry(update) {
  const [best] = update.interests;
  return element(
    "li",
    {},
    element("a", { href: `#/user/${encodeURIComponent(update.user_id)}` }, update.user_id),
    element("span", { class: "what" }, best.interest),
    bar(best.probability),
    element("span", { class: "number strong" }, percent(best.probability)),
    trendOf(best.trend),
    element(
      "time",
      { class: "quiet", datetime: new Date(update.time).toISOString() },
      clock(update.time),
    ),
  );
}
