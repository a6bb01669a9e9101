// @ts-check
/**
 * What was last drawn, by workflow and node: nodes are made anew when the tab changes, on undo and
 * in subgraphs, and events are not sent again. It lives as long as the page.
 */

import { api } from "../../../scripts/api.js";

const MOST = 100;
const HISTORY_ITEMS = 10;

/**
 * @typedef {object} View
 * @property {any} [search] what a search told last
 * @property {any} [schedule] the schedule that a node holds
 * @property {any} [run] the samplings of the model that a node gave out
 * @property {any} [pairs] pictures beside their references
 * @property {boolean} [live] whether `search` is from an event, not from a stored output
 */

/** @type {Map<string, View>} */
const views = new Map();

/**
 * @param {string} workflow
 * @param {string} path
 * @param {View} view
 */
export function keep(workflow, path, view) {
  const name = `${workflow}/${path}`;
  views.delete(name); // so that the newest is the last
  views.set(name, view);
  while (views.size > MOST) views.delete([...views.keys()][0]);
}

/**
 * @param {string} workflow
 * @param {string[]} paths
 * @returns {View | null}
 */
export function kept(workflow, paths) {
  const path = paths.find((candidate) => views.has(`${workflow}/${candidate}`));
  return path === undefined ? null : (views.get(`${workflow}/${path}`) ?? null);
}

/**
 * The drawable part of a node's stored output.
 * @param {any} output
 * @returns {View | null}
 */
export function viewIn(output) {
  const search = output?.ecad_search?.[0];
  const schedule = output?.ecad_schedule?.[0];
  const run = output?.ecad_run?.[0];
  const pairs = output?.ecad_pairs?.[0];
  return search || schedule || run || pairs ? { search, schedule, run, pairs } : null;
}

/**
 * Where the searches of a workflow stand, those that were cancelled and have no output included.
 * @param {string} workflow
 * @returns {Promise<Map<string, View>>} by node id
 */
export async function fromSearches(workflow) {
  const answer = await api.fetchApi(`/ecad/searches?workflow=${encodeURIComponent(workflow)}`);
  const { searches } = answer.ok ? await answer.json() : { searches: {} };
  return new Map(Object.entries(searches).map(([path, search]) => [path, { search }]));
}

/**
 * The newest stored outputs of a workflow in the server's history, for a page that was reloaded.
 * @param {string} workflow
 * @returns {Promise<Map<string, View>>} by node id
 */
export async function fromHistory(workflow) {
  /** @type {Map<string, View>} */
  const found = new Map();
  const answer = await api.fetchApi(`/history?max_items=${HISTORY_ITEMS}`);
  if (!answer.ok) return found;
  for (const item of Object.values(await answer.json()).reverse()) {
    if (item.prompt?.[3]?.extra_pnginfo?.workflow?.id !== workflow) continue;
    for (const [path, output] of Object.entries(item.outputs ?? {})) {
      const view = viewIn(output);
      if (view && !found.has(path)) found.set(path, view);
    }
  }
  return found;
}
