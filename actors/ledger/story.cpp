#include "actors/ledger/story.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "actors/describe.h"
#include "config/limits.h"

namespace gpupool {
namespace {

std::string in_brackets(const std::string& words) {
  return words.empty() ? "" : " (" + words + ")";
}

// With how much later that is than what was promised before, if anything was.
std::string promised(Instant promise, Instant before = {}) {
  if (!promise) return "";
  std::string text = "; promised to start by " + utc_text_exact(promise);
  if (before && promise > before) text += ", " + text_of(promise - before) + " later than before";
  return text;
}

// "60.0 s x 2"
std::string product(Duration duration, std::uint32_t factor) {
  return text_of(duration) + " x " + std::to_string(factor);
}

std::string of_credits(GpuTime credits) {
  return credits == GpuTime{} ? "" : ", " + text_of(credits) + " of it credits";
}

std::string why(Errc cause, const std::string& detail) {
  if (cause == Errc{}) return in_brackets(detail);
  return " because of " + std::string(name_of(cause)) + in_brackets(detail);
}

std::string admitted_text(const Receipt& receipt, const Moment& moment) {
  const bool is_all = moment.amount == cost_of(receipt.declared, receipt.factor);
  std::string text = "admitted as job " + std::to_string(receipt.job.value) + " of " +
                     receipt.account.text + " (tier " + receipt.tier + ", recognised by " +
                     moment.words + "): " + receipt.app + " at size " + receipt.size +
                     ", declared " + product(receipt.declared, receipt.factor) +
                     (is_all ? " = " : ", at first ") + text_of(moment.amount) + " held" +
                     of_credits(moment.credits);
  const std::string by = text_of(moment.declared_by, receipt.app);
  if (moment.declared_by == DeclaredBy::learned)
    text += "; " + by + " holds what such runs took so far (default_duration_s until that is " +
            "known), and more step by step while it runs";
  else if (!by.empty())
    text += "; declared by " + by;
  return text + "; this window has now " + text_of(moment.used) + " used and " +
         text_of(moment.held) + " held" + promised(moment.promise);
}

// `promise`: what was promised before this.
std::string text_of(const Receipt& receipt, const Moment& moment, Instant promise) {
  const std::string attempt = "attempt " + std::to_string(moment.attempt);
  switch (moment.kind) {
    case MomentKind::admitted:
      return admitted_text(receipt, moment);
    case MomentKind::leased:
      return "leased to " + moment.words + " as " + attempt + ", " +
             text_of(moment.at - receipt.admitted_at) + " after its admission";
    case MomentKind::requeued:
      return attempt + " was lost" + why(moment.cause, moment.words) +
             ", by the pool's fault: it costs nothing, the job is queued again in its old place" +
             promised(moment.promise, promise);
    case MomentKind::extended:
      return "extension " + std::to_string(moment.attempt) + ": " + text_of(moment.amount) +
             " more held" + of_credits(moment.credits) + ", " + text_of(moment.held) + " in all";
    case MomentKind::restated:
      return "promise restated" + in_brackets(moment.words) + promised(moment.promise, promise);
  }
  return "";
}

// A settle comes after the end of its run, so its run had begun by then, if not earlier. Nothing:
// none had.
std::optional<Happening> began(const Receipt& receipt) {
  if (receipt.ran <= Duration{} || !receipt.leased_at) return std::nullopt;
  const Instant at = std::max(receipt.leased_at, receipt.ended_at - receipt.ran);
  return Happening{at, "its run had begun; what came before costs nothing: " +
                           text_of(receipt.leased_at - receipt.admitted_at) +
                           " until its lease, at most " + text_of(at - receipt.leased_at) +
                           " to start"};
}

// How it ended and by whom.
std::string ended_text(const Receipt& receipt, DeclaredBy by) {
  switch (receipt.outcome) {
    case Outcome::cancelled:
      if (receipt.detail.starts_with("cancelled by ")) return receipt.detail;
      if (receipt.detail.empty()) return "cancelled by " + receipt.account.text;
      break;
    case Outcome::expired:
      if (receipt.cause == Errc{})
        return "expired: stopped at its declared end of " + text_of(receipt.declared) +
               in_brackets(text_of(by, receipt.app));
      break;
    case Outcome::succeeded:
    case Outcome::failed:
      break;
  }
  return std::string(word_of(receipt.outcome)) + why(receipt.cause, receipt.detail);
}

// What it costs, and by which rule.
std::string charge_text(const Receipt& receipt) {
  if (std::string nothing = uncharged_text(receipt); !nothing.empty()) return nothing;
  const Setting factor{"sizes", receipt.size, "factor"};
  const GpuTime used = cost_of(receipt.ran, receipt.factor);
  if (used == receipt.charged)
    return "charged = ran x " + factor.text() + " = " + product(receipt.ran, receipt.factor) +
           " = " + text_of(receipt.charged);
  return "ran x " + factor.text() + " = " + product(receipt.ran, receipt.factor) + " = " +
         text_of(used) + ", charged " + text_of(receipt.charged) + ", no more than was held";
}

std::string settled_text(const Receipt& receipt, DeclaredBy by) {
  return "settled as " + ended_text(receipt, by) + ": declared " + text_of(receipt.declared) +
         ", held " + text_of(receipt.held) + "; " + charge_text(receipt) + ", " +
         text_of(receipt.given_back) + " given back; " + text_of(receipt.left) + " left" +
         (receipt.held_credits == GpuTime{}
              ? ""
              : "; of " + credits_words(receipt) + " were held " + text_of(receipt.held_credits) +
                    " and charged " + text_of(receipt.charged_credits));
}

// The amounts of an account that was over its quota stand in the refusal's sentence.
std::string amounts_of(const Balance& balance) {
  return ", allowance " + text_of(balance.allowance) + ", " + text_of(balance.used) + " used, " +
         text_of(balance.held) + " held, " + text_of(balance.left) + " left" +
         (balance.credits == GpuTime{} ? ""
                                       : "; " + text_of(balance.credits) + " of credits, " +
                                             text_of(balance.credits_held) + " of them held") +
         (balance.group.account == AccountId{}
              ? ""
              : "; " + balance.group.account.text + " shared " + text_of(balance.group.credits) +
                    " of credits, " + text_of(balance.group.held) + " of them held");
}

std::string told_balance(const Refusal& refusal) {
  const Balance& balance = refusal.balance;
  std::string text = "at that moment: tier " + balance.tier +
                     (refusal.code == Errc::quota_exceeded ? "" : amounts_of(balance)) + "; " +
                     std::to_string(balance.open_jobs) + " of " + std::to_string(balance.jobs_max) +
                     " jobs open";
  if (balance.held_until)
    text += "; the earliest open hold is closed by " + utc_text_exact(balance.held_until);
  if (balance.resets_at) text += "; the window resets at " + utc_text_exact(balance.resets_at);
  return text;
}

// Where less would have been admitted; where as many jobs as may be are open, nothing would.
std::string fits_text(const Refusal& refusal) {
  std::string text;
  if (refusal.code != Errc::quota_exceeded && refusal.code != Errc::illegal_duration &&
      refusal.code != Errc::size_unavailable)
    return text;
  for (const Fit& fit : refusal.balance.fits)
    text += (text.empty() ? "the longest that would have been admitted: " : ", ") + fit.size + " " +
            (fit.offered ? text_of(fit.longest) : "is not offered");
  return text;
}

// One without a time was refused before there was any to count with.
std::string asked_text(const Refusal& refusal) {
  const std::string text = "asked by " + refusal.balance.account.text + " (recognised by " +
                           refusal.recognised_by + ") for " + refusal.app + " at size " +
                           refusal.size;
  if (refusal.declared <= Duration{}) return text;
  if (refusal.first_held > Duration{})
    return text + ", up to " + text_of(refusal.declared) + ", of it at first " +
           product(refusal.first_held, refusal.factor) + " = " + text_of(refusal.cost);
  return text + ", " + product(refusal.declared, refusal.factor) + " = " + text_of(refusal.cost);
}

}  // namespace

std::string clipped(const std::string& words) {
  constexpr std::size_t most = limits::detail_bytes_max;
  if (words.size() <= most) return words;
  std::size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(words[end]) & 0xC0U) == 0x80U) --end;
  return words.substr(0, end);
}

