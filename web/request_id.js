// Request ids: UUIDv7, whose first 48 bits are the pool's time in ms. The page picks the id, so
// that a request whose answer was lost can be sent again and still is one job.

export function requestId(nowMs, random = (array) => crypto.getRandomValues(array)) {
  const bytes = random(new Uint8Array(16));
  let time = nowMs;
  for (let i = 5; i >= 0; i -= 1) {
    bytes[i] = time % 256;
    time = Math.floor(time / 256);
  }
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)]
    .join("-");
}

// Short enough to type again.
export function drawnSeed(random = (array) => crypto.getRandomValues(array)) {
  return String(random(new Uint32Array(1))[0]);
}
