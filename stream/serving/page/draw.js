// Makes elements and charts. What strangers wrote is only ever set as text, and styles are classes:
// the page may hold no inline ones.

export const find = (id) => document.getElementById(id);

export function element(name, about = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(about)) {
    if (value !== undefined && value !== null && value !== false)
      made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((each) => each !== null && each !== undefined));
  return made;
}

export function drawn(name, about = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(about)) {
    if (value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...children.flat());
  return made;
}

// -- words for numbers

const HOUR = 3_600_000;
export const percent = (share) => `${Math.round(share * 100)} %`;
export const whole = (number) => number.toLocaleString();
export const signed = (number) =>
  number > 0 ? `+${whole(number)}` : number < 0 ? `−${whole(-number)}` : "0";
export const count = (number, one, many) => `${whole(number)} ${number === 1 ? one : many}`;
export const moment = (ms) =>
  new Date(ms).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
export const clock = (ms) =>
  new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function ago(ms) {
  const s = Math.max(0, Date.now() - ms) / 1000;
  if (s < 10) return "just now";
  if (s < 90) return `${Math.round(s)} s ago`;
  if (s < 5400) return `${Math.round(s / 60)} min ago`;
  return s < 129_600 ? `${Math.round(s / 3600)} h ago` : `${Math.round(s / 86_400)} days ago`;
}

const MARKS = { rising: "↑", fading: "↓", new: "+", steady: "→" };

export function trendOf(trend, change) {
  const points = change === undefined ? "" : ` ${signed(Math.round(change * 100))}`;
  return element(
    "span",
    { class: `trend ${trend}` },
    element("span", { "aria-hidden": "true" }, MARKS[trend] ?? ""),
    ` ${trend}`,
    element("span", { class: "quiet" }, points),
  );
}

// -- tables and what a chart says in numbers

