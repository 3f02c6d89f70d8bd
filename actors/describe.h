#pragma once
// Text for people, made once: amounts, times, and one plain sentence for every refusal, error and
// receipt, with all the numbers behind it. Pure functions; the same text feeds every edge. Rounding
// never lies: what is taken (used, held, charged, ran) is rounded up and what is left or given back
// is rounded down, with as few decimals (1 to 3) as keep different numbers different and sums true;
// what the user asked for and what the configuration says is exact; countdowns are rounded up.

#include <string>
#include <string_view>

#include "actors/messages.h"

namespace gpupool {

// Exact, with one decimal at least: "60.0 s", "7.25 s", "0.004 s".
std::string seconds_text(Duration amount);
std::string seconds_text(GpuTime amount);

enum class Rounding : std::uint8_t { down = 1, up = 2 };

// One decimal: "23.4 s".
std::string seconds_text(Duration amount, Rounding rounding);

// "h:mm:ss", rounded up, so that it is 0:00:00 only when nothing remains.
std::string countdown_text(Duration remaining);

// "2026-11-23T18:02:10Z". A moment that something is sure to have come by is rounded up.
std::string utc_text(Instant moment, Rounding rounding = Rounding::down);
// "2026-11-23T18:02:10.123Z", for programs.
std::string utc_text_exact(Instant moment);

// "succeeded", "failed", "expired", "cancelled"; "queued", "starting", "running", "ended"; "tier",
// "app", "account", "node", "token", "announcement", "window".
std::string_view word_of(Outcome outcome);
std::string_view word_of(JobState state);
std::string_view word_of(ChangeKind kind);
// As tables call them: "free", "down"; "healthy", "lost".
std::string_view word_of(SlotState state);
std::string_view word_of(NodeState state);

// A value for --duration that is not above `longest`: "10", or "0.7" below one second.
std::string duration_argument(Duration longest);

// A balance's amounts, rounded together so that they add up.
struct BalanceTexts {
  std::string left;
  std::string held;
  std::string used;
  std::string allowance;
};
BalanceTexts texts_of(const Balance& balance);

// "10.0 s left, 60.0 s held and 0.0 s used of 70.0 s".
std::string balance_text(const Balance& balance);

// "600.0 s of credits, 60.0 s of them held", and those that a group shares; empty: there are none.
std::string credits_text(const Balance& balance);
// "workshop" of "group:workshop".
std::string group_name(const AccountId& account);
// Whose credits a job was charged to: "credits", or "the credits of group workshop".
std::string credits_words(const Receipt& receipt);

// "your last 20 runs of emoji took 7.9 s at most: declare 10 s and 6 more fit"; empty: there is
// nothing to advise.
std::string advice_text(const Advice& advice);

// "declared 60.0 s, ran 3.3 s x 1, held 60.0 s, charged 3.3 s, 56.7 s given back", and what of it
// were credits, if any.
std::string arithmetic_of(const Receipt& receipt);

// One sentence, lower-case and without a full stop, so that it can follow "refused: ".
std::string describe(const Error& error);

// Why, and what would be admitted. Empty: there is no hint.
std::string sentence_of(const Refusal& refusal);
std::string hint_of(const Refusal& refusal);

}  // namespace gpupool
