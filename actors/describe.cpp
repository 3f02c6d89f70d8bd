#include "actors/describe.h"

#include <algorithm>
#include <chrono>
#include <initializer_list>

namespace gpupool {
namespace {

constexpr std::int64_t tenth = 100;  // the coarsest unit shown, in ms

// Numbers from outside may be absurd; at these bounds they stay readable and cannot overflow.
constexpr std::int64_t shown_ms_max = 1'000'000'000'000'000;
constexpr std::int64_t last_ms_of_9999 = 253'402'300'799'999;

std::int64_t floor_to(std::int64_t ms, std::int64_t unit) {
  const std::int64_t rest = ms % unit;
  return ms - (rest < 0 ? rest + unit : rest);
}

std::int64_t ceil_to(std::int64_t ms, std::int64_t unit) { return -floor_to(-ms, unit); }

std::string padded(std::int64_t number, std::size_t width) {
  std::string digits = std::to_string(number);
  return digits.size() < width ? std::string(width - digits.size(), '0') + digits : digits;
}

// `ms` is a multiple of `unit`, which is 100, 10 or 1.
std::string seconds_in_unit(std::int64_t ms, std::int64_t unit) {
  const std::int64_t size = ms < 0 ? -ms : ms;
  const std::size_t decimals = unit == tenth ? 1 : unit == 10 ? 2 : 3;
  return (ms < 0 ? "-" : "") + std::to_string(size / 1000) + "." +
         padded(size % 1000 / unit, decimals) + " s";
}

// An amount on its way into a sentence, with the direction in which it may be rounded.
struct Amount {
  enum class Way : std::uint8_t { down, up, exact };
  std::int64_t ms = 0;
  Way way = Way::exact;

  std::int64_t shown(std::int64_t unit) const {
    const std::int64_t bounded = std::clamp(ms, -shown_ms_max, shown_ms_max);
    if (way == Way::exact) return bounded;
    return way == Way::up ? ceil_to(bounded, unit) : floor_to(bounded, unit);
  }
  std::string text(std::int64_t unit) const { return seconds_in_unit(shown(unit), unit); }
};

Amount taken(std::int64_t ms) { return {ms, Amount::Way::up}; }
Amount remaining(std::int64_t ms) { return {ms, Amount::Way::down}; }
Amount exactly(std::int64_t ms) { return {ms, Amount::Way::exact}; }

// Different amounts look different, nothing that is there looks like nothing, and exact ones are.
bool tells_apart(const std::initializer_list<Amount>& amounts, std::int64_t unit) {
  for (const Amount& one : amounts) {
    if (one.way == Amount::Way::exact && one.shown(unit) % unit != 0) return false;
    if (one.ms != 0 && one.shown(unit) == 0) return false;
    for (const Amount& other : amounts)
      if (one.ms != other.ms && one.shown(unit) == other.shown(unit)) return false;
  }
  return true;
}

// The coarsest unit at which the amounts of one sentence tell the truth: tenths, hundredths or
// milliseconds. Milliseconds are exact, so every sum that holds in fact holds there.
template <class SumsHold>
std::int64_t unit_for(std::initializer_list<Amount> amounts, SumsHold sums_hold) {
  for (const std::int64_t unit : {tenth, std::int64_t{10}})
    if (tells_apart(amounts, unit) && sums_hold(unit)) return unit;
  return 1;
}

std::int64_t exact_unit(std::int64_t ms) { return ms % tenth == 0 ? tenth : ms % 10 == 0 ? 10 : 1; }

// "4 jobs", "1 job", "7.5 s"; what is no count stands before its number: "signal 9", "line 12".
std::string amount_in(std::string_view unit, std::int64_t amount) {
  if (unit == "ms") return seconds_text(Duration{amount});
  const std::string number = std::to_string(amount);
  if (unit.back() != 's') return std::string(unit) + " " + number;
  return number + " " + std::string(amount == 1 ? unit.substr(0, unit.size() - 1) : unit);
}

// What a code means, for errors and refusals that carry no words of their own.
std::string meaning_of(Errc code) {
  switch (code) {
    case Errc::job_unknown:
      return "this account has no such job";
    case Errc::job_finished:
      return "the job is over";
    case Errc::result_gone:
      return "there is no result";
    case Errc::outcome_unknown:
      return "it is not known whether the pool took the request; asking again with the same "
             "request "
             "id is safe";
    case Errc::not_connected:
      return "no pool can be reached";
    case Errc::timed_out:
      return "no answer came in time";
    case Errc::token_expired:
      return "the token has expired";
    case Errc::token_not_yet_valid:
      return "the token is not valid yet";
    case Errc::token_signature:
      return "the token is not signed by a key of this pool";
    case Errc::token_audience:
      return "the token was made for another pool";
    case Errc::version_mismatch:
      return "client and pool speak different versions";
    case Errc::executor_crashed:
      return "the executor crashed";
    case Errc::executor_stalled:
      return "the executor made no step";
    case Errc::start_limit_missed:
      return "the job did not start within its start limit";
    case Errc::node_lost:
      return "the node was lost";
    case Errc::device_failed:
      return "the device failed";
    case Errc::program_failed:
      return "the program failed";
    default:
      break;
  }
  std::string words(name_of(code));
  std::replace(words.begin(), words.end(), '_', ' ');
  return words;
}

// These come with a detail that is the whole sentence, numbers and all.
bool speaks_for_itself(const Error& error) {
  return !error.detail.empty() &&
         (error.code == Errc::not_connected || error.code == Errc::config_invalid ||
          error.code == Errc::journal_locked || error.code == Errc::rate_limited);
}

}  // namespace

std::string seconds_text(Duration amount) {
  const std::int64_t ms = exactly(amount.ms).shown(1);
  return seconds_in_unit(ms, exact_unit(ms));
}

std::string seconds_text(GpuTime amount) { return seconds_text(Duration{amount.ms}); }

std::string seconds_text(Duration amount, Rounding rounding) {
  return (rounding == Rounding::up ? taken(amount.ms) : remaining(amount.ms)).text(tenth);
}

std::string countdown_text(Duration remaining_time) {
  const std::int64_t s = taken(std::max<std::int64_t>(0, remaining_time.ms)).shown(1000) / 1000;
  return std::to_string(s / 3600) + ":" + padded(s / 60 % 60, 2) + ":" + padded(s % 60, 2);
}

std::string utc_text(Instant moment, Rounding rounding) {
  if (moment.ms < 0 || moment.ms > last_ms_of_9999) return "never";
  const std::int64_t ms =
      rounding == Rounding::up ? ceil_to(moment.ms, 1000) : floor_to(moment.ms, 1000);
  const std::chrono::sys_seconds second{std::chrono::seconds{ms / 1000}};
  const auto day = std::chrono::floor<std::chrono::days>(second);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss time{second - day};
  return padded(int{date.year()}, 4) + "-" + padded(unsigned{date.month()}, 2) + "-" +
         padded(unsigned{date.day()}, 2) + "T" + padded(time.hours().count(), 2) + ":" +
         padded(time.minutes().count(), 2) + ":" + padded(time.seconds().count(), 2) + "Z";
}

std::string utc_text_exact(Instant moment) {
  std::string text = utc_text(moment);
  if (text.back() == 'Z') text.replace(text.size() - 1, 1, "." + padded(moment.ms % 1000, 3) + "Z");
  return text;
}

std::string_view word_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::succeeded:
      return "succeeded";
    case Outcome::failed:
      return "failed";
    case Outcome::expired:
      return "expired";
    case Outcome::cancelled:
      return "cancelled";
  }
  return "unknown";
}

