#pragma once
// A record of the ledger as one JSON object, and back, exactly: {"sequence", "at", "kind",
// "fields": {every field by its name}}. Times are milliseconds since 1970 in UTC, durations and
// amounts milliseconds. An integer beyond 2^53, which many programs would round, is written as text
// of digits; text that is not UTF-8 as {"hex": "..."}; a request id as a UUID; outcomes, causes and
// kinds of changes as their words. Pure.

#include "actors/ledger/records.h"
#include "net/json_output.h"

namespace gpupool {

Json json_of(const Record& record);

// file_malformed: what is wrong, with the name of the field. Fields are looked at strictly, but the
// last ones of a struct may be missing, as in records that are older than they are.
Result<Record> record_of_json(const Json& json);

// The line of an export, without its end.
std::string line_of(const Record& record);
Result<Record> record_of_line(std::string_view line);

}  // namespace gpupool
