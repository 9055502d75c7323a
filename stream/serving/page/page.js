// Asks the routes of this service and shows what they answer. Ids stand behind the # of an address,
// which no server sees. What strangers wrote is only ever set as text.

const ARROWS = { rising: "↑ rising", fading: "↓ fading", new: "+ new", steady: "· steady" };
const SHOWN_UPDATES = 100;
const FIRST_MEMBERS = 50;
const KEY = "interest-stream-key";

const find = (id) => document.getElementById(id);

function element(name, about = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(about)) {
    if (value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function drawn(name, about, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(about)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const percent = (share) => `${Math.round(share * 100)} %`;
const moment = (ms) => new Date(ms).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
const trendOf = (trend) => element("span", { class: trend }, ARROWS[trend] ?? trend);
const count = (number, one, many) => `${number.toLocaleString()} ${number === 1 ? one : many}`;

// -- asking

class Problem extends Error {}

function withKey() {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function ask(path) {
  const answer = await fetch(path, { headers: withKey() }).catch(() => null);
  if (answer === null) throw new Problem("The service does not answer.");
  if (answer.status === 401) {
    find("key-form").hidden = false;
    find("key").focus();
    throw new Problem("This service wants an API key.");
  }
  const found = await answer.json();
  if (!answer.ok) throw Object.assign(new Problem(found.detail), found);
  if (found.lag_ms !== undefined) {
    find("age").textContent = `${(found.lag_ms / 1000).toFixed(1)} s behind the workers`;
  }
  return found;
}

// -- a user

function bars(interests) {
  return element("ul", { class: "bars" }, ...interests.map((each) => element(
    "li", {},
    element("a", { href: `#/segments/${encodeURIComponent(each.interest)}` }, each.interest),
    element("span", { class: "bar", "aria-hidden": "true" }, drawn(
      "svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none" },
      drawn("rect", { width: 100 * each.probability, height: 1 }),
    )),
    element("span", { class: "number" }, percent(each.probability)),
    trendOf(each.trend),
  )));
}

function causes(profile, titles) {
  if (!profile.because.length) return element("p", { class: "quiet" }, "No single event stands out.");
  return element("ul", {}, ...profile.because.map((each) => element(
    "li", {},
    `${each.action.replaceAll("_", " ")} “${titles[each.item_id] ?? each.query ?? each.title ?? each.item_id}”`,
    element("span", { class: "quiet" }, `, ${moment(each.time)}, weight ${percent(each.weight)}`),
  )));
}

function historyOf(changes) {
  if (changes.length < 2) {
    return [element("p", { class: "quiet" }, "The first interests have not changed in 7 days.")];
  }
  const names = [...new Set(changes.flatMap((each) => each.interests.map((one) => one.interest)))];
  const most = names.slice(-5);
  const [from, to] = [changes[0].time, changes.at(-1).time];
  const x = (time) => 60 + (530 * (time - from)) / Math.max(1, to - from);
  const y = (share) => 150 - 130 * share;
  const lines = most.flatMap((name, place) => {
    let path = "";
    let before = false; // whether the last change had it among the first interests
    const points = [];
    for (const change of changes) {
      const one = change.interests.find((each) => each.interest === name);
      if (one) {
        const [cx, cy] = [x(change.time).toFixed(1), y(one.probability).toFixed(1)];
        path += `${before ? "L" : "M"}${cx} ${cy}`;
        points.push(drawn("circle", { class: `s${place}`, cx, cy, r: 3 }));
      }
      before = Boolean(one);
    }
    return [drawn("path", { d: path, class: `s${place}` }), ...points];
  });
  const axes = [0, 0.5, 1].flatMap((share) => [
    drawn("path", { class: "axis", d: `M60 ${y(share)}H590` }),
    drawn("text", { x: 4, y: y(share) + 4 }, percent(share)),
  ]);
  const last = changes.at(-1).interests.map((each) => `${each.interest} ${percent(each.probability)}`);
  return [
    drawn("svg", {
      class: "lines", viewBox: "0 0 600 175", role: "img",
      "aria-label": `Probability of interests from ${moment(from)} to ${moment(to)}; last: ${last.join(", ")}`,
    }, ...axes, ...lines,
    drawn("text", { x: 60, y: 170 }, moment(from)),
    drawn("text", { x: 590, y: 170, "text-anchor": "end" }, moment(to))),
    element("ul", { class: "legend" }, ...most.map((name, place) => element("li", { class: `s${place}` }, name))),
  ];
}

async function showUser(id) {
  const place = find("profile");
  find("user-id").value = id;
  if (!id) {
    place.replaceChildren();
    const { users } = await ask("/v1/users?limit=8");
    place.replaceChildren(element("p", { class: "quiet" }, users.length ? "Some users:" : "Nobody is known yet."),
      element("ul", {}, ...users.map((each) => element("li", {}, element("a", { href: `#/user/${encodeURIComponent(each)}` }, each)))));
    return;
  }
  const path = `/v1/users/${encodeURIComponent(id)}`;
  const [{ profile, titles }, { changes }] = await Promise.all([ask(path), ask(`${path}/history`)]);
  const next = profile.items.map((each) => element("li", {}, titles[each.item_id] ?? each.item_id));
  place.replaceChildren(
    element("h3", {}, "Interests now"),
    bars(profile.interests),
    element("p", { class: "quiet" },
      `${count(profile.events_seen, "event", "events")}, the last on ${moment(profile.time)}; ` +
      `model ${profile.model.name} ${profile.model.version}; offset ${profile.source.offset} of ` +
      `${profile.source.topic}[${profile.source.partition}]`),
    element("h3", {}, "Why"),
    causes(profile, titles),
    element("h3", {}, "Likely next"),
    element("ol", {}, ...next),
    element("h3", {}, "How it changed"),
    ...historyOf(changes),
  );
}

// -- segments

async function showSegments(interest) {
  const { interests } = await ask("/v1/interests");
  const rows = interests.map((each) => element(
    "tr", {},
    element("td", {}, element("a", { href: `#/segments/${encodeURIComponent(each.interest)}` }, each.interest)),
    element("td", { class: "number" }, each.users.toLocaleString()),
    element("td", { class: "number rising" }, `↑ ${(each.trends.rising + each.trends.new).toLocaleString()}`),
    element("td", { class: "number fading" }, `↓ ${each.trends.fading.toLocaleString()}`),
    element("td", { class: "number" }, percent(each.mean_probability)),
  ));
  const heads = ["interest", "users", "rising or new", "fading", "mean probability"];
  find("interests").replaceChildren(interest ? element("p", {}, element("a", { href: "#/segments" }, "All interests")) :
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Interests" }, element(
      "table", {},
      element("thead", {}, element("tr", {}, ...heads.map((each, place) => element("th", { scope: "col", class: place ? "number" : undefined }, each)))),
      element("tbody", {}, ...rows),
    )));
  find("segment").replaceChildren();
  if (interest) await showSegment(interest);
}

async function showSegment(interest) {
  const query = new URLSearchParams({ interest, limit: FIRST_MEMBERS });
  const found = await ask(`/v1/segments?${query}`);
  const members = found.users.map((each) => element(
    "tr", {},
    element("td", {}, element("a", { href: `#/user/${encodeURIComponent(each.user_id)}` }, each.user_id)),
    element("td", { class: "number" }, percent(each.probability)),
    element("td", { class: "number" }, String(each.rank)),
    element("td", {}, trendOf(each.trend)),
  ));
  const heads = ["user", "probability", "rank", "trend"];
  const save = (format, name) => {
    const button = element("button", { type: "button" }, `Export as ${name}`);
    button.addEventListener("click", () => exported(interest, format).catch(tell));
    return button;
  };
  find("segment").replaceChildren(
    element("h3", {}, interest),
    element("p", {}, `${count(found.count, "user", "users")} active since ${moment(found.active_since)}` +
      (found.cursor ? `, ${FIRST_MEMBERS} of them here` : "")),
    element("p", {}, save("csv", "CSV"), " ", save("ndjson", "NDJSON")),
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Users of the segment" }, element(
      "table", {},
      element("thead", {}, element("tr", {}, ...heads.map((each, place) => element("th", { scope: "col", class: place === 1 || place === 2 ? "number" : undefined }, each)))),
      element("tbody", {}, ...members),
    )),
  );
}

