// Shows the view that the part behind the # names, and keeps it fresh.

import { Problem, ask, endListening, keep } from "./ask.js";
import { element, find } from "./draw.js";
import { showHealth } from "./health.js";
import { pause, showUpdates } from "./live.js";
import { exportSegment, showMore, showSegment, showSegments } from "./segments.js";
import { interestsTable, showStream } from "./trends.js";
import { forgetShown, refreshUser, showUser } from "./user.js";

const FRESH_MS = 2_000;
const SLOW_MS = 10_000;
const LATELY = 10;

async function showNow() {
  listenTo("lately", "", LATELY);
  await refreshNow();
}

async function refreshNow() {
  const [, rows] = await Promise.all([showStream(), interestsTable("")]);
  find("top").replaceChildren(...rows);
}

async function showLive() {
  const { interests } = await ask("/v1/interests");
  const choice = find("live-interest");
  const chosen = choice.value;
  choice.replaceChildren(
    element("option", { value: "" }, "every interest"),
    ...interests.map((each) => element("option", { value: each.interest }, each.interest)),
  );
  choice.value = chosen;
  listenTo("updates", chosen);
}

function listenTo(list, interest, most) {
  showUpdates(list, interest, most).catch(tell);
}

// what each view shows first, and what it asks again, how often
const VIEWS = {
  now: { show: showNow, again: refreshNow, every: SLOW_MS },
  user: { show: showUser, again: (id) => id && refreshUser(id), every: FRESH_MS },
  segments: { show: showSegments, every: 0 },
  live: { show: showLive, every: 0 },
  health: { show: showHealth, again: showHealth, every: FRESH_MS },
};

function where() {
  const [, name = "now", id = ""] = location.hash.split("/");
  return { view: VIEWS[name] ? name : "now", id: decoded(id) };
}

function decoded(id) {
  try {
    return decodeURIComponent(id);
  } catch {
    return id; // written by hand
  }
}

function tell(error) {
  const near = error.near?.length ? ` Near ones: ${error.near.join(", ")}.` : "";
  find("problem").textContent =
    error instanceof Problem ? error.message + near : "This page has failed; load it again.";
  if (!(error instanceof Problem)) console.error(error);
}

let shownView = null;
let timer = 0;

async function show() {
  const { view, id } = where();
  endListening();
  clearTimeout(timer);
  find("problem").textContent = "";
  for (const each of Object.keys(VIEWS)) find(each).hidden = each !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${id || find(`${view}-title`).textContent} · interest-stream`;
  // who came by a link is taken to what it leads to
  if (shownView !== null && shownView !== view) find(`${view}-title`).focus();
  shownView = view;
  if (view !== "user") forgetShown();
  await VIEWS[view].show(id).catch((error) => {
    if (view === "user") find("profile").replaceChildren();
    tell(error);
  });
  again(view, id);
}

// asks again after a while, as long as somebody looks at it
function again(view, id) {
  const { again: ask, every } = VIEWS[view];
  const now = where();
  if (!every || now.view !== view || now.id !== id) return;
  clearTimeout(timer);
  timer = setTimeout(async () => {
    if (!document.hidden)
      await Promise.resolve(ask(id)).then(() => {
        find("problem").textContent = "";
      }, tell);
    again(view, id);
  }, every);
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // what stands behind the # is a view
  find(`${where().view}-title`).focus();
});
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
  keep(find("key").value);
  find("key-form").hidden = true;
  show();
});
find("spans").addEventListener("change", () => refreshNow().catch(tell));
find("filter").addEventListener("change", () => showSegment(where().id).catch(tell));
find("more").addEventListener("click", () => showMore(where().id).catch(tell));
for (const button of document.querySelectorAll("[data-export]")) {
  button.addEventListener("click", () =>
    exportSegment(where().id, button.dataset.export).catch(tell),
  );
}
find("live-interest").addEventListener("change", (event) =>
  listenTo("updates", event.target.value),
);
find("pause").addEventListener("click", (event) => pause(event.target));
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return; // on a phone a bar that hides changes the height
  width = innerWidth;
  forgetShown();
  show();
});
addEventListener("hashchange", show);
show();
