#pragma once
// What people read: quota, receipts, jobs, stories, refusals and progress, as text that fits the
// style. Pure functions; all times come from the pool's answers, so this machine's clock is not
// asked. Every view ends with a newline, except progress_text.

#include <string>

#include "actors/messages.h"
#include "cli/terminal.h"

namespace gpupool {

// "user:ada (tier free), recognised by token for ada, key k1".
std::string caller_text(const Caller& caller);

std::string quota_view(const Style& style, const QuotaAnswer& answer);
// `advice`: what past runs say about the next.
std::string receipts_view(const Style& style, const ReceiptsAnswer& answer,
                          const Advice& advice = {});
// What a request would cost and when it would start; or why it would be refused.
std::string quote_view(const Style& style, const QuoteAnswer& answer);
std::string usage_view(const Style& style, const UsageAnswer& answer);
std::string jobs_view(const Style& style, const JobsAnswer& answer);
std::string explain_view(const Style& style, const ExplainAnswer& answer);

// What was changed, by whom, from what to what; `known_since` says how far back this goes.
std::string changes_view(const Style& style, const ChangesAnswer& answer);

// Columns side by side, with units, and the note below. A terminal shows as many columns as it has
// room for and names the others; a file gets all of them. (cli/table_view.cpp)
std::string table_view(const Style& style, const Table& table);

// The code, one sentence, the hint, and who the caller is to the pool.
std::string refusal_view(const Style& style, const Refusal& refusal);

// The end of one job: the arithmetic, who was charged and how recognised, and what is left.
std::string receipt_view(const Style& style, const JobDone& done, const Caller& caller);

// One line about a job on its way, for a terminal's last line or a log.
std::string progress_text(const Style& style, const JobEvent& event);

}  // namespace gpupool
