// One user: interests now and how far to trust them, why, what came next, and the history.

import { ask, askIf } from "./ask.js";
import {
  ago,
  bar,
  coloursOf,
  count,
  element,
  find,
  inNumbers,
  lineChart,
  moment,
  percent,
  trendOf,
  whole,
  widthOf,
} from "./draw.js";

const LINES = 5;
const link = (id) => `#/user/${encodeURIComponent(id)}`;
let shown = null; // the user and the update that are shown

export async function showUser(id) {
  find("user-title").textContent = id || "What is a user interested in?";
  if (!id) {
    shown = null;
    await showSome();
    return;
  }
  if (shown?.id !== id) {
    shown = null;
    find("profile").replaceChildren(element("p", { class: "quiet" }, "Asking …"));
  }
  await refreshUser(id);
}

const spoken = (profile) =>
  profile.interests
    .map((each) => `${each.interest} ${percent(each.probability)} ${each.trend}`)
    .join(", ");

async function showSome() {
  const { users } = await ask("/v1/users?limit=24");
  find("profile").replaceChildren(
    element(
      "p",
      { class: "quiet" },
      users.length
        ? "Some users to begin with:"
        : "Nobody is known yet. Send an event, and its user is here.",
    ),
    element(
      "ul",
      { class: "chips" },
      users.map((each) => element("li", {}, element("a", { href: link(each) }, each))),
    ),
  );
}

// asks again, and draws only what a new update has changed
export async function refreshUser(id) {
  const path = `/v1/users/${encodeURIComponent(id)}`;
  const { profile, titles } = await ask(path);
  if (shown?.id === id && shown.profile.update_id === profile.update_id) {
    find("seen-at").textContent = ago(profile.time);
    return;
  }
  const asked = ask(`${path}/outcomes`); // is read from Kafka, so it may take a while
  asked.catch(() => null); // it is waited for below
  const [{ changes, complete }, { calibration }, truth] = await Promise.all([
    ask(`${path}/history`),
    ask("/v1/calibration"),
    askIf(`${path}/truth`),
  ]);
  if (shown !== null && shown.id !== id) return;
  if (shown === null) find("said").textContent = `${id}: ${spoken(profile)}`; // to a screen reader, once
  shown = { id, profile };
  const trusted = calibration?.fingerprint === profile.model.fingerprint ? calibration : null;
  const names = [
    ...profile.interests.map((each) => each.interest),
    ...changes.toReversed().flatMap((each) => each.interests.map((one) => one.interest)),
  ];
  const colours = coloursOf([...new Set(names)]);
  const periods = truth?.periods ?? [];
  const open = find("profile").querySelector("details")?.open;
  const came = element(
    "div",
    { id: "came" },
    ...(find("came")?.childNodes ?? [element("p", { class: "quiet" }, "Asking …")]),
  );
  find("profile").replaceChildren(
    element(
      "header",
      { class: "who" },
      element(
        "p",
        { class: "quiet" },
        `${count(profile.events_seen, "event", "events")}, the last `,
        element("span", { id: "seen-at" }, ago(profile.time)),
        ` · model ${profile.model.name} ${profile.model.version} · offset ${profile.source.offset} of ${profile.source.topic}, partition ${profile.source.partition}`,
      ),
      periods.length ? trueNow(periods.at(-1), profile) : null,
    ),
    element(
      "div",
      { class: "two" },
      element(
        "div",
        {},
        card(
          "Interests now",
          bars(profile.interests, trusted, colours),
          honesty(trusted, calibration),
        ),
        card("How it changed", ...historyOf(changes, complete, profile, periods, colours)),
      ),
      element(
        "div",
        {},
        card(
          "Why",
          element(
            "p",
            { class: "quiet" },
            "What the first interest rests on, and how much of it each event carries.",
          ),
          causes(profile, titles),
        ),
        card("What came next", came),
        card("Likely next", nextItems(profile, titles)),
      ),
    ),
  );
  if (open) find("profile").querySelector("details").open = true;
  const { outcomes } = await asked;
  came.replaceChildren(...whatCame(outcomes));
}

const card = (title, ...children) =>
  element("section", { class: "card" }, element("h2", {}, title), children);

