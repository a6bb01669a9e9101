// @ts-check
/** The text of a schedule file (docs/schedule-format.md) as rows that can be painted, and back. */

import { ScheduleBits } from "./schedule_bits.mjs";
import { say, sayCount } from "./words.mjs";

/** @typedef {import("./schedule_bits.mjs").Group} Group */

/**
 * @typedef {object} Costs shares of the MACs of an uncached step
 * @property {number} base what no schedule switches off
 * @property {number[][]} shares one for each component of a block, group by group
 * @property {number[][][]} reads like `shares`: the components that alone determine this one
 *
 * @typedef {Costs & {family: string, groups: Group[]}} Architecture
 *
 * @typedef {object} ScheduleDocument
 * @property {string} text
 * @property {string} name
 * @property {string} architecture its id
 * @property {boolean} forecasts whether a payload does more than plain reuse
 * @property {ScheduleBits} bits
 */

const FORMAT = "ecad-schedule";
const LONGEST_TEXT = 8 * 1024 * 1024; // the limits of the library, which reads it before it runs
const MOST_STEPS = 10_000;
const MOST_BLOCKS = 1_024;
const MOST_COMPONENTS = 16;
const ROWS = /"compute"\s*:\s*(\[[^[\]]*\])/; // no quote in a JSON string stands without a \

/**
 * @param {string} text
 * @param {Record<string, Architecture>} architectures those whose groups are known, by id
 * @returns {ScheduleDocument}
 * @throws {Error} a sentence about what cannot be read
 */
export function documentOf(text, architectures) {
  const fields = fieldsOf(text);
  const { steps, compute } = fields;
  const groups = groupsOf(fields, architectures);
  if (!isCount(steps, MOST_STEPS))
    throw new Error(say("it has no number of steps up to {most}", { most: MOST_STEPS }));
  if (!Array.isArray(compute) || compute.length !== steps)
    throw new Error(sayCount("it does not have {n} row", "it does not have {n} rows", steps));
  const cells = groups.reduce((n, [, blocks, parts]) => n + blocks * parts.length, 0);
  if (steps * cells > 4 * text.length) throw new Error(say("its rows are too short")); // or the memory
  const bits = new ScheduleBits({ groups, steps, compute: "" });
  compute.forEach((row, step) => readRow(bits, step, row));
  return {
    text,
    name: typeof fields.name === "string" ? fields.name : "",
    architecture: String(fields.architecture),
    forecasts: Object.values(fields.payload ?? {}).some((kind) => kind !== "reuse"),
    bits,
  };
}

/**
 * The text with these rows; all else stays as it is, numbers too large for JavaScript included.
 * @param {ScheduleDocument} before
 * @param {Uint8Array} compute
 * @returns {string}
 */
export function painted(before, compute) {
  const { groups, steps } = before.bits;
  const bits = new ScheduleBits({ groups, steps, compute });
  const rows = Array.from({ length: steps }, (_, step) => rowOf(bits, step));
  const found = ROWS.exec(before.text);
  if (found && sameRows(found[1], before.bits)) {
    const start = found.index + found[0].length - found[1].length;
    const end = found.index + found[0].length;
    return before.text.slice(0, start) + JSON.stringify(rows) + before.text.slice(end);
  }
  return JSON.stringify({ ...JSON.parse(before.text), compute: rows });
}

/**
 * A new file in which everything computes.
 * @param {string} id
 * @param {Architecture} architecture
 * @param {number} steps
 */
export function newDocument(id, { family, groups }, steps) {
  const cells = groups.reduce((n, [, blocks, parts]) => n + blocks * parts.length, 0);
  const compute = new Uint8Array(steps * cells).fill(1);
  const bits = new ScheduleBits({ groups, steps, compute });
  return JSON.stringify({
    format: FORMAT,
    version: 1,
    name: `${id}-${steps}-steps-edited`,
    architecture: id,
    family,
    blocks: Object.fromEntries(groups.map(([name, blocks]) => [name, blocks])),
    components: Object.fromEntries(groups.map(([name, , parts]) => [name, parts])),
    steps,
    compute: Array.from({ length: steps }, (_, step) => rowOf(bits, step)),
    provenance: { tool: "ComfyUI-ECAD", edited_from: `new/${id}` },
  });
}

/**
 * MACs as a share of the uncached run.
 * @param {ScheduleBits} bits
 * @param {Costs} costs
 */
export function relativeCost(bits, { base, shares }) {
  let sum = base;
  bits.groups.forEach(([, blocks, parts], group) =>
    parts.forEach((_, component) => {
      sum += blocks * shares[group][component] * bits.share(group, component);
    }),
  );
  return sum;
}

