/**
 * Smoothing over time: the same formula as the Python runtime's, in seconds and not in frames.
 */

/** Exponential smoothing of probabilities; what was seen one half-life ago counts half. */
export class Smoother {
  /** @param halfLife_s 0 smooths nothing. */
  constructor(halfLife_s) {
    this.halfLife_s = halfLife_s;
    this.reset();
  }

  reset() {
    this.mean = null;
    this.time_s = 0;
  }

  /**
   * @param probabilities Of this moment.
   * @param time_s Any clock that does not run backwards.
   * @returns The smoothed probabilities; they sum to what the given ones sum to.
   */
  update(probabilities, time_s) {
    const elapsed_s = Math.max(time_s - this.time_s, 0);
    const kept = this.mean && this.halfLife_s > 0 ? 0.5 ** (elapsed_s / this.halfLife_s) : 0;
    this.mean = probabilities.map((p, i) => (kept ? kept * this.mean[i] + (1 - kept) * p : p));
    this.time_s = time_s;
    return this.mean;
  }
}