std::vector<Moment> remember(std::vector<Moment> story, Moment moment) {
  if (std::cmp_greater_equal(story.size(), limits::job_moments_max)) story.erase(story.begin() + 1);
  story.push_back(std::move(moment));
  return story;
}

std::vector<Happening> tell(const Receipt& receipt, const std::vector<Moment>& story) {
  std::vector<Happening> told;
  Instant promise{};
  for (const Moment& moment : story) {
    told.push_back({moment.at, text_of(receipt, moment, promise)});
    if (moment.promise) promise = moment.promise;
  }
  if (receipt.outcome == Outcome{}) return told;
  if (auto run = began(receipt)) {
    const auto later = std::find_if(told.begin(), told.end(),
                                    [&run](const Happening& one) { return one.at > run->at; });
    told.insert(later, *std::move(run));
  }
  const DeclaredBy by = story.empty() ? DeclaredBy::unknown : story.front().declared_by;
  told.push_back({receipt.ended_at, settled_text(receipt, by)});
  return told;
}

std::vector<Happening> tell(const Refusal& refusal) {
  const Instant at = refusal.balance.at;
  std::vector<Happening> told;
  const auto tell_of = [&told, at](const std::string& what, const std::string& words) {
    if (!words.empty()) told.push_back({at, what + words});
  };
  tell_of("", asked_text(refusal));
  tell_of("refused, ", std::string(name_of(refusal.code)) + ": " + sentence_of(refusal) +
                           "; nothing was held or charged");
  tell_of("the rule: ", rule_of(refusal));
  tell_of("", told_balance(refusal));
  tell_of("", fits_text(refusal));
  tell_of("the hint: ", hint_of(refusal));
  return told;
}

std::string seconds_text(std::int64_t ms) {
  const std::uint64_t size =
      ms < 0 ? 0 - static_cast<std::uint64_t>(ms) : static_cast<std::uint64_t>(ms);
  std::string decimals = std::to_string(1000 + size % 1000).substr(1);
  while (decimals.size() > 1 && decimals.back() == '0') decimals.pop_back();
  return (ms < 0 ? "-" : "") + std::to_string(size / 1000) + "." + decimals + " s";
}

}  // namespace gpupool
