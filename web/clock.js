// The pool's time as this page knows it: the clock of this device, corrected by what answers of the
// pool said. Owns the correction. It is the greatest seen, for an answer that was long on its way
// only makes the pool look late. When this device slept or its clock was set, the correction is
// void until the pool has spoken again.

const jumpMs = 2000; // the two clocks of a browser differ by less unless one was set, or it slept

export function createClock(wall = () => Date.now(), steady = () => performance.now()) {
  let correction = null;
  let wallSeen = wall();
  let steadySeen = steady();

  const clock = {
    // A moment of the pool in an answer that just came.
    observe(text) {
      const at = Date.parse(text);
      if (!Number.isFinite(at)) return;
      const seen = at - wall();
      correction = correction === null ? seen : Math.max(correction, seen);
    },
    // A new connection: perhaps another machine answers.
    forget() {
      correction = null;
    },
    isKnown: () => correction !== null,
    now: () => wall() + (correction ?? 0),
    // True once after this device's clock was set or it slept.
    jumped() {
      const passedWall = wall() - wallSeen;
      const passedSteady = steady() - steadySeen;
      wallSeen = wall();
      steadySeen = steady();
      if (Math.abs(passedWall - passedSteady) < jumpMs) return false;
      correction = null;
      return true;
    },
  };
  return clock;
}
