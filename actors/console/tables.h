#pragma once
// The tables that the console answers with, made from the configuration and from what ledger and
// broker know. Each has at most limits::table_rows_max rows, so that an answer fits a frame; `more`
// then says where the next page begins. Pure functions.

#include <string>

#include "actors/messages.h"
#include "config/config.h"

namespace gpupool {

Table table_of_tiers(const Config& config, const Standing& standing);
Table table_of_apps(const Config& config);
Table table_of(const AccountsFound& found);
Table table_of(const QueueFound& found);
Table table_of(const Audited& audited);
Table table_of(const CancelTaken& taken, JobId job);

// One row for each slot, from the one behind `after` on: "node-1", or "node-1/3" for one of its
// slots. Empty: from the first.
Table table_of(const NodesFound& found, const std::string& after);

// What a command changed, with `note` to say what that means.
Table table_of(const Changed& changed, std::string title, std::string note);

}  // namespace gpupool