std::string_view word_of(JobState state) {
  switch (state) {
    case JobState::queued:
      return "queued";
    case JobState::starting:
      return "starting";
    case JobState::running:
      return "running";
    case JobState::ended:
      return "ended";
  }
  return "unknown";
}

std::string_view word_of(SlotState state) {
  switch (state) {
    case SlotState::free:
      return "free";
    case SlotState::starting:
      return "starting";
    case SlotState::running:
      return "running";
    case SlotState::checking:
      return "checking";
    case SlotState::down:
      return "down";
    case SlotState::held:
      return "held";
  }
  return "unknown";
}

std::string_view word_of(NodeState state) {
  switch (state) {
    case NodeState::healthy:
      return "healthy";
    case NodeState::draining:
      return "draining";
    case NodeState::lost:
      return "lost";
    case NodeState::suspected:
      return "suspected";
  }
  return "unknown";
}

std::string_view word_of(ChangeKind kind) {
  switch (kind) {
    case ChangeKind::tier:
      return "tier";
    case ChangeKind::app:
      return "app";
    case ChangeKind::account:
      return "account";
    case ChangeKind::node:
      return "node";
    case ChangeKind::token:
      return "token";
    case ChangeKind::announcement:
      return "announcement";
    case ChangeKind::window:
      return "window";
    case ChangeKind::size:
      return "size";
    case ChangeKind::rate:
      return "rate";
    case ChangeKind::group:
      return "group";
    case ChangeKind::reservation:
      return "reservation";
    case ChangeKind::identity:
      return "identity";
  }
  return "unknown";
}

std::string duration_argument(Duration longest) {
  if (longest >= seconds(1)) return std::to_string(longest.ms / 1000);
  const std::string text = seconds_text(longest, Rounding::down);
  return text.substr(0, text.find(' '));
}

