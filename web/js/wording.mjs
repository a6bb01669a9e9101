// @ts-check
/** Numbers as the nodes' text writes them. */

import { say } from "./words.mjs";

/** @param {number} seconds 12.3 -> "12 s", 200 -> "3 min", 9000 -> "2.5 h" */
export function spokenSeconds(seconds) {
  if (seconds < 90) return say("{n} s", { n: seconds.toFixed(0) });
  if (seconds < 90 * 60) return say("{n} min", { n: (seconds / 60).toFixed(0) });
  return say("{n} h", { n: (seconds / 3600).toFixed(1) });
}

/** @param {number} bytes 1.9 GiB, 740 MiB, 0.3 MiB */
export function spokenBytes(bytes) {
  const mib = bytes / 2 ** 20;
  if (mib >= 1024) return `${(mib / 1024).toFixed(1)} GiB`;
  return `${mib.toFixed(mib >= 10 ? 0 : 1)} MiB`;
}

/** @param {number} share 0.314 -> "31%" */
export const percent = (share) => `${(100 * share).toFixed(0)}%`;

/** @param {number} value with its sign, as a quality is written */
export function signed(value, digits = 4) {
  const shown = value.toFixed(digits);
  if (Number(shown) === 0) return (0).toFixed(digits);
  return value > 0 ? `+${shown}` : shown.replace("-", "\u2212");
}

/**
 * About `count` round numbers (1, 2, 2.5, 5 times a power of ten) within [low, high].
 * @param {number} low
 * @param {number} high
 * @param {number} count
 * @returns {number[]}
 */
export function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5, 10].find((m) => power * m >= rough * 0.999) ?? 10);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++)
    found.push(Number((i * step).toPrecision(12)));
  return found;
}
