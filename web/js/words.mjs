// @ts-check
/** What the page says, in the language that ComfyUI is set to. */

import { app } from "../../../scripts/app.js";
import { TRANSLATIONS } from "./translations.mjs";

/**
 * A text in the reader's language, in English where that has none. Call it where the text is shown,
 * not while the script loads: the language is known by then.
 * @param {string} english as one literal, so that `dev.py locales` finds it; `{name}` stands for a
 *   value
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function say(english, values = {}) {
  const table = TRANSLATIONS[language()];
  const text = table && Object.hasOwn(table, english) ? table[english] : english;
  return text.replace(/\{(\w+)\}/g, (whole, name) =>
    Object.hasOwn(values, name) ? String(values[name]) : whole,
  );
}

/**
 * The first text for one, the second for any other number; `{n}` in them is the number.
 * @param {string} one
 * @param {string} many
 * @param {number} n
 * @returns {string}
 */
export function sayCount(one, many, n) {
  return say(n === 1 ? one : many, { n });
}

/** As ComfyUI calls it: "zh". */
const language = () => String(app.extensionManager?.setting?.get?.("Comfy.Locale") ?? "en");
