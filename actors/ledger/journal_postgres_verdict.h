#pragma once
// What an append to PostgreSQL has come to, from how its statement ended: written, certainly not
// written, fenced off by another leader, or nobody knows. Pure; the table of SQLSTATEs that are
// certain stands in the .cpp, with the reasons.

#include <string_view>

#include "actors/ledger/journal_postgres_session.h"

namespace gpupool {

enum class Verdict : std::uint8_t { written = 1, refused, fenced, unknown };

struct AppendEnd {
  PostgresAnswer::End end = PostgresAnswer::End::lost;
  std::string_view sqlstate;
  bool warned = false;
  std::uint64_t rows = 0;  // that the statement inserted
};

Verdict judge(const AppendEnd& append);

}  // namespace gpupool
