// @ts-check
/** Undo and redo of texts. */

const MOST = 300; // texts
const LARGEST = 20_000_000; // characters of all of them

export class EditHistory {
  /** @param {string} present */
  constructor(present) {
    this.present = present;
    /** @type {string[]} */
    this.past = [];
    /** @type {string[]} */
    this.future = [];
  }

  /** @param {string} text */
  push(text) {
    if (text === this.present) return;
    this.past.push(this.present);
    this.present = text;
    this.future = [];
    let size = this.past.reduce((n, each) => n + each.length, 0);
    while (this.past.length > MOST || (size > LARGEST && this.past.length > 1))
      size -= this.past.shift()?.length ?? 0;
  }

  /** @returns {boolean} whether `present` is another now */
  undo() {
    return this.move(this.past, this.future);
  }

  /** @returns {boolean} whether `present` is another now */
  redo() {
    return this.move(this.future, this.past);
  }

  /**
   * @param {string[]} from
   * @param {string[]} to
   */
  move(from, to) {
    const text = from.pop();
    if (text === undefined) return false;
    to.push(this.present);
    this.present = text;
    return true;
  }
}
