// @ts-check
/** The list of schedules as a dialog: those that fit first, the map and facts beside it. */

import { element } from "./dom.mjs";
import { ScheduleBox } from "./schedule_box.mjs";
import { drawSteps } from "./schedule_map.mjs";
import { allNames, readNames, viewOf } from "./schedule_names.mjs";
import { surfaceOn } from "./surface.mjs";
import { themeOf } from "./theme.mjs";
import { percent } from "./wording.mjs";
import { say } from "./words.mjs";

/** @typedef {import("./schedule_names.mjs").Listed} Listed */
/** @typedef {import("./connected_model.mjs").Met} Met */

/**
 * The entries in the order of the list, under headings.
 * @param {Listed[]} entries
 * @param {Met | null} met the connected model, where it is known
 * @returns {{heading: string, entries: Listed[], fits: boolean}[]}
 */
export function grouped(entries, met) {
  const fits = (/** @type {Listed} */ entry) => Boolean(met && entry.fits === met.fits);
  const any = entries.filter((entry) => entry.fits === null && !entry.error);
  const rest = entries.filter((entry) => !fits(entry) && !any.includes(entry));
  const names = [...new Set(rest.map((entry) => entry.group))].sort(
    (a, b) => Number(a === BROKEN) - Number(b === BROKEN) || a.localeCompare(b),
  );
  return [
    {
      heading: met ? say("Fits your model: {model}", { model: met.model }) : "",
      entries: entries.filter(fits),
      fits: true,
    },
    { heading: say("Any model"), entries: any, fits: true },
    ...names.map((name) => ({
      heading: name === BROKEN ? say("Cannot be read") : name,
      entries: rest.filter((entry) => entry.group === name),
      fits: false,
    })),
  ].filter((group) => group.entries.length > 0);
}

const BROKEN = "Cannot be read"; // the group that the server puts them in

/**
 * Ask for one of the schedules.
 * @param {object} asked
 * @param {string} asked.chosen
 * @param {Met | null} asked.met
 * @param {(name: string) => void} asked.onChoose
 * @param {AbortSignal} asked.signal closes it, when its node is removed
 */
