#pragma once
// One account's numbers, as the pool would answer them: what the tests of views and JSON show.

#include "actors/messages.h"

namespace gpupool::samples {

inline constexpr Instant noon{1'795'348'800'000};  // 2026-11-22T12:00:00Z

inline Caller ada() {
  return {.account = {"user:ada"}, .tier = "free", .recognised_by = "token for ada, key k1"};
}

inline Balance balance() {
  return {.account = {"user:ada"},
          .tier = "free",
          .allowance = {210'000},
          .used = {3'217},
          .held = {60'000},
          .left = {146'783},
          .longest = {180'000},
          .window_opened = noon,
          .resets_at = noon + hours(24),
          .held_until = noon + seconds(97),
          .open_jobs = 1,
          .jobs_max = 4,
          .fits = {{.size = "large", .factor = 1, .longest = {146'783}},
                   {.size = "xlarge", .factor = 2, .longest = {}, .offered = false}},
          .at = noon + seconds(11)};
}

inline JobDone done() {
  JobDone ended;
  ended.receipt = {.job = {17},
                   .request = {0x0190a6c12f3a7b10U, 0x8c4d5e6f70819293U},
                   .account = {"user:ada"},
                   .tier = "free",
                   .app = "emoji",
                   .size = "large",
                   .factor = 1,
                   .declared = seconds(60),
                   .admitted_at = noon,
                   .promise = noon + seconds(5),
                   .leased_at = noon + milliseconds(40),
                   .ended_at = noon + seconds(4),
                   .ran = {3'217},
                   .held = {60'000},
                   .charged = {3'217},
                   .given_back = {56'783},
                   .left = {206'783},
                   .outcome = Outcome::succeeded,
                   .attempts = 1,
                   .node = "node-1",
                   .result = {"c0ffee", 3'412, "image/png", NodeId{42}}};
  ended.balance = balance();
  ended.balance.held = {};
  ended.balance.held_until = {};
  ended.balance.left = {206'783};
  return ended;
}

inline QuoteAnswer quote() {
  return {.caller = ada(),
          .app = "emoji",
          .size = "large",
          .factor = 1,
          .declared = seconds(60),
          .cost = {60'000},
          .first_held = seconds(60),
          .left = {86'783},
          .likely_start = noon + seconds(23),
          .likely_latest = noon + seconds(42),
          .promise = noon + seconds(205),
          .ahead = 2,
          .balance = balance()};
}

// Of an account whose last runs were short.
inline Advice advice() {
  return {.app = "emoji",
          .runs = 20,
          .own = true,
          .longest = milliseconds(7'900),
          .declare = seconds(10),
          .fits = 14};
}

inline JobEvent queued() {
  JobEvent event{.job = {18},
                 .state = JobState::queued,
                 .position = 2,
                 .likely_start = noon + milliseconds(40'500),
                 .promise = noon + seconds(194),
                 .at = noon};
  event.hold = Hold{.body = JobRequest{.app = "emoji", .size = "large"},
                    .declared = seconds(60),
                    .quota_part = {60'000}};
  return event;
}

inline JobEvent running() {
  JobEvent event = queued();
  event.state = JobState::running;
  event.attempt = 1;
  event.step = 12;
  event.of_steps = 30;
  event.node = "node-1";
  return event;
}

}  // namespace gpupool::samples
