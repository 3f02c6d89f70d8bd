// Amounts, durations and times as text. Pure functions, no DOM, no clock of their own. The rounding
// is the pool's (actors/describe.h): what is taken is rounded up, what is left or given back is
// rounded down, with as few decimals (1 to 3) as keep different numbers different and sums true.

const tenth = 100; // the coarsest unit shown, in ms

const floorTo = (ms, unit) => Math.floor(ms / unit) * unit;
const ceilTo = (ms, unit) => Math.ceil(ms / unit) * unit;

function secondsInUnit(ms, unit) {
  const decimals = unit === tenth ? 1 : unit === 10 ? 2 : 3;
  return `${ms < 0 ? "-" : ""}${(Math.abs(ms) / 1000).toFixed(decimals)} s`;
}

const exactUnit = (ms) => (ms % tenth === 0 ? tenth : ms % 10 === 0 ? 10 : 1);

// Exact, with one decimal at least: "60.0 s", "7.25 s", "0.004 s".
export const seconds = (ms) => secondsInUnit(ms, exactUnit(ms));
export const secondsUp = (ms) => secondsInUnit(ceilTo(ms, tenth), tenth);
export const secondsDown = (ms) => secondsInUnit(floorTo(ms, tenth), tenth);

// An amount on its way into a sentence, with the direction in which it may be rounded.
const amount = (ms, way) => ({ ms, way });
export const taken = (ms) => amount(ms, "up");
export const remaining = (ms) => amount(ms, "down");
export const exactly = (ms) => amount(ms, "exact");

export function shown({ ms, way }, unit) {
  if (way === "exact") return ms;
  return way === "up" ? ceilTo(ms, unit) : floorTo(ms, unit);
}

function tellsApart(amounts, unit) {
  return amounts.every((one) => {
    if (one.way === "exact" && one.ms % unit !== 0) return false;
    if (one.ms !== 0 && shown(one, unit) === 0) return false;
    return amounts.every((other) => one.ms === other.ms || shown(one, unit) !== shown(other, unit));
  });
}

// The coarsest unit at which the amounts of one sentence tell the truth. Milliseconds are exact, so
// every sum that holds in fact holds there.
export function unitFor(amounts, sumsHold = () => true) {
  for (const unit of [tenth, 10]) {
    if (tellsApart(amounts, unit) && sumsHold(unit)) return unit;
  }
  return 1;
}

export const inUnit = (one, unit) => secondsInUnit(shown(one, unit), unit);

// What is used, held, left and allowed, in texts that add up.
export function balanceTexts(balance) {
  const left = remaining(balance.left_ms);
  const held = taken(balance.held_ms);
  const used = taken(balance.used_ms);
  const allowance = exactly(balance.allowance_ms);
  const sum = (u) => shown(left, u) + shown(held, u) + shown(used, u);
  const addsUp = sum(1) === allowance.ms;
  const unit = unitFor([left, held, used, allowance], (u) => !addsUp || sum(u) === allowance.ms);
  return {
    left: inUnit(left, unit),
    held: inUnit(held, unit),
    used: inUnit(used, unit),
    allowance: inUnit(allowance, unit),
  };
}

const two = (number) => String(number).padStart(2, "0");

// "h:mm:ss", rounded up, so that it is 0:00:00 only when nothing remains.
export function countdown(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

// "12 s" below two minutes, "0:04:10 (h:mm:ss)" from there, "29 days" where hours say little.
export function span(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  if (s >= 4 * 86_400) return counted(Math.floor(s / 86_400), "day");
  return s < 120 ? `${s} s` : `${countdown(ms)} (h:mm:ss)`;
}

export const instant = (text) => (text ? Date.parse(text) : null);

// A moment that something is sure to have come by is rounded up to its second.
export const ceilSecond = (ms) => ceilTo(ms, 1000);

const months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

// "14:03:22", in the zone of this device.
export function timeOfDay(ms) {
  const date = new Date(ms);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export function shortTime(ms) {
  const date = new Date(ms);
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
}

// The time alone today, else the day with it: "23 Nov 14:03:22", "23 Nov 2025 14:03:22".
export function moment(ms, now) {
  const date = new Date(ms);
  const today = new Date(now);
  if (date.toDateString() === today.toDateString()) return timeOfDay(ms);
  const year = date.getFullYear() === today.getFullYear() ? "" : ` ${date.getFullYear()}`;
  return `${date.getDate()} ${months[date.getMonth()]}${year} ${timeOfDay(ms)}`;
}

// A day of the pool's books, which are kept in UTC: "Mon 23 Nov".
export function bookDay(ms) {
  const date = new Date(ms);
  const week = "Sun Mon Tue Wed Thu Fri Sat".split(" ")[date.getUTCDay()];
  return `${week} ${date.getUTCDate()} ${months[date.getUTCMonth()]}`;
}

// "UTC+1", "UTC-3:30", "UTC".
export function zoneName(offsetMinutes) {
  if (offsetMinutes === 0) return "UTC";
  const size = Math.abs(offsetMinutes);
  const rest = size % 60 === 0 ? "" : `:${two(size % 60)}`;
  return `UTC${offsetMinutes < 0 ? "-" : "+"}${Math.floor(size / 60)}${rest}`;
}

export function bytes(count) {
  if (count < 1024) return counted(count, "byte");
  const kib = count / 1024;
  return kib < 1024 ? `${kib.toFixed(1)} KiB` : `${(kib / 1024).toFixed(1)} MiB`;
}

// "1 job", "4 jobs", "12,345 records".
export const grouped = (number) => String(number).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
export const counted = (number, noun) => `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;

// A share of 1 as "87 %".
export const percent = (share) => `${Math.round(share * 100)} %`;

// "10", or "0.7" below one second: a value for the duration that is not above `ms`.
export function durationValue(ms) {
  return ms >= 1000 ? String(Math.floor(ms / 1000)) : (floorTo(ms, tenth) / 1000).toFixed(1);
}

// The smallest of 1, 2, 5, 10, 20, 50, ... that is not below `value`: the top of a scale.
export function niceCeiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 5, 10].find((one) => one * power >= value * (1 - 1e-9));
  return step * power;
}
