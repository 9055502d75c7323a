// Who is interested in what: segments with size and growth, their users, export.

import { ask, exported, askIf } from "./ask.js";
import { count, element, find, moment, percent, spark, table, trendOf, whole } from "./draw.js";
import { SPANS, interestsTable, sizes, spanNow } from "./trends.js";

const FIRST_MEMBERS = 50;
let members = []; // shown of the segment
let cursor = null;

export async function showSegments(interest) {
  find("interests").replaceChildren(...(await interestsTable(interest)));
  find("segment").hidden = !interest;
  if (interest) await showSegment(interest);
}

function wanted(interest) {
  const query = new URLSearchParams({ interest });
  const least = Number(find("least").value) / 100;
  if (least > 0) query.set("min_probability", least);
  if (find("which-trend").value) query.set("trend", find("which-trend").value);
  return query;
}

export async function showSegment(interest) {
  const query = wanted(interest);
  query.set("limit", FIRST_MEMBERS);
  const [found, grown] = await Promise.all([
    ask(`/v1/segments?${query}`),
    askIf(`/v1/growth?span=${spanNow()}`),
  ]);
  find("segment-title").textContent = interest;
  const moved = grown?.interests.find((each) => each.interest === interest) ?? {
    joined: 0,
    gone: 0,
    net: [0],
  };
  find("size").replaceChildren(
    element("strong", { class: "big" }, whole(found.count)),
    ` ${found.count === 1 ? "user" : "users"}, active since ${moment(found.active_since)}`,
  );
  find("grown").replaceChildren(
    spark(sizes(found.count, moved.net), `Size over ${SPANS[spanNow()]}`),
    ` in ${SPANS[spanNow()]} `,
    element("span", { class: "rising" }, `${whole(moved.joined)} came`),
    ", ",
    element("span", { class: "fading" }, `${whole(moved.gone)} went`),
  );
  members = found.users;
  cursor = found.cursor;
  showMembers(found.count);
}

export async function showMore(interest) {
  const query = wanted(interest);
  query.set("limit", FIRST_MEMBERS);
  query.set("cursor", cursor);
  const found = await ask(`/v1/segments?${query}`);
  members = [...members, ...found.users];
  cursor = found.cursor;
  showMembers(found.count);
}

function showMembers(all) {
  // the service answers in an order that holds while probabilities move; here the best come first
  const rows = members
    .toSorted((one, other) => other.probability - one.probability)
    .map((each) => [
      element("a", { href: `#/user/${encodeURIComponent(each.user_id)}` }, each.user_id),
      percent(each.probability),
      String(each.rank),
      trendOf(each.trend),
    ]);
  find("members").replaceChildren(
    table(
      "Users of the segment",
      [["user"], ["probability", "number"], ["rank", "number"], ["trend"]],
      rows,
    ),
  );
  find("more").hidden = cursor === null;
  find("shown").textContent = `${count(members.length, "user", "users")} of ${whole(all)} shown`;
}

export function exportSegment(interest, format) {
  const query = wanted(interest);
  query.set("format", format);
  return exported(query);
}
