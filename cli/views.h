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
std::string receipts_view(const Style& style, const ReceiptsAnswer& answer);
std::string jobs_view(const Style& style, const JobsAnswer& answer);
std::string explain_view(const Style& style, const ExplainAnswer& answer);

// The code, one sentence, the hint, and who the caller is to the pool.
std::string refusal_view(const Style& style, const Refusal& refusal);

// The end of one job: the arithmetic, who was charged and how recognised, and what is left.
std::string receipt_view(const Style& style, const JobDone& done, const Caller& caller);

// One line about a job on its way, for a terminal's last line or a log.
std::string progress_text(const Style& style, const JobEvent& event);

}  // namespace gpupool
