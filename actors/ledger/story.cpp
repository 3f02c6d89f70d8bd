#include "actors/ledger/story.h"

#include <utility>

#include "actors/describe.h"
#include "config/limits.h"

namespace gpupool {
namespace {

std::string in_brackets(const std::string& words) {
  return words.empty() ? "" : " (" + words + ")";
}

std::string promised(Instant promise) {
  return promise ? "; promised to start by " + utc_text_exact(promise) : "";
}

// "60.0 s x 2"
std::string product(Duration duration, std::uint32_t factor) {
  return text_of(duration) + " x " + std::to_string(factor);
}

std::string of_credits(GpuTime credits) {
  return credits == GpuTime{} ? "" : ", " + text_of(credits) + " of it credits";
}

std::string name_of(Outcome outcome) {
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
  return "ended";
}

std::string why(Errc cause, const std::string& detail) {
  if (cause == Errc{}) return in_brackets(detail);
  return " because of " + std::string(name_of(cause)) + in_brackets(detail);
}

std::string text_of(const Receipt& receipt, const Moment& moment) {
  const std::string attempt = "attempt " + std::to_string(moment.attempt);
  switch (moment.kind) {
    case MomentKind::admitted:
      return "admitted as job " + std::to_string(receipt.job.value) + " of " +
             receipt.account.text + " (tier " + receipt.tier + ", recognised by " + moment.words +
             "): " + receipt.app + " at size " + receipt.size + ", declared " +
             product(receipt.declared, receipt.factor) +
             (moment.amount == cost_of(receipt.declared, receipt.factor) ? " = " : ", at first ") +
             text_of(moment.amount) + " held" + of_credits(moment.credits) +
             "; this window has now " + text_of(moment.used) + " used and " + text_of(moment.held) +
             " held" + promised(moment.promise);
    case MomentKind::leased:
      return "leased to " + moment.words + " as " + attempt;
    case MomentKind::requeued:
      return attempt + " was lost" + why(moment.cause, moment.words) +
             "; it costs nothing, the job is queued again in its old place" +
             promised(moment.promise);
    case MomentKind::extended:
      return "extension " + std::to_string(moment.attempt) + ": " + text_of(moment.amount) +
             " more held" + of_credits(moment.credits) + ", " + text_of(moment.held) + " in all";
    case MomentKind::restated:
      return "promise restated" + in_brackets(moment.words) + promised(moment.promise);
  }
  return "";
}

std::string whose_credits(const Receipt& receipt) {
  const AccountId& group = receipt.credits_from;
  return group == AccountId{} ? "credits" : "the credits of " + group.text;
}

std::string settled_text(const Receipt& receipt) {
  return "settled as " + name_of(receipt.outcome) + why(receipt.cause, receipt.detail) +
         ": declared " + text_of(receipt.declared) + ", ran " +
         product(receipt.ran, receipt.factor) + ", held " + text_of(receipt.held) + ", charged " +
         text_of(receipt.charged) + ", " + text_of(receipt.given_back) + " given back; " +
         text_of(receipt.left) + " left" +
         (receipt.held_credits == GpuTime{}
              ? ""
              : "; of " + whose_credits(receipt) + " were held " + text_of(receipt.held_credits) +
                    " and charged " + text_of(receipt.charged_credits));
}

// want and have of a refusal, with their unit.
std::string numbers_of(const Refusal& refusal) {
  const std::string_view unit = unit_of(refusal.code);
  if (refusal.code == Errc::quota_exceeded)
    return ": " + seconds_text(refusal.want) + " requested, " + seconds_text(refusal.have) +
           " left";
  if (unit.empty()) return "";
  if (unit == "ms")
    return ": " + seconds_text(refusal.want) + " against a limit of " + seconds_text(refusal.have);
  return ": " + std::to_string(refusal.want) + " " + std::string(unit) + " against a limit of " +
         std::to_string(refusal.have);
}

std::string told_balance(const Balance& balance) {
  std::string text =
      "at that moment: tier " + balance.tier + ", allowance " + text_of(balance.allowance) + ", " +
      text_of(balance.used) + " used, " + text_of(balance.held) + " held, " +
      text_of(balance.left) + " left; " +
      (balance.credits == GpuTime{} ? ""
                                    : text_of(balance.credits) + " of credits, " +
                                          text_of(balance.credits_held) + " of them held; ") +
      (balance.group.account == AccountId{}
           ? ""
           : balance.group.account.text + " shared " + text_of(balance.group.credits) +
                 " of credits, " + text_of(balance.group.held) + " of them held; ") +
      std::to_string(balance.open_jobs) + " of " + std::to_string(balance.jobs_max) + " jobs open";
  if (balance.held_until)
    text += "; the earliest open hold is closed by " + utc_text_exact(balance.held_until);
  if (balance.resets_at) text += "; the window resets at " + utc_text_exact(balance.resets_at);
  return text;
}

std::string fits_text(const std::vector<Fit>& fits) {
  std::string text;
  for (const Fit& fit : fits)
    text += (text.empty() ? "" : ", ") + fit.size + " " +
            (fit.offered ? text_of(fit.longest) : "is not offered");
  return text;
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
  for (const Moment& moment : story) told.push_back({moment.at, text_of(receipt, moment)});
  if (receipt.outcome != Outcome{}) told.push_back({receipt.ended_at, settled_text(receipt)});
  return told;
}

std::vector<Happening> tell(const Refusal& refusal) {
  const Instant at = refusal.balance.at;
  std::vector<Happening> told;
  told.push_back({at, "asked by " + refusal.balance.account.text + " (recognised by " +
                          refusal.recognised_by + ") for " + refusal.app + " at size " +
                          refusal.size + ", " + product(refusal.declared, refusal.factor) + " = " +
                          text_of(refusal.cost)});
  told.push_back({at, "refused, " + std::string(name_of(refusal.code)) + numbers_of(refusal) +
                          in_brackets(refusal.detail) + "; nothing was charged"});
  told.push_back({at, told_balance(refusal.balance)});
  if (const std::string fits = fits_text(refusal.balance.fits); !fits.empty())
    told.push_back({at, "the longest that would have been admitted: " + fits});
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
