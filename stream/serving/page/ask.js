// Asks the routes of this service. Ids stand behind the # of an address, which no server sees.

import { find } from "./draw.js";

const KEY = "interest-stream-key";

export class Problem extends Error {}

export const keep = (key) => sessionStorage.setItem(KEY, key);

export function withKey() {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

export async function ask(path) {
  const answer = await fetch(path, { headers: withKey() }).catch(() => null);
  if (answer === null) {
    fresh("away", "no answer");
    throw new Problem("The service does not answer.");
  }
  if (answer.status === 401) {
    find("key-form").hidden = false;
    find("key").focus();
    throw new Problem("This service wants an API key.");
  }
  const found = await answer.json();
  if (!answer.ok) throw Object.assign(new Problem(found.detail), found);
  if (found.lag_ms !== undefined) {
    fresh(found.lag_ms < 5000 ? "well" : "late", `${(found.lag_ms / 1000).toFixed(1)} s behind`);
  }
  return found;
}

// what somebody may not ask, or what there is none of, leaves a gap and no error
export async function askIf(path) {
  return ask(path).catch((error) => {
    if (error.status === 403 || error.status === 404) return null;
    throw error;
  });
}

function fresh(state, words) {
  find("age").className = state;
  find("age").textContent = words;
}

export async function exported(query) {
  const answer = await fetch(`/v1/segments?${query}`, { headers: withKey() });
  if (!answer.ok) throw new Problem((await answer.json()).detail);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `segment.${query.get("format")}`;
  link.click();
  URL.revokeObjectURL(link.href);
}

// -- the live feed; read with fetch, because EventSource sends no key

let listening = null;

export const endListening = () => listening?.abort();

export async function listen(interest, heard) {
  listening?.abort();
  const mine = (listening = new AbortController());
  const query = interest ? `?${new URLSearchParams({ interest })}` : "";
  try {
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
        if (event.startsWith("event: update") && data) heard(JSON.parse(data.slice(6)));
      }
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
}
