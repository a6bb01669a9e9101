// @ts-check
/** The schedules there are, as the pack's two routes tell them: names that speak, figures, maps. */

import { api } from "../../../scripts/api.js";
import { say } from "./words.mjs";

/**
 * @typedef {object} Listed one entry of the list
 * @property {string} name what a workflow stores
 * @property {string} label
 * @property {string} group whose schedule it is
 * @property {string} words the label without the group
 * @property {string | null} fits equal to a model's where it fits; null for any model
 * @property {string} [key]
 * @property {number} [steps]
 * @property {number[]} [shares] computed at each step
 * @property {number} [computed]
 * @property {number} [speedup]
 * @property {string} [error]
 *
 * @typedef {import("./schedule_bits.mjs").ScheduleData} ScheduleData
 */

/** @type {Map<string, Listed>} */
let listed = new Map();
/** @type {Map<string, Promise<ScheduleData | null>>} */
const views = new Map();
/** @type {Set<() => void>} */
const listeners = new Set();

/** Read the list again and tell whoever listens. An old one stays where that fails. */
export async function readNames() {
  const answer = await api.fetchApi("/ecad/schedules").catch(() => null);
  if (!answer?.ok) return;
  const { schedules } = await answer.json();
  listed = new Map(schedules.map((/** @type {Listed} */ entry) => [entry.name, entry]));
  views.clear();
  listeners.forEach((tell) => tell());
}

/** Whether the list is known. */
export const haveNames = () => listed.size > 0;

/** @returns {Listed[]} */
export const allNames = () => [...listed.values()];

/** @param {string} name */
export const namedEntry = (name) => listed.get(name) ?? null;

/** @param {unknown} name */
export const labelOf = (name) => listed.get(String(name ?? ""))?.label ?? String(name ?? "");

/**
 * @param {() => void} listener
 * @param {AbortSignal} signal
 */
export function onNames(listener, signal) {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener));
}

/**
 * What the nodes would draw of an entry before it has run; null where it cannot be read.
 * @param {Listed} entry
 * @returns {Promise<ScheduleData | null>}
 */
export function viewOf(entry) {
  if (entry.error) return Promise.resolve(null);
  if (entry.fits === null) return Promise.resolve(ofAnyModel(entry));
  let view = views.get(entry.name);
  if (!view) {
    view = api
      .fetchApi(`/ecad/schedules/view?name=${encodeURIComponent(entry.name)}`)
      .then(async (answer) => (answer.ok ? { ...(await answer.json()), name: entry.label } : null))
      .catch(() => null);
    views.set(entry.name, view);
  }
  return view;
}

/**
 * The model is not known, but every component of it does the same.
 * @param {Listed} entry
 * @returns {ScheduleData}
 */
function ofAnyModel({ label, name, steps = 1, shares = [] }) {
  const bits = shares.map((share) => (share > 0 ? "1" : "0")).join("");
  let compute = "";
  for (let i = 0; i < bits.length; i += 4)
    compute += parseInt(bits.slice(i, i + 4).padEnd(4, "0"), 2).toString(16);
  return {
    key: name,
    name: label,
    model: say("whichever model is connected"),
    groups: [["blocks", 1, [say("every component")]]],
    steps,
    compute,
    computed: shares.reduce((sum, share) => sum + share, 0) / Math.max(steps, 1),
    origin: [say("made for the model that is connected when it runs")],
  };
}