async function exported(interest, format) {
  const answer = await fetch(`/v1/segments?${new URLSearchParams({ interest, format })}`, { headers: withKey() });
  if (!answer.ok) throw new Problem((await answer.json()).detail);
  const link = element("a", { href: URL.createObjectURL(await answer.blob()), download: `segment.${format}` });
  link.click();
  URL.revokeObjectURL(link.href);
}

// -- the live feed; read with fetch, because EventSource sends no key

let listening = null;

async function listen(interest) {
  listening?.abort();
  const mine = (listening = new AbortController());
  const query = interest ? `?${new URLSearchParams({ interest })}` : "";
  const answer = await fetch(`/v1/feed${query}`, { headers: withKey(), signal: mine.signal });
  if (!answer.ok) throw new Problem((await answer.json()).detail);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (waiting + value).split("\n\n");
    waiting = events.pop();
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (event.startsWith("event: update") && data) showUpdate(JSON.parse(data.slice(6)));
    }
  }
}

function showUpdate(update) {
  if (find("pause").getAttribute("aria-pressed") === "true") return;
  const [best] = update.interests;
  find("updates").prepend(element(
    "li", {},
    element("a", { href: `#/user/${encodeURIComponent(update.user_id)}` }, update.user_id), " ",
    element("strong", {}, `${best.interest} ${percent(best.probability)} `), trendOf(best.trend),
    element("span", { class: "quiet" }, ` ${new Date(update.time).toLocaleTimeString()}`),
  ));
  while (find("updates").children.length > SHOWN_UPDATES) find("updates").lastChild.remove();
}

