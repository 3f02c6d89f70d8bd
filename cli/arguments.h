#pragma once
// What people type, read strictly: durations, lifetimes, jobs and requests; and file names made
// from prompts. Pure functions; every error is a sentence that repeats what was typed.

#include <string>
#include <string_view>

#include "actors/messages.h"
#include "base/result.h"

namespace gpupool {

// "8", "7.5", "0.25": seconds above 0 with at most three decimals. No signs, exponents, nan or inf.
Result<Duration> parse_seconds(std::string_view text);

// "90s", "30m", "24h", "7d": at least a second and at most ten years.
Result<Duration> parse_lifetime(std::string_view text);

// A moment in the past, seen from `now`: "7d" and other lifetimes ago, "2026-11-01",
// "2026-11-01T18:30:00Z" or, as --json prints them, "2026-11-01T18:30:00.123Z", all in UTC.
Result<Instant> parse_since(std::string_view text, Instant now);

// A job's number or the id of a request; the other one is empty.
struct JobOrRequest {
  JobId job;
  RequestId request;
};
Result<JobId> parse_job(std::string_view text);
Result<JobOrRequest> parse_job_or_request(std::string_view text);

// "a red heart" becomes "a-red-heart"; a prompt without any letter or digit becomes "picture".
std::string file_stem_for(std::string_view prompt);

}  // namespace gpupool