function trueNow(period, profile) {
  const right = profile.interests[0]?.interest === period.interest;
  return element(
    "p",
    { class: `truth ${right ? "right" : "wrong"}` },
    element("span", { "aria-hidden": "true" }, right ? "✓" : "…"),
    " Simulated, and true now: ",
    element("strong", {}, period.interest),
    element(
      "span",
      { class: "quiet" },
      `, which began ${ago(period.time)}. ${right ? "The first interest says so." : "The first interest says something else."}`,
    ),
  );
}

// what happened where about the same probability was said; too few cases say nothing
function happened(calibration, probability) {
  if (!calibration) return null;
  const near = calibration.bins.reduce((best, each) =>
    Math.abs(each.probability - probability) < Math.abs(best.probability - probability)
      ? each
      : best,
  );
  return near.count >= 30 && Math.abs(near.probability - probability) < 0.08 ? near : null;
}

function bars(interests, calibration, colours) {
  return element(
    "ul",
    { class: "bars" },
    interests.map((each) => {
      const was = happened(calibration, each.probability);
      return element(
        "li",
        {},
        element("a", { href: `#/segments/${encodeURIComponent(each.interest)}` }, each.interest),
        bar(each.probability, was?.happened, colours.get(each.interest)),
        element("span", { class: "number strong" }, percent(each.probability)),
        trendOf(each.trend, each.change),
        element(
          "span",
          { class: "quiet was" },
          was ? `came true in ${percent(was.happened)} of ${whole(was.count)} cases` : "",
        ),
      );
    }),
  );
}

function honesty(trusted, calibration) {
  if (trusted) {
    const gap = Math.abs(trusted.gap * 100).toFixed(1);
    const apart =
      gap === "0.0"
        ? "as much as happened"
        : `${gap} points too ${trusted.gap > 0 ? "much" : "little"}`;
    const of = trusted.of === "first" ? "first interests" : "all interests together";
    return element(
      "p",
      { class: "quiet" },
      "A probability is the chance that the next event touches the interest. The mark on a bar is how often that happened in the evaluation of this model. ",
      `Of ${of}, it said ${apart} on average. `,
      element("a", { href: "#/health" }, "Its calibration"),
    );
  }
  return element(
    "p",
    { class: "quiet" },
    "A probability is the chance that the next event touches the interest. ",
    calibration
      ? "The report at hand is of another model, so how far to trust this one is not known here."
      : "How far to trust it is in the report of its model; serve --model DIR shows it here.",
  );
}

const subject = (each, titles) => titles[each.item_id] ?? each.title ?? each.query ?? each.item_id;

function causes(profile, titles) {
  if (!profile.because.length) return element("p", {}, "No single event stands out.");
  return element(
    "ul",
    { class: "causes" },
    profile.because.map((each) =>
      element(
        "li",
        {},
        element(
          "span",
          {},
          element("span", { class: "action" }, each.action.replaceAll("_", " ")),
          each.query && !each.item_id ? `“${each.query}”` : subject(each, titles),
        ),
        bar(each.weight),
        element("span", { class: "number" }, percent(each.weight)),
        element("span", { class: "quiet when" }, moment(each.time)),
      ),
    ),
  );
}

function nextItems(profile, titles) {
  return element(
    "ol",
    { class: "items" },
    profile.items.map((each) =>
      element(
        "li",
        {},
        titles[each.item_id] ?? each.item_id,
        element("span", { class: "quiet" }, ` score ${each.score.toFixed(1)}`),
      ),
    ),
  );
}

// -- what came after the last updates, and whether they had said so

const ORDER = ["first", "second", "third", "4th", "5th", "6th", "7th", "8th"];

function whatCame(outcomes) {
  if (!outcomes.length)
    return [element("p", {}, "Nothing yet: it is seen from the next event of this user on.")];
  const judged = outcomes.filter((each) => each.interest_rank !== undefined);
  const first = judged.filter((each) => each.interest_rank === 1).length;
  const named = judged.filter((each) => each.interest_rank !== null).length;
  const items = judged.filter((each) => each.item_rank).length;
  const score = judged.length
    ? element(
        "p",
        { class: "score" },
        element("strong", {}, `${first} of ${judged.length}`),
        " touched the first interest, ",
        element("strong", {}, String(named)),
        " any of those named; ",
        element("strong", {}, String(items)),
        ` ${items === 1 ? "was" : "were"} among the likely items.`,
      )
    : element("p", {}, "None of these events can be judged.");
  return [score, element("ol", { class: "outcomes" }, outcomes.map(outcome))];
}

