// Is it well: this service, the workers, the model and how far it can be trusted.

import { ask } from "./ask.js";
import { ago, element, find, inNumbers, percent, reliabilityChart, table, whole } from "./draw.js";

let modelShown = null;

const points = (share) =>
  Math.abs(share) < 0.0005 ? "0.0" : (100 * share).toFixed(1).replace("-", "−");

export async function showHealth() {
  const [status, { workers, problem }, { calibration }, pulse] = await Promise.all([
    ask("/v1/status"),
    ask("/v1/workers"),
    ask("/v1/calibration"),
    ask("/v1/pulse?span=hour"),
  ]);
  const lately = pulse.updates.slice(-7, -1);
  const rate =
    lately.reduce((sum, each) => sum + each, 0) /
    Math.max(1, lately.length) /
    (pulse.width_ms / 1000);
  find("figures").replaceChildren(
    figure(
      status.ready ? "ready" : "not ready",
      status.ready ? "this service" : status.reasons.join(", "),
      status.ready,
    ),
    figure(`${(status.lag_ms / 1000).toFixed(1)} s`, "behind the workers", status.lag_ms < 5000),
    figure(
      workers ? whole(workers.members.length) : "?",
      workers?.members.length === 1 ? "worker" : "workers",
      Boolean(workers?.members.length),
    ),
    figure(
      workers ? whole(workers.lag) : "?",
      "events not applied yet",
      !workers || workers.lag < 10_000,
    ),
    figure(rate.toFixed(rate < 10 ? 1 : 0), "updates a second, last minute"),
    figure(whole(status.users), status.users === 1 ? "user" : "users"),
  );
  find("workers").replaceChildren(...workersOf(workers, problem));
  showModel(status, calibration);
}

const figure = (value, words, well) =>
  element(
    "li",
    { class: well === undefined ? undefined : well ? "well" : "ill" },
    element("strong", { class: "big" }, value),
    element("span", { class: "quiet" }, words),
  );

function workersOf(workers, problem) {
  if (!workers) return [element("p", {}, `The workers' group cannot be seen: ${problem}.`)];
  const rows = workers.members.map((each) => [
    each.client,
    each.host,
    each.partitions.join(", ") || "none",
    whole(
      each.partitions.reduce(
        (sum, one) => sum + (workers.partitions.find((part) => part.partition === one)?.lag ?? 0),
        0,
      ),
    ),
  ]);
  const had = new Set(workers.members.flatMap((each) => each.partitions));
  const free = workers.partitions.filter((each) => !had.has(each.partition));
  return [
    rows.length
      ? table(
          "Members of the group",
          [["worker"], ["host"], ["partitions"], ["behind by", "number"]],
          rows,
        )
      : element("p", {}, "No worker is in the group. Profiles stay as they are until one starts."),
    free.length && rows.length
      ? element(
          "p",
          { class: "fading" },
          `Nobody has ${free.length === 1 ? "partition" : "partitions"} ${free.map((each) => each.partition).join(", ")}.`,
        )
      : null,
    element(
      "p",
      { class: "quiet" },
      `The group is ${workers.state.toLowerCase()}; seen ${ago(workers.seen_at)}.${problem ? ` Since then: ${problem}.` : ""}`,
    ),
    inNumbers(
      "Partitions",
      [["partition"], ["applied up to", "number"], ["behind by", "number"]],
      workers.partitions.map((each) => [
        String(each.partition),
        whole(each.offset),
        whole(each.lag),
      ]),
      "By partition",
    ),
  ].filter(Boolean);
}

function showModel(status, calibration) {
  const names =
    status.models.map((each) => `${each.name} (${each.fingerprint})`).join(", ") || "none met yet";
  const key = names + (calibration?.fingerprint ?? "");
  if (modelShown === key) return; // it would be drawn again every two seconds
  modelShown = key;
  const of =
    calibration?.of === "first"
      ? "the first interest of each case"
      : "all interests of each case together, of which most are near nought";
  find("model").replaceChildren(
    ...[
      element("p", {}, "Profiles are by ", element("strong", {}, names), "."),
      calibration && status.models.some((each) => each.fingerprint !== calibration.fingerprint)
        ? element(
            "p",
            { class: "fading" },
            `The report below is of ${calibration.fingerprint}: of the others nothing is known here.`,
          )
        : null,
      calibration
        ? element(
            "div",
            { class: "calibration" },
            reliabilityChart(
              calibration.bins,
              `Said against happened: ${calibration.bins
                .filter((_, place) => place % 3 === 0)
                .map(
                  (each) => `${percent(each.probability)} said, ${percent(each.happened)} happened`,
                )
                .join("; ")}`,
            ),
            element(
              "div",
              {},
              element(
                "p",
                {},
                "On the line, a probability is worth what it says. A circle is a group of about equal probabilities; the larger, the more of them (logarithmic).",
              ),
              element(
                "dl",
                {},
                element("dt", {}, "of"),
                element("dd", {}, of),
                element("dt", {}, "cases"),
                element("dd", {}, whole(calibration.cases)),
                element("dt", {}, "said less happened"),
                element(
                  "dd",
                  {},
                  `${points(calibration.gap)} points${calibration.gap_interval ? ` (95 %: ${calibration.gap_interval.map(points).join(" to ")})` : ""}`,
                ),
                element("dt", {}, "mean error (ECE)"),
                element("dd", {}, `${(100 * calibration.error).toFixed(1)} points`),
                element("dt", {}, "protocol"),
                element("dd", {}, calibration.protocol),
              ),
              inNumbers(
                "Calibration",
                [["said"], ["happened", "number"], ["times", "number"]],
                calibration.bins.map((each) => [
                  percent(each.probability),
                  percent(each.happened),
                  whole(each.count),
                ]),
              ),
            ),
          )
        : element(
            "p",
            {},
            "How far to trust it is in the report of its directory; serve --model DIR shows it here.",
          ),
    ].filter(Boolean),
  );
}
