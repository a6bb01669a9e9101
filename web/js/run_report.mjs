// @ts-check
/** What the last run made of a schedule, below the schedule on its node. */

import { element } from "./dom.mjs";
import { percent, spokenBytes } from "./wording.mjs";
import { say, sayCount } from "./words.mjs";

/**
 * @typedef {object} RunData one sampling
 * @property {string | null} [prompt_id]
 * @property {string} schedule its name
 * @property {number} ended seconds since 1970
 * @property {number} steps
 * @property {number} schedule_steps
 * @property {number} evaluations
 * @property {number} computed cells, those that were forced among them
 * @property {number} reused
 * @property {number} forced cells that were to be reused, but nothing usable was stored
 * @property {number} bypassed_calls
 * @property {number} seconds
 * @property {number | null} uncached_seconds of the same sampling without reuse, where it was made
 * @property {number | null} speedup in seconds: measured with `uncached_seconds`, else estimated
 * @property {number} macs_speedup of the MACs that were executed
 * @property {number} expected_speedup of the schedule, at the model's usual size
 * @property {number} peak_bytes
 * @property {number} planned_bytes
 * @property {string[]} messages
 * @property {import("./compare_view.mjs").Pair[]} [pairs]
 *
 * @typedef {object} RunState
 * @property {RunData[]} [runs] the newest is the last
 * @property {"loaded" | "running" | "comparing" | "done" | "stopped"} [state]
 * @property {string} [fits] of the model that the node got
 * @property {string} [model]
 * @property {number} [planned_bytes]
 * @property {number} [step]
 * @property {number} [steps]
 */

/** The newest run. @param {RunState | null | undefined} state */
export const lastRun = (state) => state?.runs?.at(-1) ?? null;

export class RunReport {
  constructor() {
    this.title = element("div", "ecad-line");
    this.bar = element("div", "ecad-share");
    this.figures = element("dl", "ecad-figures");
    this.notes = element("div", "ecad-notes");
    this.element = element("div", "ecad-run", [this.title, this.bar, this.figures, this.notes]);
    this.element.dataset.state = "empty";
    this.element.hidden = true;
  }

  /** @param {RunState} state */
  show(state) {
    const run = lastRun(state);
    const busy = state.state === "running" || state.state === "comparing";
    this.element.hidden = !run && !busy;
    this.element.dataset.state = busy ? String(state.state) : run ? "done" : "empty";
    this.title.textContent = this.title.title = titleOf(state, run);
    this.element.style.opacity = busy && run ? "0.6" : "";
    for (const part of [this.bar, this.figures, this.notes]) part.hidden = !run;
    if (!run) return;
    const { computed, reused, forced } = run;
    Object.assign(this.element.dataset, { computed, reused, forced });
    this.bar.replaceChildren(
      part("computed", computed - forced),
      part("forced", forced),
      part("reused", reused),
    );
    this.figures.replaceChildren(
      ...figuresOf(run).flatMap(([name, value, why]) => {
        const [term, said] = [element("dt", "", [name]), element("dd", "", [value])];
        term.title = said.title = why;
        return [term, said];
      }),
    );
    // what it takes while it is not laid out
    this.element.dataset.height = String(30 + 8 * this.figures.childElementCount);
    this.notes.replaceChildren(...notesOf(run).map((line) => element("div", "", [line])));
  }
}

/**
 * @param {RunState} state
 * @param {RunData | null} run
 */
function titleOf(state, run) {
  const { planned_bytes: planned, step = 0, steps = 0 } = state;
  if (state.state === "running")
    return planned
      ? say("Sampling, holds up to {bytes}", { bytes: spokenBytes(planned) })
      : say("Sampling");
  if (state.state === "comparing")
    return say("Sampling once more, uncached: step {step} of {steps}", { step, steps });
  if (!run) return "";
  const same = (state.runs ?? []).filter(({ prompt_id }) => prompt_id && prompt_id === run.prompt_id);
  const { schedule } = run;
  const which = schedule ? say("Last run, {schedule}", { schedule }) : say("Last run");
  if (same.length < 2) return which;
  return say("{which}: sampling {n} of this queue", { which, n: same.length });
}

/**
 * @param {RunData} run
 * @returns {[string, string, string][]} name, value, what it means
 */
export function figuresOf(run) {
  const cells = run.computed + run.reused || 1;
  const count = (/** @type {number} */ n) => `${n.toLocaleString("en")} (${percent(n / cells)})`;
  /** @type {[string, string, string][]} */
  const figures = [
    [
      say("computed"),
      count(run.computed),
      say("Components computed, counted once for each model call"),
    ],
    [say("reused"), count(run.reused), say("Components whose stored output was reused")],
  ];
  if (run.forced)
    figures.push([
      say("forced"),
      count(run.forced),
      say("Computed though the schedule says reuse: nothing usable was stored"),
    ]);
  const time = seconds(run.seconds);
  const uncached = run.uncached_seconds == null ? "" : seconds(run.uncached_seconds);
  figures.push([
    say("time"),
    uncached ? say("{time}, uncached {uncached}", { time, uncached }) : time,
    say("Of the sampling alone, without text encoder and VAE"),
  ]);
  const real = run.speedup == null ? "?" : `${run.speedup.toFixed(2)}x`;
  const predicted = `${run.macs_speedup.toFixed(2)}x`;
  const alone = `${run.expected_speedup.toFixed(2)}x`;
  figures.push([
    say("speed-up"),
    uncached
      ? say("{real} of {predicted} predicted", { real, predicted })
      : say("about {real} of {predicted} predicted", { real, predicted }),
    uncached
      ? say(
          "Measured against the uncached sampling; predicted by the MACs it executed. " +
            "The schedule alone: {alone}",
          { alone },
        )
      : say(
          "Estimated from this run's own evaluations; predicted by the MACs it executed. " +
            "The schedule alone: {alone}",
          { alone },
        ),
  ]);
  const peak = spokenBytes(run.peak_bytes);
  const planned = run.planned_bytes ? spokenBytes(run.planned_bytes) : "";
  figures.push([
    say("cache peak"),
    planned ? say("{peak} of {planned} planned", { peak, planned }) : peak,
    say("Stored outputs at once"),
  ]);
  return figures;
}

/** @param {RunData} run */
function notesOf(run) {
  const notes = [...run.messages];
  if (run.steps !== run.schedule_steps)
    notes.unshift(
      say("{ran} steps run on a schedule of {made}.", { ran: run.steps, made: run.schedule_steps }),
    );
  if (run.bypassed_calls)
    notes.push(
      sayCount(
        "{n} extra model call left uncached.",
        "{n} extra model calls left uncached.",
        run.bypassed_calls,
      ),
    );
  return notes;
}

/** @param {number} value 0.42 -> "0.42 s", 12.3 -> "12.3 s", 200 -> "200 s" */
const seconds = (value) =>
  say("{n} s", { n: value.toFixed(value < 1 ? 2 : value < 100 ? 1 : 0) });

/**
 * @param {string} kind
 * @param {number} cells
 */
function part(kind, cells) {
  const made = element("span");
  made.dataset.kind = kind;
  made.style.flexGrow = String(Math.max(cells, 0));
  return made;
}