export function table(label, heads, rows, about = {}) {
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    element(
      "table",
      about,
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          heads.map(([name, kind]) => element("th", { scope: "col", class: kind }, name)),
        ),
      ),
      element(
        "tbody",
        {},
        rows.map((row) =>
          element(
            "tr",
            {},
            row.map((cell, place) =>
              element(
                place ? "td" : "th",
                { class: heads[place][1], scope: place ? undefined : "row" },
                cell,
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

export function inNumbers(label, heads, rows, words = "The same in numbers") {
  return element("details", {}, element("summary", {}, words), table(label, heads, rows));
}

// -- charts

export function bar(share, mark, colour = "c0") {
  const parts = [
    drawn("rect", { class: "track", width: 100, height: 10, rx: 1 }),
    drawn("rect", { class: `fill ${colour}`, width: (100 * share).toFixed(2), height: 10, rx: 1 }),
  ];
  if (mark !== undefined)
    parts.push(
      drawn("rect", { class: "mark", x: (100 * mark - 0.3).toFixed(2), width: 0.6, height: 10 }),
    );
  return drawn(
    "svg",
    { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    parts,
  );
}

export function spark(values, label) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const y = (value) => (high === low ? 10 : 18 - (16 * (value - low)) / (high - low));
  const points = values.map(
    (value, place) =>
      `${((96 * place) / Math.max(1, values.length - 1) + 2).toFixed(1)},${y(value).toFixed(1)}`,
  );
  return drawn(
    "svg",
    { class: "spark", viewBox: "0 0 100 20", role: "img", "aria-label": label },
    drawn("polyline", { points: points.join(" ") }),
    drawn("circle", { cx: 98, cy: y(values.at(-1)).toFixed(1), r: 2 }),
  );
}

// a smooth line through points: cubic pieces whose slopes at a point are those of its neighbours
function curve(points) {
  let path = "";
  points.forEach(([x, y], place) => {
    if (!place) return;
    const [[x0, y0], [x1, y1]] = [points[place - 1], [x, y]];
    const before = points[place - 2] ?? points[place - 1];
    const after = points[place + 1] ?? points[place];
    const third = (x1 - x0) / 3;
    const slope0 = (y1 - before[1]) / (x1 - before[0] || 1);
    const slope1 = (after[1] - y0) / (after[0] - x0 || 1);
    path += `C${(x0 + third).toFixed(1)} ${(y0 + slope0 * third).toFixed(1)} ${(x1 - third).toFixed(1)} ${(y1 - slope1 * third).toFixed(1)} ${x1.toFixed(1)} ${y1.toFixed(1)}`;
  });
  return path;
}

export function ticks(from, to, most) {
  const steps = [
    10_000,
    30_000,
    60_000,
    300_000,
    900_000,
    1_800_000,
    HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    24 * HOUR,
    48 * HOUR,
  ];
  const step = steps.find((each) => (to - from) / each <= most) ?? 7 * 24 * HOUR;
  const zone = new Date(from).getTimezoneOffset() * 60_000; // so that days begin at midnight here
  const found = [];
  for (let at = Math.ceil((from - zone) / step) * step + zone; at <= to; at += step) found.push(at);
  const words =
    step >= 24 * HOUR
      ? { weekday: "short", day: "numeric" }
      : step < 60_000
        ? { hour: "2-digit", minute: "2-digit", second: "2-digit" }
        : { hour: "2-digit", minute: "2-digit" };
  return found.map((at) => ({ at, text: new Date(at).toLocaleString([], words) }));
}

// layers on both sides of a middle line, the largest inside; each: { name, weight: [...] }
export function streamGraph(layers, times, width, label) {
  const [height, foot] = [width < 600 ? 260 : 320, 24];
  const inside = [];
  layers.forEach((each, place) => (place % 2 ? inside.push(each) : inside.unshift(each)));
  const totals = times.map((_, at) => layers.reduce((sum, each) => sum + each.weight[at], 0));
  const scale = (height - foot - 16) / Math.max(1e-9, ...totals);
  const x = (at) => (width * at) / Math.max(1, times.length - 1);
  const edge = totals.map((total) => (height - foot) / 2 - (total * scale) / 2);
  const parts = [];
  const names = [];
  for (const each of inside) {
    const top = edge.map((y, at) => [x(at), y]);
    each.weight.forEach((weight, at) => (edge[at] += weight * scale));
    const bottom = edge.map((y, at) => [x(at), y]).reverse();
    const path = drawn(
      "path",
      {
        class: `layer ${each.colour}`,
        "data-name": each.name,
        d: `M${top[0].map((n) => n.toFixed(1)).join(" ")}${curve(top)}L${bottom[0].map((n) => n.toFixed(1)).join(" ")}${curve(bottom)}Z`,
      },
      drawn("title", {}, each.name),
    );
    parts.push(path);
    // a name where there is room for it in the layer
    const room = Math.ceil((each.name.length * 7.5) / 2 / (x(1) || width));
    let best = null;
    for (let at = room + 1; at < times.length - room - 1; at += 1) {
      const [from, to] = [at - room, at + room + 1];
      const high = Math.max(...top.slice(from, to).map(([, y]) => y));
      const low = Math.min(...edge.slice(from, to));
      if (low - high > (best ? best.low - best.high : 15)) best = { at, high, low };
    }
    if (best)
      names.push(
        drawn(
          "text",
          {
            class: "name",
            x: x(best.at).toFixed(1),
            y: ((best.high + best.low) / 2 + 4.5).toFixed(1),
            "text-anchor": "middle",
          },
          each.name,
        ),
      );
  }
  const axis = ticks(times[0], times.at(-1), width / 110).map(({ at, text }) => {
    const place = (width * (at - times[0])) / Math.max(1, times.at(-1) - times[0]);
    const anchor = place < 30 ? "start" : place > width - 30 ? "end" : "middle";
    return drawn(
      "text",
      { class: "tick", x: place.toFixed(1), y: height - 6, "text-anchor": anchor },
      text,
    );
  });
  return drawn(
    "svg",
    { class: "stream", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    parts,
    names,
    axis,
  );
}

// lines of probability over time; each: { name, colour, pieces: [[[time, share], ...], ...] };
// truths: { from, to, name, colour } of a simulation, as a strip below
export function lineChart(lines, truths, from, to, width, label) {
  const narrow = width < 600;
  const [left, right, top] = [44, narrow ? 12 : 150, 12];
  const height = (narrow ? 210 : 250) + (truths.length ? 34 : 0);
  const bottom = height - 26 - (truths.length ? 34 : 0);
  const x = (time) => left + ((width - left - right) * (time - from)) / Math.max(1, to - from);
  const y = (share) => bottom - (bottom - top) * share;
  const parts = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => [
    drawn("path", { class: "grid", d: `M${left} ${y(share)}H${width - right}` }),
    drawn(
      "text",
      { class: "tick", x: left - 8, y: y(share) + 4, "text-anchor": "end" },
      percent(share),
    ),
  ]);
  for (const { at, text } of ticks(from, to, (width - left - right) / 100)) {
    parts.push(
      drawn(
        "text",
        { class: "tick", x: x(at).toFixed(1), y: bottom + 19, "text-anchor": "middle" },
        text,
      ),
    );
  }
  const ends = [];
  for (const each of lines) {
    for (const piece of each.pieces) {
      const points = piece.map(([time, share]) => [x(time), y(share)]);
      const path = points
        .map(([px, py], place) => `${place ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`)
        .join("");
      parts.push(drawn("path", { class: `line ${each.colour}`, d: path }));
      if (points.length === 1)
        parts.push(
          drawn("circle", {
            class: `dot ${each.colour}`,
            cx: points[0][0].toFixed(1),
            cy: points[0][1].toFixed(1),
            r: 3,
          }),
        );
    }
    const last = each.pieces.at(-1)?.at(-1);
    if (last && last[0] === to) {
      parts.push(
        drawn("circle", {
          class: `dot ${each.colour}`,
          cx: x(last[0]).toFixed(1),
          cy: y(last[1]).toFixed(1),
          r: 4,
        }),
      );
      ends.push({ each, share: last[1], at: y(last[1]) });
    }
  }
  if (!narrow) {
    ends.sort((one, other) => one.at - other.at);
    ends.forEach((end, place) => {
      if (place) end.at = Math.max(end.at, ends[place - 1].at + 17);
    });
    const over = (ends.at(-1)?.at ?? 0) - bottom;
    for (const end of ends) {
      parts.push(
        drawn(
          "text",
          {
            class: `end ${end.each.colour}`,
            x: width - right + 12,
            y: (end.at - Math.max(0, over) + 4).toFixed(1),
          },
          cut(end.each.name, 18),
        ),
      );
    }
  }
  for (const each of truths) {
    const [x0, x1] = [Math.max(left, x(each.from)), x(each.to)];
    if (x1 <= left) continue;
    parts.push(
      drawn(
        "rect",
        {
          class: `strip ${each.colour}`,
          x: x0.toFixed(1),
          y: bottom + 34,
          width: Math.max(1, x1 - x0 - 1).toFixed(1),
          height: 20,
          rx: 3,
        },
        drawn("title", {}, `true: ${each.name}`),
      ),
    );
    if (x1 - x0 > each.name.length * 7.5 + 8)
      parts.push(
        drawn(
          "text",
          {
            class: "name",
            x: ((x0 + x1) / 2).toFixed(1),
            y: bottom + 48.5,
            "text-anchor": "middle",
          },
          each.name,
        ),
      );
  }
  if (truths.length)
    parts.push(
      drawn("text", { class: "tick", x: left - 8, y: bottom + 48, "text-anchor": "end" }, "true"),
    );
  return drawn(
    "svg",
    { class: "lines", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    parts,
  );
}

// what was said against what happened; a circle's area is how often it was said
export function reliabilityChart(bins, label) {
  const [size, left, bottom] = [330, 44, 290];
  const x = (share) => left + (size - left - 24) * share;
  const y = (share) => bottom - (bottom - 12) * share;
  const most = Math.max(...bins.map((each) => each.count));
  const grid = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => [
    drawn("path", { class: "grid", d: `M${x(0)} ${y(share)}H${x(1)}` }),
    drawn(
      "text",
      { class: "tick", x: left - 8, y: y(share) + 4, "text-anchor": "end" },
      percent(share),
    ),
    drawn(
      "text",
      { class: "tick", x: x(share), y: bottom + 17, "text-anchor": "middle" },
      percent(share),
    ),
  ]);
  const dots = bins.map((each) =>
    drawn(
      "circle",
      {
        class: "bin",
        cx: x(each.probability).toFixed(1),
        cy: y(each.happened).toFixed(1),
        r: (3 + (7 * Math.log(1 + each.count)) / Math.log(1 + most)).toFixed(1),
      },
      drawn(
        "title",
        {},
        `said ${percent(each.probability)}, happened ${percent(each.happened)}, ${count(each.count, "time", "times")}`,
      ),
    ),
  );
  return drawn(
    "svg",
    { class: "reliability", viewBox: `0 0 ${size} ${size + 6}`, role: "img", "aria-label": label },
    grid,
    drawn("path", { class: "ideal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }),
    dots,
    drawn("text", { class: "tick", x: x(0.5), y: size + 2, "text-anchor": "middle" }, "said"),
  );
}

export const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

// a colour for each name, in their order; twelve are told apart
export function coloursOf(names) {
  return new Map(names.map((name, place) => [name, `c${place % 12}`]));
}

export const widthOf = (place) => Math.max(280, Math.min(1100, place.clientWidth));
