// @ts-check
/** Colours that follow ComfyUI's palette, light or dark, and a word when it changes. */

/**
 * @typedef {object} Theme
 * @property {string} ink
 * @property {string} softInk
 * @property {string} faint lines of a grid, cells that are reused
 * @property {string} paper
 * @property {string} accent what the search found
 * @property {string} handMade
 * @property {string} good the knee
 * @property {string} bad what must not be
 * @property {string[]} components one for each component of a block
 */

const LIGHT = {
  blue: "#2362d7",
  orange: "#de620e",
  green: "#148654",
  purple: "#7e3fba",
  red: "#c4262e",
};
const DARK = {
  blue: "#6ba4ff",
  orange: "#ff9d4d",
  green: "#45d196",
  purple: "#c195ff",
  red: "#ff6b70",
};

/** @type {Set<() => void>} */
const listeners = new Set();
/** @type {MutationObserver | null} */
let observer = null;

/**
 * The colours to draw with on `element`, from the ones that CSS gives it.
 * @param {Element} element
 * @returns {Theme}
 */
export function themeOf(element) {
  const style = getComputedStyle(element);
  const paper = channels(style.backgroundColor) ?? [34, 34, 34];
  const ink = channels(style.color) ?? [221, 221, 221];
  const hues = brightness(paper) > 140 ? LIGHT : DARK;
  return {
    ink: css(ink),
    softInk: css(mixed(ink, paper, 0.68)),
    faint: css(mixed(ink, paper, 0.14)),
    paper: css(paper),
    accent: hues.blue,
    handMade: hues.orange,
    good: hues.green,
    bad: hues.red,
    components: [hues.blue, hues.purple, hues.green],
  };
}

/**
 * Call `listener` after every change of the palette until `signal` aborts.
 * @param {() => void} listener
 * @param {AbortSignal} signal
 */
export function onThemeChange(listener, signal) {
  listeners.add(listener);
  if (!observer) {
    observer = new MutationObserver(() => listeners.forEach((tell) => tell()));
    for (const element of [document.documentElement, document.body])
      observer.observe(element, { attributes: true, attributeFilter: ["class", "style"] });
  }
  signal.addEventListener("abort", () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      observer?.disconnect();
      observer = null;
    }
  });
}

/** How many listeners there are, for tests. */
export const themeListeners = () => listeners.size;

/** @typedef {[number, number, number]} Channels red, green, blue in 0..255 */

/**
 * @param {string} colour as getComputedStyle writes it
 * @returns {Channels | null} null when it is transparent or in another notation
 */
function channels(colour) {
  const numbers = /^rgba?\(([^)]+)\)$/.exec(colour)?.[1].split(/[\s,/]+/).map(Number);
  if (!numbers || numbers.length < 3 || numbers.some(Number.isNaN) || numbers[3] === 0) return null;
  return [numbers[0], numbers[1], numbers[2]];
}

/** @param {Channels} colour */
const brightness = ([red, green, blue]) => 0.299 * red + 0.587 * green + 0.114 * blue;

/**
 * @param {Channels} colour
 * @param {Channels} other
 * @param {number} share of `colour`
 * @returns {Channels}
 */
const mixed = (colour, other, share) => [
  share * colour[0] + (1 - share) * other[0],
  share * colour[1] + (1 - share) * other[1],
  share * colour[2] + (1 - share) * other[2],
];

/** @param {Channels} colour */
const css = (colour) => `rgb(${colour.map(Math.round).join(" ")})`;
