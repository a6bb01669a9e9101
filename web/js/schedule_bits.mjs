// @ts-check
/** A schedule as the nodes send it: where each cell lies, and whether it computes. */

/**
 * @typedef {[string, number, string[]]} Group name, number of blocks, components of a block
 *
 * @typedef {object} ScheduleData
 * @property {string} key
 * @property {string} name
 * @property {string} model
 * @property {Group[]} groups
 * @property {number} steps
 * @property {string} compute hex: step by step, in the order of the cells, highest bit first
 * @property {number} computed share of the cells that compute
 * @property {number} [speedup] times fewer MACs than uncached
 * @property {[number, number]} [native] pixels that `speedup` and `bytes` hold for
 * @property {number | null} [bytes] held for one prompt
 * @property {Record<string, string>} [payload]
 * @property {string[]} [origin]
 */

/** The bits of a schedule, laid out. */
export class ScheduleBits {
  /** @param {{groups: Group[], steps: number, compute: string | Uint8Array}} data */
  constructor(data) {
    this.groups = data.groups;
    this.steps = data.steps;
    this.cells = data.groups.reduce((n, [, blocks, parts]) => n + blocks * parts.length, 0);
    const { compute } = data;
    this.bits = typeof compute === "string" ? unpacked(compute, this.steps * this.cells) : compute;
    /** The first cell of each group. */
    this.starts = [];
    let start = 0;
    for (const [, blocks, parts] of data.groups) {
      this.starts.push(start);
      start += blocks * parts.length;
    }
  }

  /**
   * @param {number} step
   * @param {number} group
   * @param {number} block
   * @param {number} component
   */
  computes(step, group, block, component) {
    return this.bits[this.indexOf(step, group, block, component)] === 1;
  }

  /**
   * Where in `bits` a cell at a step is.
   * @param {number} step
   * @param {number} group
   * @param {number} block
   * @param {number} component
   */
  indexOf(step, group, block, component) {
    const cell = this.starts[group] + block * this.groups[group][2].length + component;
    return step * this.cells + cell;
  }

  /** The share of cells that each step computes. */
  byStep() {
    const { bits, cells, steps } = this;
    return Array.from({ length: steps }, (_, step) => {
      let sum = 0;
      for (let i = step * cells; i < (step + 1) * cells; i++) sum += bits[i];
      return sum / cells;
    });
  }

  /** The share of all cells and steps that computes. */
  computed() {
    return this.bits.reduce((n, bit) => n + bit, 0) / this.bits.length;
  }

  /**
   * The share that one component of a group computes.
   * @param {number} group
   * @param {number} component
   */
  share(group, component) {
    const blocks = this.groups[group][1];
    let sum = 0;
    for (let step = 0; step < this.steps; step++)
      for (let block = 0; block < blocks; block++)
        sum += Number(this.computes(step, group, block, component));
    return sum / (this.steps * blocks);
  }
}

/**
 * @param {string} hex
 * @param {number} count
 * @returns {Uint8Array} one 0 or 1 for each bit; zeros where `hex` is too short
 */
export function unpacked(hex, count) {
  const bits = new Uint8Array(count);
  for (let i = 0; i < count; i++)
    bits[i] = (parseInt(hex[i >> 2] ?? "0", 16) >> (3 - (i & 3))) & 1;
  return bits;
}

/**
 * @param {Uint8Array} bits zeros and ones
 * @returns {string} hex, the first one the highest bit; whole bytes
 */
export function packed(bits) {
  let hex = "";
  for (let i = 0; i < bits.length; i += 8) {
    let byte = 0;
    for (let j = i; j < i + 8; j++) byte = 2 * byte + (bits[j] ?? 0);
    hex += byte.toString(16).padStart(2, "0");
  }
  return hex;
}