export function pickSchedule({ chosen, met, onChoose, signal: nodes }) {
  const dialog = element("dialog", "ecad-picker");
  const closing = new AbortController();
  const { signal } = closing;
  const search = element("input");
  search.type = "search";
  search.placeholder = say("Find a schedule");
  search.setAttribute("aria-label", search.placeholder);
  const refresh = element("button", "", [say("Refresh")]);
  refresh.type = "button";
  refresh.title = say("Read the folders again");
  const list = element("div", "ecad-options");
  list.setAttribute("role", "listbox");
  list.tabIndex = -1;
  const box = new ScheduleBox(signal, { open: true, onToggle: () => {} });
  const about = element("div", "ecad-notes");
  const detail = element("div", "ecad-view", [box.element, about]);
  dialog.append(
    element("div", "ecad-top", [search, refresh]),
    element("div", "ecad-columns", [list, detail]),
  );
  document.body.append(dialog);

  /** @type {{entry: Listed, row: HTMLElement}[]} */
  let rows = [];
  let at = -1;
  const point = (/** @type {number} */ index, scroll = true) => {
    rows[at]?.row.setAttribute("aria-selected", "false");
    at = Math.min(Math.max(index, 0), rows.length - 1);
    const found = rows[at];
    dialog.dataset.pointed = found?.entry.name ?? "";
    detail.hidden = !found;
    if (!found) return;
    found.row.setAttribute("aria-selected", "true");
    if (scroll) found.row.scrollIntoView({ block: "nearest" });
    about.textContent = aboutOf(found.entry, met);
    void viewOf(found.entry).then((view) => {
      if (signal.aborted || rows[at] !== found) return;
      box.element.hidden = !view;
      if (view) box.show(view);
    });
  };
  const choose = (/** @type {Listed} */ entry) => {
    if (entry.error) return;
    dialog.close();
    onChoose(entry.name);
  };
  let filling = new AbortController();
  const fill = () => {
    filling.abort();
    filling = new AbortController();
    const rowSignal = AbortSignal.any([signal, filling.signal]);
    const entries = found(allNames(), search.value.trim().toLowerCase());
    rows = [];
    list.replaceChildren(
      ...grouped(entries, met).flatMap(({ heading, entries, fits }) => [
        element("div", "ecad-heading", [heading]),
        ...entries.map((entry) => {
          const row = rowOf(entry, fits && entry.fits !== null ? entry.label : entry.words, rowSignal);
          row.dataset.fits = String(fits);
          if (entry.name === chosen) row.dataset.chosen = "true";
          const index = rows.push({ entry, row }) - 1;
          row.addEventListener("pointermove", () => index !== at && point(index, false));
          row.addEventListener("click", () => choose(entry));
          return row;
        }),
      ]),
    );
    dialog.dataset.rows = String(rows.length);
    const before = rows.findIndex(({ entry }) => entry.name === chosen);
    at = -1;
    point(search.value ? 0 : before);
  };

  search.addEventListener("input", fill, { signal });
  refresh.addEventListener("click", () => void readNames().then(() => !signal.aborted && fill()), {
    signal,
  });
  dialog.addEventListener(
    "keydown",
    (event) => {
      event.stopPropagation(); // ComfyUI has keys of its own
      const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
      if (by !== undefined) point(at + by);
      else if (event.key === "Enter" && event.target === search && rows[at]) choose(rows[at].entry);
      else return;
      event.preventDefault();
    },
    { signal },
  );
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close(), { signal });
  dialog.addEventListener("close", () => {
    closing.abort();
    dialog.remove();
  });
  nodes.addEventListener("abort", () => dialog.close(), { signal });
  dialog.showModal();
  dialog.style.setProperty("--ecad-accent", themeOf(dialog).accent);
  fill();
  search.focus();
}

/**
 * The entries that have the text in them or, if there are none, all of its words.
 * @param {Listed[]} entries
 * @param {string} text in small letters
 */
function found(entries, text) {
  const holds = (/** @type {Listed} */ { label, name }, /** @type {string} */ part) =>
    `${label} ${name}`.toLowerCase().includes(part);
  const whole = entries.filter((entry) => holds(entry, text));
  const words = text.split(/\s+/);
  return whole.length ? whole : entries.filter((entry) => words.every((word) => holds(entry, word)));
}

/**
 * @param {Listed} entry
 * @param {string} words
 * @param {AbortSignal} signal
 */
function rowOf(entry, words, signal) {
  const canvas = element("canvas");
  const shares = entry.shares ?? [];
  const facts = [
    entry.speedup ? `${entry.speedup.toFixed(2)}x` : "",
    entry.computed == null ? "" : percent(entry.computed),
  ];
  const row = element("div", "ecad-option", [
    element("span", "ecad-line", [words]),
    element("span", "ecad-soft", [facts.filter(Boolean).join(" · ")]),
    canvas,
  ]);
  row.setAttribute("role", "option");
  row.setAttribute("aria-selected", "false");
  row.title = entry.error ?? `${entry.label}\n${entry.name}`;
  row.dataset.name = entry.name;
  if (entry.error) row.setAttribute("aria-disabled", "true");
  if (shares.length)
    surfaceOn(
      canvas,
      (context, width, height) =>
        drawSteps(context, shares, themeOf(row.closest("dialog") ?? row), width, height),
      signal,
    );
  return row;
}

/**
 * @param {Listed} entry
 * @param {Met | null} met
 */
function aboutOf(entry, met) {
  if (entry.error) return entry.error;
  if (met && entry.fits !== null && entry.fits !== met.fits)
    return say("For another model than yours ({model}): it would be an error before sampling.", {
      model: met.model,
    });
  return "";
}