BalanceTexts texts_of(const Balance& balance) {
  const Amount left = remaining(balance.left.ms);
  const Amount held = taken(balance.held.ms);
  const Amount used = taken(balance.used.ms);
  const Amount allowance = exactly(balance.allowance.ms);
  // A tier that shrank below what was used already leaves nothing; then there is no sum to keep.
  const bool adds_up = left.ms + held.ms + used.ms == allowance.ms;
  const std::int64_t unit = unit_for({left, held, used, allowance}, [&](std::int64_t u) {
    return !adds_up || left.shown(u) + held.shown(u) + used.shown(u) == allowance.shown(u);
  });
  return {.left = left.text(unit),
          .held = held.text(unit),
          .used = used.text(unit),
          .allowance = allowance.text(unit)};
}

std::string balance_text(const Balance& balance) {
  const BalanceTexts texts = texts_of(balance);
  return texts.left + " left, " + texts.held + " held and " + texts.used + " used of " +
         texts.allowance;
}

namespace {

std::string credits_with(GpuTime all, GpuTime held_of_them, const std::string& words) {
  const Amount credits = remaining(all.ms);
  const Amount held = taken(held_of_them.ms);
  const std::int64_t unit = unit_for({credits, held}, [](std::int64_t) { return true; });
  const std::string text = credits.text(unit) + words;
  return held.ms == 0 ? text : text + ", " + held.text(unit) + " of them held";
}

}  // namespace

std::string group_name(const AccountId& account) {
  return account.text.substr(account.text.find(':') + 1);
}

std::string credits_text(const Balance& balance) {
  std::string text;
  if (balance.credits != GpuTime{} || balance.credits_held != GpuTime{})
    text = credits_with(balance.credits, balance.credits_held, " of credits");
  const GroupCredits& group = balance.group;
  if (group.account == AccountId{}) return text;
  text += (text.empty() ? "" : "; ") +
          credits_with(group.credits, group.held,
                       " of credits shared by group " + group_name(group.account));
  if (group.until != Instant::never()) text += ", until " + utc_text(group.until);
  return text;
}

std::string credits_words(const Receipt& receipt) {
  if (receipt.credits_from == AccountId{}) return "credits";
  return "the credits of group " + group_name(receipt.credits_from);
}

std::string advice_text(const Advice& advice) {
  if (advice.app.empty() || advice.fits == 0) return "";
  const bool is_automatic = advice.first_held > Duration{};
  if (!is_automatic && advice.declare == Duration{}) return "";
  const std::string runs = std::to_string(advice.runs);
  std::string text = advice.own
                         ? "your last " + runs + " runs of " + advice.app + " took "
                         : "of the last " + runs + " runs of " + advice.app + " 99 in 100 took ";
  text += seconds_text(advice.longest, Rounding::up) + " at most: ";
  text += is_automatic ? "it holds " + seconds_text(advice.first_held) + " at first"
                       : "declare " + duration_argument(advice.declare) + " s";
  const std::string many = std::to_string(advice.fits);
  return text + " and " + many + (advice.fits == 1 ? " more fits" : " more fit");
}

std::string arithmetic_of(const Receipt& receipt) {
  const Amount declared = exactly(receipt.declared.ms);
  const Amount held = exactly(receipt.held.ms);
  const Amount ran = taken(receipt.ran.ms);
  const Amount charged = taken(receipt.charged.ms);
  const Amount back = remaining(receipt.given_back.ms);
  const Amount held_credits = taken(receipt.held_credits.ms);
  const Amount charged_credits = taken(receipt.charged_credits.ms);
  // The charge is no product when it was cut at the hold, or is 0 for the pool's fault.
  const auto factor = static_cast<std::int64_t>(receipt.factor);
  const auto product = [&](std::int64_t unit) {
    std::int64_t made = 0;
    return !__builtin_mul_overflow(ran.shown(unit), factor, &made) && made == charged.shown(unit);
  };
  const bool is_product = product(1);
  const std::int64_t unit = unit_for({declared, held, ran, charged, back}, [&](std::int64_t u) {
    return charged.shown(u) + back.shown(u) == held.shown(u) && (!is_product || product(u));
  });
  return "declared " + declared.text(unit) + ", ran " + ran.text(unit) + " x " +
         std::to_string(receipt.factor) + ", held " + held.text(unit) + ", charged " +
         charged.text(unit) + ", " + back.text(unit) + " given back" +
         (receipt.held_credits == GpuTime{}
              ? ""
              : "; of " + credits_words(receipt) + " were held " + held_credits.text(unit) +
                    " and charged " + charged_credits.text(unit));
}

std::string describe(const Error& error) {
  const std::string_view unit = unit_of(error.code);
  if (speaks_for_itself(error)) return error.detail;
  std::string text = meaning_of(error.code);
  if (!error.detail.empty()) text += ": " + error.detail;
  if (unit.empty() || error.code == Errc::config_invalid || (error.want == 0 && error.have == 0))
    return text;  // a configuration's detail has its line already
  if (error.have == 0) return text + " (" + amount_in(unit, error.want) + ")";
  if (error.want == 0) return text + " (" + amount_in(unit, error.have) + ")";
  return text + " (" + amount_in(unit, error.want) + " against " + amount_in(unit, error.have) +
         ")";
}

}  // namespace gpupool