async function showLive() {
  const { interests } = await ask("/v1/interests");
  const choice = find("live-interest");
  const chosen = choice.value;
  choice.replaceChildren(element("option", { value: "" }, "every interest"),
    ...interests.map((each) => element("option", { value: each.interest }, each.interest)));
  choice.value = chosen;
  find("updates").replaceChildren();
  listen(choice.value).catch((error) => { if (error.name !== "AbortError") tell(error); });
}

// -- health

async function showHealth() {
  const found = await ask("/v1/status");
  const facts = {
    ready: found.ready ? "yes" : `no: ${found.reasons.join(", ")}`,
    "behind the workers": `${(found.lag_ms / 1000).toFixed(1)} s`,
    users: found.users.toLocaleString(),
    models: found.models.map((each) => `${each.name} (${each.fingerprint})`).join(", ") || "-",
    histories: found.history_complete ? "complete" : "being read",
    "listening to the feed": String(found.listeners),
  };
  find("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

// -- the views, by what stands behind the #

const VIEWS = { user: showUser, segments: showSegments, live: showLive, health: showHealth };

function tell(error) {
  const near = error.near?.length ? ` Near ones: ${error.near.join(", ")}.` : "";
  find("problem").textContent = error instanceof Problem ? error.message + near : "This page has failed; load it again.";
  if (!(error instanceof Problem)) console.error(error);
}

function decoded(id) {
  try {
    return decodeURIComponent(id);
  } catch {
    return id; // written by hand
  }
}

async function show() {
  const [, name = "user", id = ""] = location.hash.split("/");
  const view = VIEWS[name] ? name : "user";
  listening?.abort();
  find("problem").textContent = "";
  for (const each of Object.keys(VIEWS)) find(each).hidden = each !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  await VIEWS[view](decoded(id)).catch((error) => {
    if (view === "user") find("profile").replaceChildren();
    tell(error);
  });
}

find("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const hash = `#/user/${encodeURIComponent(find("user-id").value)}`;
  if (location.hash === hash) show();
  else location.hash = hash;
});
find("user-id").addEventListener("input", async (event) => {
  const query = new URLSearchParams({ prefix: event.target.value, limit: 10 });
  const { users } = await ask(`/v1/users?${query}`).catch(() => ({ users: [] }));
  find("users").replaceChildren(...users.map((each) => element("option", { value: each })));
});
find("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, find("key").value);
  find("key-form").hidden = true;
  show();
});
find("live-interest").addEventListener("change", showLive);
find("pause").addEventListener("click", (event) => {
  const paused = event.target.getAttribute("aria-pressed") === "true";
  event.target.setAttribute("aria-pressed", String(!paused));
});
addEventListener("hashchange", show);
setInterval(() => { if (!find("health").hidden) showHealth().catch(tell); }, 2000);
show();
