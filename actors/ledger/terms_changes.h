#pragma once
// What differs between two versions of the terms, tier by tier and app by app, in an operator's
// words; and whom a change of an app concerns. Pure; `at` and `who` of the changes are left to the
// caller.

#include <string>
#include <vector>

#include "actors/ledger/standing_orders.h"

namespace gpupool {

// One change that sums them up: there was nothing that they could differ from.
std::vector<Change> first_terms(const Terms& terms);

// Field by field; what a new tier or app has comes from nothing, what a removed one had goes to
// nothing.
std::vector<Change> changes_between(const Terms& before, const Terms& after);

// Of ChangeKind::identity these two say which tier people have, and concern everybody. The rest,
// keys and what issuers claim of their users, is for operators.
inline constexpr const char* anonymous_callers = "anonymous callers";
inline constexpr const char* tierless_tokens = "tokens that name no tier";
bool identity_change_concerns_all(const Change& change);

// Is or was the app that changed open to `tier`? `terms` are the present ones.
bool app_change_concerns(const Change& change, const std::string& tier, const Terms* terms);

}  // namespace gpupool
