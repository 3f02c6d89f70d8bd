// Fetches pictures by their jobs, a few at a time, and keeps them as object URLs. Owns those URLs:
// of too many the ones that were not looked at for longest are given back.

const togetherMax = 3;
const keptMax = 80;

export function createPictures(api) {
  const kept = new Map(); // job -> {url, answer}; insertion order is that of use
  const waiting = [];
  let running = 0;

  async function next() {
    if (running >= togetherMax || waiting.length === 0) return;
    running += 1;
    const { job, resolve } = waiting.shift();
    const answer = await api.blob(`v1/jobs/${job}/result`);
    running -= 1;
    const found = answer.ok ? { url: URL.createObjectURL(answer.body), answer }
      : { url: null, answer };
    if (answer.ok) {
      kept.set(job, found);
      for (const [old, one] of kept) {
        if (kept.size <= keptMax) break;
        URL.revokeObjectURL(one.url);
        kept.delete(old);
      }
    }
    resolve(found);
    next();
  }

  return {
    fetch(job) {
      const found = kept.get(job);
      if (found) {
        kept.delete(job);
        kept.set(job, found);
        return Promise.resolve(found);
      }
      return new Promise((resolve) => {
        waiting.push({ job, resolve });
        next();
      });
    },
    clear() {
      for (const one of kept.values()) URL.revokeObjectURL(one.url);
      kept.clear();
      waiting.length = 0;
    },
  };
}
