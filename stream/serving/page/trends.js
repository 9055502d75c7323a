// What all users are interested in: the stream graph, and interests with their growth.

import { ask, askIf } from "./ask.js";
import {
  coloursOf,
  count,
  element,
  find,
  inNumbers,
  moment,
  percent,
  signed,
  spark,
  streamGraph,
  table,
  whole,
  widthOf,
} from "./draw.js";

const POINTS = 60;
export const SPANS = { hour: "the last hour", day: "the last day", week: "the last week" };

export const spanNow = () => document.querySelector("input[name=span]:checked").value;

// sums of neighbours, so that a line has about as many points as can be seen; the slot of now is not
// whole yet and is left out
function gathered(values, every) {
  const sums = [];
  const usable = Math.floor((values.length - 1) / every) * every;
  for (let at = values.length - 1 - usable; at < values.length - 1; at += every) {
    sums.push(values.slice(at, at + every).reduce((sum, each) => sum + each, 0));
  }
  return sums;
}

// each value with its neighbours, so that chance does not hide what rises and fades
const SMOOTH = [1, 2, 3, 2, 1];

function smoothed(values) {
  return values.map((_, at) => {
    let [sum, parts] = [0, 0];
    SMOOTH.forEach((weight, place) => {
      const value = values[at + place - 2];
      if (value !== undefined) [sum, parts] = [sum + weight * value, parts + weight];
    });
    return sum / parts;
  });
}

export async function showStream() {
  const place = find("stream");
  const span = spanNow();
  const found = await ask(`/v1/pulse?span=${span}`);
  const every = Math.max(1, Math.ceil(found.updates.length / POINTS));
  const updates = gathered(found.updates, every);
  if (updates.length < 3) {
    place.replaceChildren(
      element("p", { class: "empty" }, "Nothing to draw yet: it begins with the first updates."),
    );
    return;
  }
  const colours = coloursOf(found.interests.map((each) => each.interest));
  const layers = found.interests.map((each) => ({
    name: each.interest,
    colour: colours.get(each.interest),
    weight: smoothed(gathered(each.weight, every)),
  }));
  const others = smoothed(gathered(found.others, every));
  if (others.some((each) => each > 0))
    layers.push({ name: "others", colour: "other", weight: others });
  const skipped = (found.updates.length - 1) % every;
  const times = updates.map((_, at) => found.from + (skipped + at * every) * found.width_ms);
  const moves = movesOf(layers);
  const label = `Interests of all users over ${SPANS[span]}. ${moves.slice(0, 3).map(spokenMove).join(", ")}.`;
  const open = place.querySelector("details")?.open;
  const rows = layers.map((each) => [
    each.name,
    whole(Math.round(each.weight.reduce((sum, one) => sum + one, 0))),
    percent(share(each, layers, 0)),
    percent(share(each, layers, 1)),
  ]);
  place.replaceChildren(
    streamGraph(layers, times, widthOf(place), label),
    element(
      "ul",
      { class: "legend" },
      layers.map((each) =>
        element(
          "li",
          { class: each.colour },
          each.name === "others"
            ? "others"
            : element(
                "a",
                { href: `#/segments/${encodeURIComponent(each.name)}`, "data-name": each.name },
                each.name,
              ),
        ),
      ),
    ),
    element(
      "p",
      { class: "quiet" },
      `${count(
        found.updates.reduce((sum, each) => sum + each, 0),
        "update",
        "updates",
      )} of all users; a layer is as thick as the probability that they gave the interest, smoothed over neighbours.`,
      found.complete ? "" : " The past is still being read.",
    ),
    inNumbers(
      "Interests over time",
      [["interest"], ["sum", "number"], ["share at first", "number"], ["share at last", "number"]],
      rows,
    ),
  );
  if (open) place.querySelector("details").open = true;
  for (const each of place.querySelectorAll("[data-name]")) {
    for (const [event, on] of [
      ["pointerenter", true],
      ["focus", true],
      ["pointerleave", false],
      ["blur", false],
    ]) {
      each.addEventListener(event, () => mark(place, each.dataset.name, on));
    }
  }
}

function mark(place, name, on) {
  place.querySelector(".stream").classList.toggle("marked", on);
  for (const layer of place.querySelectorAll(".layer"))
    layer.classList.toggle("on", on && layer.dataset.name === name);
}

// of the first and the last third of the time
function share(layer, layers, last) {
  const third = Math.max(1, Math.floor(layer.weight.length / 3));
  const part = (each) =>
    (last ? each.weight.slice(-third) : each.weight.slice(0, third)).reduce(
      (sum, one) => sum + one,
      0,
    );
  return (
    part(layer) /
    Math.max(
      1e-9,
      layers.reduce((sum, each) => sum + part(each), 0),
    )
  );
}

function movesOf(layers) {
  return layers
    .filter((each) => each.name !== "others")
    .map((each) => ({ name: each.name, by: share(each, layers, 1) - share(each, layers, 0) }))
    .sort((one, other) => Math.abs(other.by) - Math.abs(one.by));
}

const spokenMove = ({ name, by }) =>
  `${name} ${by >= 0 ? "rose" : "fell"} by ${Math.abs(by * 100).toFixed(1)} points`;

// -- interests with size and growth

export async function interestsTable(chosen) {
  const span = spanNow();
  const [{ interests }, grown] = await Promise.all([
    ask("/v1/interests"),
    askIf(`/v1/growth?span=${span}`),
  ]);
  const growth = new Map((grown?.interests ?? []).map((each) => [each.interest, each]));
  const rows = interests.map((each) => {
    const moved = growth.get(each.interest) ?? { joined: 0, gone: 0, net: [0] };
    const by = moved.joined - moved.gone;
    const here = each.interest === chosen;
    return [
      element(
        "a",
        {
          href: `#/segments/${encodeURIComponent(each.interest)}`,
          "aria-current": here ? "true" : undefined,
        },
        each.interest,
      ),
      whole(each.users),
      element("span", { class: by > 0 ? "rising" : by < 0 ? "fading" : "quiet" }, signed(by)),
      spark(
        sizes(each.users, moved.net),
        `${each.interest}: ${signed(by)} users in ${SPANS[span]}`,
      ),
      element(
        "span",
        {},
        element("span", { class: "rising" }, `↑ ${whole(each.trends.rising + each.trends.new)}`),
        " ",
        element("span", { class: "fading" }, `↓ ${whole(each.trends.fading)}`),
      ),
      percent(each.mean_probability),
    ];
  });
  const heads = [
    ["interest"],
    ["users", "number"],
    [`± ${span}`, "number"],
    ["size"],
    ["rising, fading now", "number"],
    ["mean", "number"],
  ];
  return [
    table("Interests, their users and growth", heads, rows, { class: "interests" }),
    element(
      "p",
      { class: "quiet" },
      "Users with a last event in 30 days, who have the interest among the first of their profile. ",
      grown?.counted_since
        ? `Who came and went is counted since ${moment(grown.counted_since)}.`
        : "",
    ),
  ];
}

// from what a segment has now back to what it had
export function sizes(now, net) {
  const found = [now];
  for (const each of net.toReversed()) found.unshift(found[0] - each);
  return found;
}
