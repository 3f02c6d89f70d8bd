#include "cli/views.h"

#include <algorithm>

#include "actors/describe.h"
#include "actors/request_id.h"
#include "actors/rules.h"

namespace gpupool {
namespace {

constexpr std::size_t margin = 2;
constexpr std::size_t bar_cells_max = 60;
constexpr std::string_view full_block = "\xe2\x96\x88";
constexpr std::string_view half_block = "\xe2\x96\x92";
constexpr std::string_view light_block = "\xe2\x96\x91";

std::string dot(const Style& style) { return style.unicode ? " \xc2\xb7 " : ", "; }

std::size_t bar_cells(const Style& style, std::size_t beside) {
  const auto columns = static_cast<std::size_t>(style.columns);
  return std::min(bar_cells_max, columns > beside + 10 ? columns - beside : 10);
}

// A line of its own, indented and wrapped.
std::string paragraph(const Style& style, std::string_view text, std::size_t indent) {
  return std::string(indent, ' ') + wrapped(style, printable(text), indent) + "\n";
}

std::string quota_bar(const Style& style, const Balance& balance) {
  const Stretch used{balance.used.ms, Colour::red, full_block, '#'};
  const Stretch held{balance.held.ms, Colour::yellow, half_block, '='};
  const Stretch left{balance.left.ms, Colour::green, light_block, '.'};
  const BalanceTexts texts = texts_of(balance);
  const std::string line = bar(style, {used, held, left}, bar_cells(style, 2 * margin));
  const auto part = [&](const Stretch& stretch, const std::string& words) {
    return coloured(style, stretch.colour, glyph_of(style, stretch)) + " " + words;
  };
  return "  " + line + "\n  " + part(used, texts.used + " used") + "   " +
         part(held, texts.held + " held") + "   " + part(left, texts.left + " left") + "   of " +
         texts.allowance + "\n";
}

// What is there beyond every window's quota; nothing if there is none.
std::string credits_bar(const Style& style, const Balance& balance) {
  const std::string words = credits_text(balance);
  const std::string text = paragraph(style, "beyond the quota: " + words, margin) + "\n";
  if (words.empty()) return "";
  if (balance.credits == GpuTime{}) return text;
  const Stretch held{balance.credits_held.ms, Colour::yellow, half_block, '='};
  const Stretch free{(balance.credits - balance.credits_held).ms, Colour::green, light_block, '.'};
  return "  " + bar(style, {held, free}, bar_cells(style, 2 * margin)) + "\n" + text;
}

std::string window_text(const Balance& balance) {
  if (!balance.resets_at) return "no window is open; it opens with your next job";
  return "the window resets in " + countdown_text(balance.resets_at - balance.at) +
         " (h:mm:ss), at " + utc_text(balance.resets_at, Rounding::up);
}

std::string jobs_text(const Balance& balance) {
  std::string text = std::to_string(balance.open_jobs) + " of at most " +
                     std::to_string(balance.jobs_max) + " jobs admitted";
  if (balance.held_until)
    text += (balance.open_jobs > 1 ? "; the first hold ends by " : "; held until ") +
            utc_text(balance.held_until, Rounding::up) + " at the latest (in " +
            countdown_text(balance.held_until - balance.at) +
            "): what it declared, and the longest that its start and end may take";
  return text;
}

std::string fit_text(const Balance& balance, const Fit& fit) {
  if (!fit.offered) return "not offered by this pool";
  if (balance.open_jobs >= balance.jobs_max)
    return "nothing now: as many jobs as may be are admitted";
  const std::string longest = seconds_text(fit.longest, Rounding::down);
  if (longest == "0.0 s") return "nothing now";
  return "up to " + longest;
}

std::string fits_text(const Style& style, const Balance& balance) {
  std::size_t widest = 0;
  for (const Fit& fit : balance.fits) widest = std::max(widest, width_of(fit.size));
  std::string text = "  " + coloured(style, Colour::bold, "what fits now") + "\n";
  for (const Fit& fit : balance.fits)
    text += "    " + padded_right(printable(fit.size), widest) + "  factor " +
            std::to_string(fit.factor) + "  " + fit_text(balance, fit) + "\n";
  return text;
}

// What past runs say about the next; nothing if that is nothing.
std::string advice_lines(const Style& style, const Balance& balance) {
  const std::string advice = advice_text(balance.advice);
  return advice.empty() ? "" : "\n" + paragraph(style, advice, margin);
}

Colour colour_of(Outcome outcome) {
  return outcome == Outcome::succeeded   ? Colour::green
         : outcome == Outcome::cancelled ? Colour::yellow
                                         : Colour::red;
}

// Why a job ended as it did, and why it costs nothing; empty when there is nothing to say.
std::string cause_text(const Receipt& receipt) {
  std::string text = receipt.detail;
  if (receipt.cause != Errc{})
    text = describe(Error{.code = receipt.cause, .detail = receipt.detail});
  else if (receipt.outcome == Outcome::expired)
    text = "stopped at its declared end of " + seconds_text(receipt.declared);
  const auto also = [&text](const std::string& words) {
    if (!words.empty()) text += (text.empty() ? "" : "; ") + words;
  };
  const std::string nothing = uncharged_text(receipt);
  also(nothing);
  if (receipt.attempts > 1)
    also(std::to_string(receipt.attempts) + " attempts" +
         (nothing.empty() ? ", the lost ones at the pool's cost" : ""));
  return text;
}

// As arithmetic_of(), to the millisecond: beside a column and above a sum that are exact.
std::string exact_arithmetic_of(const Receipt& receipt) {
  std::string text =
      "declared " + seconds_text(receipt.declared) + ", ran " + seconds_text(receipt.ran) + " x " +
      std::to_string(receipt.factor) + ", held " + seconds_text(receipt.held) + ", charged " +
      seconds_text(receipt.charged) + ", " + seconds_text(receipt.given_back) + " given back";
  if (receipt.held_credits != GpuTime{})
    text += "; of " + credits_words(receipt) + " were held " + seconds_text(receipt.held_credits) +
            " and charged " + seconds_text(receipt.charged_credits);
  return text;
}

// From its admission to the lease of the run that counts, or to its end if it never had one.
std::string waited_text(const Receipt& receipt) {
  const Instant until = receipt.leased_at ? receipt.leased_at : receipt.ended_at;
  const Duration waited = std::max(Duration{}, until - receipt.admitted_at);
  return "waited " + seconds_text(waited, Rounding::up) +
         (receipt.leased_at ? "" : " and never started");
}

std::string receipt_row(const Style& style, const Receipt& receipt) {
  const std::string outcome(word_of(receipt.outcome));
  std::string row = padded_left(std::to_string(receipt.job.value), 6) + "  " +
                    utc_text(receipt.ended_at) + "  " +
                    padded_right(shortened(style, printable(receipt.app), 12), 12) + "  " +
                    padded_right(shortened(style, printable(receipt.size), 8), 8) + "  " +
                    coloured(style, colour_of(receipt.outcome), padded_right(outcome, 9)) + "  " +
                    padded_left(seconds_text(receipt.charged), 11) + "\n";
  row += paragraph(style, exact_arithmetic_of(receipt) + "; " + waited_text(receipt), 8);
  if (const std::string cause = cause_text(receipt); !cause.empty())
    row += paragraph(style, cause, 8);
  return row;
}

// Of one with duration = "auto", whose hold grows.
std::string held_text(const Hold& hold) {
  return hold.learned > Duration{} ? "; so much is held at first, and more while it runs" : "";
}

// What the ledger has refused can be explained; what never came to it cannot.
bool is_remembered(const Refusal& refusal) {
  return refusal.request != RequestId{} && refusal.code != Errc::bad_request &&
         refusal.code != Errc::unauthenticated;
}

struct LikelyStart {
  Instant likely{};
  Instant latest{};
};

// "0:00:12 to 0:00:31".
std::string range_text(const LikelyStart& start, Instant now) {
  const std::string likely = countdown_text(std::max(start.likely - now, Duration{}));
  if (start.latest <= start.likely || start.latest == Instant::never()) return likely;
  const std::string latest = countdown_text(start.latest - now);
  return latest == likely ? likely : likely + " to " + latest;
}

// ", likely start in 0:00:12 to 0:00:31"; empty: it is not foreseen.
std::string likely_text(const LikelyStart& start, Instant now) {
  if (!start.likely || start.likely == Instant::never()) return "";
  if (start.likely <= now && start.latest <= now) return ", likely to start now";
  return ", likely start in " + range_text(start, now);
}

std::string where_text(const JobEvent& event) {
  std::string text;
  switch (event.state) {
    case JobState::queued:
      text = event.position > 0 ? "position " + std::to_string(event.position) : "waiting";
      text += likely_text({event.likely_start, event.likely_latest}, event.at);
      if (event.promise) text += ", promised by " + utc_text(event.promise, Rounding::up);
      break;
    case JobState::starting:
      text = "getting ready";  // a model is loaded, or a sandbox made
      break;
    case JobState::running:
      text = event.of_steps > 0
                 ? "step " + std::to_string(event.step) + " of " + std::to_string(event.of_steps)
                 : "under way";
      break;
    case JobState::ended:
      text = "the receipt is being written";
      break;
  }
  if (!event.node.empty()) text += " on " + event.node;
  if (event.held_until)
    text +=
        ", held until " + utc_text(event.held_until, Rounding::up).substr(11, 8) + " UTC so far";
  if (!event.notice.empty()) text += "; " + event.notice;
  return text;
}

}  // namespace

std::string caller_text(const Caller& caller) {
  return caller.account.text + " (tier " + caller.tier + "), recognised by " +
         caller.recognised_by + (caller.is_operator ? ", operator" : "");
}

std::string quota_view(const Style& style, const QuotaAnswer& answer) {
  const Balance& balance = answer.balance;
  return paragraph(style, caller_text(answer.caller), 0) + "\n" + quota_bar(style, balance) + "\n" +
         credits_bar(style, balance) + paragraph(style, window_text(balance), margin) +
         paragraph(style, jobs_text(balance), margin) +
         paragraph(style, "one request may cost up to " + seconds_text(balance.longest), margin) +
         "\n" + fits_text(style, balance) + advice_lines(style, balance);
}

std::string quote_view(const Style& style, const QuoteAnswer& answer) {
  if (answer.refusal.code != Errc{}) return refusal_view(style, answer.refusal);
  std::string text = paragraph(style, caller_text(answer.caller), 0) + "\n";
  const auto line = [&](const std::string& name, const std::string& words) {
    text += "  " + coloured(style, Colour::bold, padded_right(name, 8)) + "  " +
            wrapped(style, printable(words), 12) + "\n";
  };
  std::string cost = seconds_text(answer.cost) + " at most: " + answer.app + " for up to " +
                     seconds_text(answer.declared) + " at " + answer.size + ", factor " +
                     std::to_string(answer.factor);
  if (answer.first_held < answer.declared)
    cost += "; " + seconds_text(cost_of(answer.first_held, answer.factor)) +
            " of it held at first, and more while it runs";
  line("cost", cost + "; only what it really runs is charged");
  std::string left = seconds_text(Duration{answer.left.ms}, Rounding::down) + " of " +
                     seconds_text(answer.balance.allowance) + " while it is held";
  if (answer.held_credits > GpuTime{})
    left += ", and " + seconds_text(answer.held_credits) + " of credits held";
  line("left", left);
  const Instant now = answer.balance.at;
  std::string likely = "not foreseen";
  if (answer.likely_start <= now && answer.likely_latest <= now)
    likely = "at once";
  else if (answer.likely_start != Instant::never())
    likely = "a start in " + range_text({answer.likely_start, answer.likely_latest}, now);
  const std::string ahead = answer.ahead == 0 ? "nobody waits before it"
                            : answer.ahead == 1
                                ? "1 job waits before it"
                                : std::to_string(answer.ahead) + " jobs wait before it";
  line("likely", likely + "; " + ahead);
  line("promised", "a start by " + utc_text(answer.promise, Rounding::up) + ", in " +
                       countdown_text(answer.promise - now) +
                       " (h:mm:ss), whatever comes meanwhile");
  return text + advice_lines(style, answer.balance);
}

std::string receipts_view(const Style& style, const ReceiptsAnswer& answer, const Advice& advice) {
  if (answer.receipts.empty()) return "no receipts yet\n";
  std::string text =
      coloured(style, Colour::bold,
               "   JOB  ENDED                 APP           SIZE      OUTCOME        CHARGED") +
      "\n";
  GpuTime charged;
  for (const Receipt& receipt : answer.receipts) {
    text += receipt_row(style, receipt);
    charged += receipt.charged;
  }
  const std::string count = std::to_string(answer.receipts.size());
  text += "charged by " + (count == "1" ? "this receipt" : "these " + count + " receipts") + ": " +
          seconds_text(charged) + "\n";
  if (answer.more)
    text += "older ones: gpupool receipts --before " +
            std::to_string(answer.receipts.back().job.value) + "\n";
  if (const std::string words = advice_text(advice); !words.empty())
    text += paragraph(style, words, 0);
  return text;
}

std::string usage_view(const Style& style, const UsageAnswer& answer) {
  if (answer.days.empty()) return "nothing was used in this time\n";
  std::string text =
      coloured(style, Colour::bold,
               "  DAY (UTC)    JOBS  SUCCEEDED           RAN       CHARGED    GIVEN BACK") +
      "\n";
  GpuTime charged;
  for (const UsageDay& day : answer.days) {
    text +=
        "  " + utc_text(day.day).substr(0, 10) + "  " + padded_left(std::to_string(day.jobs), 5) +
        "  " + padded_left(std::to_string(day.succeeded), 9) + "  " +
        padded_left(seconds_text(day.ran), 12) + "  " + padded_left(seconds_text(day.charged), 12) +
        "  " + padded_left(seconds_text(day.held - day.charged), 12) + "\n";
    charged += day.charged;
  }
  text += "charged on these days: " + seconds_text(charged) + "\n";
  if (answer.more) text += "there are older ones: ask with a greater --limit\n";
  return text;
}

std::string jobs_view(const Style& style, const JobsAnswer& answer) {
  if (answer.jobs.empty()) return "no job is queued or running\n";
  std::string text = coloured(style, Colour::bold,
                              "   JOB  STATE     APP           SIZE        DECLARED        HELD") +
                     "\n";
  for (const JobEvent& event : answer.jobs) {
    const Hold& hold = event.hold;
    const JobRequest& body = hold.body;
    text += padded_left(std::to_string(event.job.value), 6) + "  " +
            coloured(style, event.state == JobState::queued ? Colour::yellow : Colour::green,
                     padded_right(word_of(event.state), 8)) +
            "  " + padded_right(shortened(style, printable(body.app), 12), 12) + "  " +
            padded_right(shortened(style, printable(body.size), 8), 8) + "  " +
            padded_left(seconds_text(hold.declared), 10) + "  " +
            padded_left(seconds_text(hold.quota_part + hold.credits_part), 10) + "\n" +
            paragraph(style, where_text(event) + held_text(hold), 8);
  }
  return text;
}

std::string explain_view(const Style& style, const ExplainAnswer& answer) {
  std::string text;
  for (const Happening& happening : answer.story) {
    const std::string when = utc_text(happening.at);
    text += coloured(style, Colour::dim, when) + "  " +
            wrapped(style, printable(happening.text), width_of(when) + 2) + "\n";
  }
  return text.empty() ? "nothing is known\n" : text;
}

std::string refusal_view(const Style& style, const Refusal& refusal) {
  std::string text = coloured(style, Colour::red, "refused: " + std::string(name_of(refusal.code)));
  text += "\n" + paragraph(style, refusal.sentence, margin);
  if (const std::string rule = rule_of(refusal); !rule.empty())
    text += paragraph(style, "rule: " + rule, margin);
  if (!refusal.hint.empty()) text += paragraph(style, "hint: " + refusal.hint, margin);
  const Caller caller{.account = refusal.balance.account,
                      .tier = refusal.balance.tier,
                      .recognised_by = refusal.recognised_by};
  if (!caller.account.text.empty())
    text += paragraph(style, "asked as " + caller_text(caller), margin);
  if (is_remembered(refusal))
    text += paragraph(
        style, "`gpupool explain " + format_request_id(refusal.request) + "` tells more", margin);
  return text;
}

std::string receipt_view(const Style& style, const JobDone& done, const Caller& caller) {
  const Receipt& receipt = done.receipt;
  const std::string outcome(word_of(receipt.outcome));
  std::string text = "job " + std::to_string(receipt.job.value) + " " +
                     coloured(style, colour_of(receipt.outcome), outcome) + "\n";
  if (const std::string cause = cause_text(receipt); !cause.empty())
    text += paragraph(style, cause, margin);
  text += paragraph(style, waited_text(receipt), margin);
  text += paragraph(style, arithmetic_of(receipt), margin);
  text += paragraph(style, "charged to " + caller_text(caller), margin);
  const Balance& balance = done.balance;
  const BalanceTexts texts = texts_of(balance);
  text += paragraph(style,
                    texts.left + " left of " + texts.allowance + dot(style) + window_text(balance),
                    margin);
  if (const std::string credits = credits_text(balance); !credits.empty())
    text += paragraph(style, "beyond the quota: " + credits, margin);
  if (const std::string advice = advice_text(balance.advice); !advice.empty())
    text += paragraph(style, advice, margin);
  return text;
}

std::string progress_text(const Style& style, const JobEvent& event) {
  const std::string name = "job " + std::to_string(event.job.value) + " ";
  const std::string state(word_of(event.state));
  if (event.state == JobState::running && event.of_steps > 0 && style.is_terminal) {
    const std::string steps = where_text(event);
    const std::size_t beside = name.size() + width_of(steps) + 1;
    const std::int64_t ahead = std::int64_t{event.of_steps} - event.step;
    return name +
           bar(style,
               {{event.step, Colour::green, full_block, '#'},
                {std::max<std::int64_t>(0, ahead), Colour::dim, light_block, '.'}},
               std::min<std::size_t>(40, bar_cells(style, beside + 1))) +
           " " + printable(steps);
  }
  return name + state + ": " + printable(where_text(event));
}

}  // namespace gpupool
