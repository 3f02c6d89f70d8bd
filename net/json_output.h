#pragma once
// What `--json` prints and REST answers. Keys are stable: only added to. Amounts are whole
// milliseconds and say so in their key ("charged_ms"); times are RFC 3339 in UTC with milliseconds
// ("2026-11-23T18:02:10.123Z"), null where there is none; codes, outcomes and states are the words
// of the documentation. Pure.

#include <nlohmann/json.hpp>
#include <string>

#include "actors/messages.h"
#include "base/result.h"

namespace gpupool {

using Json = nlohmann::ordered_json;

Json json_of(const Caller& caller);
Json json_of(const Balance& balance);
Json json_of(const Refusal& refusal);
Json json_of(const Receipt& receipt);
Json json_of(const JobEvent& event);
Json json_of(const Error& error);
Json json_of(const QuotaAnswer& answer);
Json json_of(const ReceiptsAnswer& answer);
Json json_of(const JobsAnswer& answer);
Json json_of(const ExplainAnswer& answer);
Json json_of(const JobDone& done);
Json json_of(const ChangesAnswer& answer);
Json json_of(const UsageAnswer& answer);
// {"quote": ...} or, where it would be refused, {"refused": ...}.
Json json_of(const QuoteAnswer& answer);
// {"title", "columns", "rows": [{column: value}], "note", "more"}; times in milliseconds are keyed
// "left_ms", as everywhere.
Json json_of(const Table& table);

// RFC 3339 with milliseconds; null: there is none.
Json time_or_null(Instant moment);
Json text_or_null(const std::string& text);

// One object, indented, with a final newline. Text that is not UTF-8 is repaired, never thrown at.
std::string text_of(const Json& json);

}  // namespace gpupool