function outcome(each) {
  const [best] = each.said;
  const said = `said ${best.interest} ${percent(best.probability)}`;
  if (each.events > 1)
    return line(
      "none",
      "·",
      `${each.events} events came at once`,
      `${said}; which was the next one is not known`,
    );
  if (!each.action) return line("none", "·", "an event that cannot be read here", said);
  const what = element(
    "span",
    {},
    element("span", { class: "action" }, each.action.replaceAll("_", " ")),
    each.title || (each.query ? `“${each.query}”` : each.item_id),
  );
  if (each.interest_rank === undefined)
    return line("none", "·", what, `${said}; what this event touches is not known`);
  const item = each.item_rank ? `, and this as the ${ORDER[each.item_rank - 1]} likely item` : "";
  if (each.interest_rank === null)
    return line(
      "wrong",
      "✗",
      what,
      `${said}${item}; it touched ${each.touched.join(" and ") || "no interest"}`,
    );
  const right = each.said[each.interest_rank - 1];
  const place = each.interest_rank === 1 ? "" : ` as the ${ORDER[each.interest_rank - 1]}`;
  return line(
    each.interest_rank === 1 ? "right" : "near",
    "✓",
    what,
    `had said ${right.interest} ${percent(right.probability)}${place}${item}`,
  );
}

const WORDS = { right: "right", near: "among those named", wrong: "wrong", none: "not judged" };

function line(kind, sign, what, said) {
  return element(
    "li",
    { class: kind },
    element("span", { class: "sign", "aria-hidden": "true" }, sign),
    element("span", { class: "hidden" }, `${WORDS[kind]}: `),
    element("span", {}, what),
    element("span", { class: "quiet said" }, said),
  );
}

// -- the history, as lines

function historyOf(changes, complete, profile, periods, colours) {
  const past = changes.filter((each) => each.time < profile.time);
  const all = [...past, { time: profile.time, interests: profile.interests }];
  const reading = complete
    ? []
    : [element("p", { class: "quiet" }, "Histories are still being read.")];
  if (all.length < 2)
    return [...reading, element("p", {}, "The first interests have not changed in 7 days.")];
  const from = all[0].time;
  const to = profile.time;
  const names = [...colours.keys()].slice(0, LINES);
  const lines = names
    .map((name) => ({ name, colour: colours.get(name), pieces: piecesOf(name, all) }))
    .filter((each) => each.pieces.length);
  const truths = periods
    .map((each, place) => ({
      from: each.time,
      to: periods[place + 1]?.time ?? to,
      name: each.interest,
      colour: colours.get(each.interest) ?? "other",
    }))
    .filter((each) => each.to > from && each.from < to);
  const label = `Probabilities of ${names.join(", ")} from ${moment(from)} to ${moment(to)}. Now: ${spoken(profile)}.`;
  const rows = all.toReversed().map((each) => [
    moment(each.time),
    each.interests
      .slice(0, 3)
      .map((one) => `${one.interest} ${percent(one.probability)}`)
      .join(", "),
  ]);
  return [
    ...reading,
    lineChart(lines, truths, from, to, room(), label),
    element(
      "ul",
      { class: "legend" },
      lines.map((each) => element("li", { class: each.colour }, each.name)),
    ),
    element(
      "p",
      { class: "quiet" },
      "The first three interests, whenever they changed in the last 7 days. A line ends where an interest was not among them.",
    ),
    inNumbers("History of the first interests", [["when"], ["first interests"]], rows),
  ];
}

// the card of the lines is one of two columns, where two fit
function room() {
  const all = widthOf(find("profile"));
  return (matchMedia("(min-width: 62rem)").matches ? ((all - 16) * 1.25) / 2.25 : all) - 42;
}

function piecesOf(name, changes) {
  const pieces = [];
  let piece = null;
  for (const change of changes) {
    const one = change.interests.find((each) => each.interest === name);
    if (!one) piece = null;
    else if (piece) piece.push([change.time, one.probability]);
    else pieces.push((piece = [[change.time, one.probability]]));
  }
  return pieces;
}

export const forgetShown = () => (shown = null);