/**
 * Which cells are computed although that changes nothing, as `Schedule.canonical` in the library
 * tells: what reads only stored values that have not changed, and what is computed again, or
 * never read, before its one reader computes.
 * @param {ScheduleBits} bits
 * @param {Costs} costs
 * @returns {Uint8Array} 1 for each of them
 */
export function uselessCells(bits, { reads }) {
  const useless = new Uint8Array(bits.bits.length);
  const { steps } = bits;
  bits.groups.forEach(([, blocks, parts], group) =>
    parts.forEach((_, reader) => {
      const inputs = reads[group]?.[reader] ?? [];
      if (inputs.length === 0) return;
      for (let block = 0; block < blocks; block++) {
        /** @type {Map<number, number>} inputs computed since the reader last computed */
        const unread = new Map();
        for (let step = 0; step < steps; step++) {
          for (const input of inputs) {
            if (!bits.computes(step, group, block, input)) continue;
            const last = unread.get(input);
            if (last !== undefined) useless[bits.indexOf(last, group, block, input)] = 1;
            unread.set(input, step);
          }
          if (!bits.computes(step, group, block, reader)) continue;
          if (unread.size === 0) useless[bits.indexOf(step, group, block, reader)] = 1;
          unread.clear();
        }
        for (const [input, step] of unread) useless[bits.indexOf(step, group, block, input)] = 1;
      }
    }),
  );
  return useless;
}

/**
 * @param {string} text
 * @returns {Record<string, any>}
 */
function fieldsOf(text) {
  if (text.length > LONGEST_TEXT) throw new Error(say("it is longer than 8 MB"));
  let fields;
  try {
    fields = JSON.parse(text);
  } catch {
    throw new Error(say("it is not JSON"));
  }
  if (fields?.format !== FORMAT) throw new Error(say("its format is not {format}", { format: FORMAT }));
  return fields;
}

/**
 * @param {Record<string, any>} fields
 * @param {Record<string, Architecture>} architectures
 * @returns {Group[]}
 */
function groupsOf({ architecture, blocks, components }, architectures) {
  const known = Object.hasOwn(architectures, architecture) ? architectures[architecture] : null;
  if (known) return known.groups;
  const names = Object.keys(components ?? {});
  const right = (/** @type {string} */ name) =>
    (blocks?.[name] === 0 || isCount(blocks?.[name], MOST_BLOCKS)) &&
    Array.isArray(components[name]) &&
    isCount(components[name].length, MOST_COMPONENTS);
  if (names.length === 0 || !names.every(right)) throw new Error(say("its blocks are not told"));
  return names.map((name) => [name, blocks[name], components[name].map(String)]);
}

/**
 * @param {any} value
 * @param {number} most
 */
const isCount = (value, most) => Number.isInteger(value) && value >= 1 && value <= most;

/** @param {string[]} parts */
const digitsOf = (parts) => Math.ceil(parts.length / 4);

/**
 * @param {ScheduleBits} bits
 * @param {number} step
 * @param {unknown} row
 */
function readRow(bits, step, row) {
  const words = typeof row === "string" ? row.split(" ") : [];
  bits.groups.forEach(([, blocks, parts], group) => {
    const digits = digitsOf(parts);
    const word = words[group] ?? "";
    if (words.length !== bits.groups.length || word.length !== blocks * digits)
      throw new Error(say("its row {step} has not one digit for each block", { step }));
    for (let block = 0; block < blocks; block++) {
      const value = Number(`0x${word.slice(block * digits, (block + 1) * digits)}`);
      if (!(value < 2 ** parts.length)) throw new Error(say("its row {step} has a wrong digit", { step }));
      parts.forEach((_, component) => {
        bits.bits[bits.indexOf(step, group, block, component)] = (value >> component) & 1;
      });
    }
  });
}

/**
 * @param {ScheduleBits} bits
 * @param {number} step
 */
function rowOf(bits, step) {
  return bits.groups
    .map(([, blocks, parts], group) =>
      Array.from({ length: blocks }, (_, block) => {
        let value = 0;
        parts.forEach((_, component) => {
          if (bits.computes(step, group, block, component)) value |= 1 << component;
        });
        return value.toString(16).padStart(digitsOf(parts), "0");
      }).join(""),
    )
    .join(" ");
}

/**
 * @param {string} json
 * @param {ScheduleBits} bits
 */
function sameRows(json, bits) {
  const rows = JSON.parse(json);
  return rows.length === bits.steps && rows.every((row, step) => row === rowOf(bits, step));
}
